"""Every read: the short way gives what the plain one gives."""

# ruff: noqa: SLF001 - what a row calls _mapping and _fields is public

from __future__ import annotations

import pickle
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from sqlalchemy import String, cast, desc, func, inspect, literal, or_, tuple_

from hqt_async_db.models import User
from hqt_async_db.repositories import BaseRepository
from tests.integration.test_one_shot.rows import (
    MODELS,
    Model,
    free_columns,
    sample_rows,
    values_of,
)
from tests.integration.test_one_shot.seen import seen
from tests.integration.test_one_shot.ways import Ways, for_all

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypothesis.strategies import DrawFn, SearchStrategy

    from hqt_async_db import DatabaseManager
    from hqt_async_db.repositories.pages import Page

    Call = Callable[[DatabaseManager], Awaitable[Any]]

ROWS = 8
UNORDERED = ("JsonDict",)
pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def stored(backend: str, ways: Ways) -> Ways:
    """Both ways, and rows in every table."""
    for db in (ways.short, ways.plain)[: 2 if backend == "sqlite-memory" else 1]:
        async with db.session() as session:
            for model in MODELS:
                await BaseRepository(session, model).create_many(sample_rows(model, ROWS))
    return ways


def sortable(model: Model) -> list[str]:
    """Return the attributes by which rows can be sorted on every backend."""
    columns = {prop.key: prop.columns[0] for prop in inspect(model).column_attrs}
    return [name for name, c in columns.items() if type(c.type).__name__ not in UNORDERED]


@st.composite
def questions(draw: DrawFn) -> tuple[Model, dict[str, Any]]:
    """Return a model and what selects, sorts and slices its rows."""
    model = draw(st.sampled_from(MODELS))
    names = sortable(model)
    filters: dict[str, Any] = {}
    columns = free_columns(model)
    for name in draw(st.lists(st.sampled_from([n for n in names if n in columns]), max_size=2)):
        choices: list[Any] = [v for v in values_of(columns[name]) if v is not None]
        filters[name] = draw(
            st.sampled_from([*choices, *([None] if columns[name].nullable else [])])
        )
    signed = [*names, *(f"-{name}" for name in names)]
    asked: dict[str, Any] = {
        "order_by": draw(
            st.none() | st.sampled_from(signed) | st.lists(st.sampled_from(signed), max_size=2)
        ),
        "limit": draw(st.none() | st.integers(0, 5)),
        "offset": draw(st.none() | st.integers(0, 5)),
    }
    return model, asked | filters


async def same(ways: Ways, call: Call, *, is_short: bool = True) -> Any:
    """Require the same result both ways, and return it."""
    short, plain = await ways.both(call, is_short=is_short)
    assert seen(short) == seen(plain)
    return short


async def test_instances(stored: Ways) -> None:
    async def check(question: tuple[Model, dict[str, Any]]) -> None:
        model, asked = question
        await same(stored, lambda db: BaseRepository(db, model).get_many(**asked))

    await for_all(questions(), check, examples=400)


async def test_rows_by_name(stored: Ways) -> None:
    @st.composite
    def asked_of_rows(draw: DrawFn) -> tuple[Model, list[str], dict[str, Any]]:
        model, asked = draw(questions())
        names = st.sampled_from(sorted(inspect(model).column_attrs.keys()))
        return model, draw(st.lists(names, max_size=3)), asked

    async def check(question: tuple[Model, list[str], dict[str, Any]]) -> None:
        model, names, asked = question
        rows = await same(stored, lambda db: BaseRepository(db, model).rows(*names, **asked))
        for row in rows:
            for name in names:
                assert seen(row._mapping[getattr(model, name)]) == seen(row._mapping[name])
        await same(
            stored, lambda db: BaseRepository(db, model).rows(*names, as_dicts=True, **asked)
        )

    await for_all(asked_of_rows(), check, examples=40)


async def test_counts_and_single_rows(stored: Ways) -> None:
    async def check(question: tuple[Model, dict[str, Any]]) -> None:
        model, asked = question
        filters = {n: v for n, v in asked.items() if n not in {"order_by", "limit", "offset"}}
        await same(stored, lambda db: BaseRepository(db, model).count(**filters))
        await same(stored, lambda db: BaseRepository(db, model).exists(**filters))
        await same(stored, lambda db: BaseRepository(db, model).get_one_or_none(**filters))
        await same(stored, lambda db: BaseRepository(db, model).get_one(**filters))
        key = 99 + (asked["offset"] or 0)
        await same(stored, lambda db: BaseRepository(db, model).get_by_id(key))

    await for_all(questions(), check, examples=30)


def criteria() -> SearchStrategy[Any]:
    """Return criteria whose values change under the same shape, and odd ones."""
    number = st.integers(99, 110)
    return st.one_of(
        st.builds(lambda n: (User.id > n,), number),
        st.builds(lambda n, m: (User.id.between(n, m), User.full_name.is_(None)), number, number),
        st.builds(lambda n: (or_(User.id == n, User.username == f"sample {n % 8}"),), number),
        st.builds(lambda n: (func.lower(User.username) == f"sample {n % 8}",), number),
        st.builds(lambda n: (User.strategies.any(id=n),), number),
    )


async def page(given: Any, after: str | None, db: DatabaseManager) -> Page[User]:
    """Return one page of users."""
    return await BaseRepository(db, User).page(*given, order_by="-email", limit=2, after=after)


async def test_criteria_and_pages(stored: Ways) -> None:
    async def check(given: Any) -> None:
        last_first: Any = desc(User.id)
        await same(
            stored,
            lambda db: BaseRepository(db, User).get_many(*given, order_by=last_first, limit=3),
        )
        await same(stored, lambda db: BaseRepository(db, User).count(*given))
        pages: list[str | None] = [None]
        for cursor in pages:
            short, plain = await stored.both(partial(page, given, cursor))
            assert not isinstance(short, Exception)
            assert not isinstance(plain, Exception)
            assert seen(short.items) == seen(plain.items)
            assert short.next_cursor == plain.next_cursor
            pages += [short.next_cursor] if short.next_cursor else []

    await for_all(criteria(), check, examples=30)


# What to select, and whether the short way can: a type may want to know more of the driver.
EXPRESSIONS: dict[str, tuple[tuple[Any, ...], bool]] = {
    "a label": ((User.id, User.username.label("name")), True),
    "sums": ((User.id + 1, User.id + 1), True),
    "a count": ((func.count(),), True),
    "counts": ((func.count(), func.count(User.full_name)), True),
    "maxima": ((func.max(User.id), func.max(User.created_at)), True),
    "text": ((func.lower(User.username), literal("x")), False),
    "one name twice": (("id", "id"), True),
    "one name thrice": (("created_at", "created_at", "created_at"), True),
    "one label twice": ((User.id, User.id.label("id")), True),
    "a cast and a condition": ((cast(User.id, String), User.id.in_([1, 2])), True),
    "a mean": ((func.avg(User.id),), False),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
async def test_columns_that_are_expressions(stored: Ways, name: str) -> None:
    columns, is_short = EXPRESSIONS[name]

    def rows(db: DatabaseManager) -> Awaitable[list[Any]]:
        return BaseRepository(db, User).rows(*columns)

    def dicts(db: DatabaseManager) -> Awaitable[list[Any]]:
        return BaseRepository(db, User).rows(*columns, as_dicts=True)

    await same(stored, dicts, is_short=is_short)
    short, plain = await stored.both(rows, is_short=is_short)
    assert isinstance(short, list)
    assert isinstance(plain, list)
    assert seen(short) == seen(plain)
    for row, other in zip(short, plain, strict=True):
        assert row == other
        assert hash(row) == hash(other)
        assert row._mapping == other._mapping
        assert _lookups(row, columns) == _lookups(other, columns)
        assert seen(pickle.loads(pickle.dumps(row))) == seen(other)  # noqa: S301 - our own


def _lookups(row: Any, columns: tuple[Any, ...]) -> list[Any]:
    found: list[Any] = []
    for column in columns:
        try:
            found.append(row._mapping[column])
        except Exception as error:  # noqa: BLE001 - to compare it
            found.append((type(error), str(error)))
    return found


@st.composite
def lists(draw: DrawFn) -> tuple[Model, list[Any]]:
    """Return a model and criteria with lists of any length, beside other values."""
    model = draw(st.sampled_from(MODELS))
    columns = {n: c for n, c in free_columns(model).items() if n in sortable(model)}
    given: list[Any] = [model.id > draw(st.integers(99, 103))]
    for name in draw(st.lists(st.sampled_from(sorted(columns)), min_size=1, max_size=3)):
        choices: list[Any] = values_of(columns[name])
        values = draw(st.lists(st.sampled_from(choices), max_size=4))
        column = getattr(model, name)
        given.append(draw(st.sampled_from([column.in_, column.not_in]))(values))
    given.append(model.id < draw(st.integers(103, 110)))
    return model, given


async def test_lists(stored: Ways) -> None:
    async def check(question: tuple[Model, list[Any]]) -> None:
        model, given = question
        await same(stored, lambda db: BaseRepository(db, model).get_many(*given))
        await same(stored, lambda db: BaseRepository(db, model).count(*given))
        await same(stored, lambda db: BaseRepository(db, model).rows("id", *given))

    await for_all(lists(), check, examples=60)


async def _get_users(given: Any, filters: dict[str, Any], db: DatabaseManager) -> list[User]:
    return await BaseRepository(db, User).get_many(*given, **filters)


async def test_lists_of_pairs_and_by_name(stored: Ways) -> None:
    pairs = [(100, "sample 0"), (101, "sample 7"), (102, "sample 2")]
    for some in (pairs, pairs[:1], []):
        given = tuple_(User.id, User.username).in_(some)
        await same(stored, partial(_get_users, (given,), {}))
    for names in (["sample 1", "sample 3"], ["sample 1"], []):
        await same(stored, partial(_get_users, (), {"username": names}))
