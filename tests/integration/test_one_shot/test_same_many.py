"""Many rows that come back: arrays store and return what a VALUES list does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st

from hqt_async_db import InvalidInputError
from hqt_async_db.models import LiveTrade, Strategy, User
from hqt_async_db.repositories import BaseRepository
from tests.integration.test_one_shot.rows import (
    MODELS,
    Model,
    complete,
    free_columns,
    rows_of,
    sample_rows,
    unique_columns,
    values_of,
)
from tests.integration.test_one_shot.seen import seen
from tests.integration.test_one_shot.ways import Ways, for_all

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

    from hqt_async_db import DatabaseManager

pytestmark = [pytest.mark.timeout(60), pytest.mark.backends("postgresql")]
MASKED = frozenset({"id", "created_at", "updated_at", "timestamp"})
KEYED = [model for model in MODELS if unique_columns(model)]


@dataclass
class Batch:
    """Rows of one table, and what they are changed to."""

    model: Model
    rows: list[dict[str, Any]]
    changed: list[dict[str, Any]]


@st.composite
def batches(draw: DrawFn, models: Any) -> Batch:
    """Return rows that all have the same fields, and as many others."""
    model = draw(st.sampled_from(models))
    names = draw(rows_of(model).filter(bool)).keys()
    columns = {name: free_columns(model)[name] for name in names}
    values = st.fixed_dictionaries({n: _some(column) for n, column in columns.items()})
    rows = draw(st.lists(values, min_size=1, max_size=4))
    changed = [draw(values) for _ in rows]
    return Batch(model, rows, changed)


def _some(column: Any) -> Any:
    some = st.sampled_from(values_of(column))
    return some | st.none() if column.nullable or column.default is not None else some


def _rowwise(model: Model, batch: Batch) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return both sets of rows with the same new keys."""
    rows = [complete(model, row) for row in batch.rows]
    keys = unique_columns(model)
    changed = [
        new | {name: row[name] for name in keys}
        for new, row in zip(batch.changed, rows, strict=True)
    ]
    return rows, changed


async def stored(db: DatabaseManager, instances: list[Any]) -> list[Any]:
    """Return the rows of instances as a session reads them."""
    async with db.session(read_only=True) as session:
        return [await session.get(type(one), one.id) for one in instances]


def compared(found: list[Any], model: Model) -> list[Any]:
    return [seen(instance, masked=MASKED | unique_columns(model)) for instance in found]


async def test_rows_that_are_created(ways: Ways) -> None:
    async def check(batch: Batch) -> None:
        async def create(db: DatabaseManager) -> list[Any]:
            rows, _ = _rowwise(batch.model, batch)
            repository: BaseRepository[Any] = BaseRepository(db, batch.model)
            made = await repository.create_many(rows, returning=True)
            found = (
                compared(made, batch.model),
                compared(await stored(ways.plain, made), batch.model),
            )
            for one in made:
                await repository.delete(one)
            return list(found)

        short, plain = await ways.both(create)
        assert short == plain

    await for_all(batches(MODELS), check, examples=50)


async def test_rows_that_may_exist(ways: Ways) -> None:
    async def check(batch: Batch) -> None:
        async def upsert(db: DatabaseManager) -> list[Any]:
            model = batch.model
            match = sorted(unique_columns(model))[:1] if model is User else _key_of(model)
            rows, changed = _rowwise(model, batch)
            unique = {tuple(row[name] for name in match): row for row in rows}
            rows = list(unique.values())
            repository: BaseRepository[Any] = BaseRepository(db, model)
            some = await repository.upsert_many(rows[::2], match)
            both = {tuple(row[name] for name in match): row for row in changed}
            found = await repository.upsert_many(list(both.values()), match)
            assert [tuple(getattr(one, name) for name in match) for one in found] == list(both)
            seen_of = [
                compared(part, model) for part in (some, found, await stored(ways.plain, found))
            ]
            for one in found:
                await repository.delete_by_id(one.id)
            return seen_of

        short, plain = await ways.both(upsert)
        assert short == plain

    await for_all(batches(KEYED), check, examples=50)


def _key_of(model: Model) -> list[str]:
    constraint = next(c for c in model.__table__.constraints if type(c).__name__.startswith("Uni"))
    return [column.name for column in constraint.columns]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
async def test_more_rows_than_one_statement_takes(ways: Ways, model: Model) -> None:
    """They come back in the order of the rows, whatever the order of their keys."""
    rows = sample_rows(model, 12 if "user_id" in unique_columns(model) else 400)[::-1]

    async def create(db: DatabaseManager) -> list[Any]:
        repository: BaseRepository[Any] = BaseRepository(db, model)
        made = await repository.create_many(rows, returning=True)
        assert [one.id for one in made] == [row["id"] for row in rows]
        again = await repository.upsert_many(rows, ["id"])
        assert [one.id for one in again] == [row["id"] for row in rows]
        await BaseRepository(ways.plain, model).delete_many(model.id >= rows[-1]["id"])
        return [seen(one) for one in made + again]

    if model is User:
        rows = [row | {"id": row["id"] + 1000} for row in rows]
    short, plain = await ways.both(create)
    assert short == plain


async def test_rows_of_different_fields(ways: Ways) -> None:
    """An upsert keeps them together; NULL is not the same as nothing."""

    async def upsert(db: DatabaseManager) -> list[Any]:
        strategies = BaseRepository(db, Strategy)
        await strategies.upsert(["id"], id=50, user_id=1, name="s", parameters={"a": [1]})
        rows = [
            {"id": 51, "user_id": 1, "name": "new"},
            {"id": 50, "user_id": 1, "name": "t", "description": None},
            {"id": 52, "user_id": 1, "name": "t", "parameters": '{"x": {"y": null}}'},
        ]
        found = await strategies.upsert_many(rows, ["id"])
        assert [one.parameters for one in found] == [{}, {"a": [1]}, {"x": {"y": None}}]
        found[1].parameters["a"].append(2)
        await strategies.update(found[1])
        result = compared(found, Strategy)
        for one in found:
            await strategies.delete_by_id(one.id)
        return result

    short, plain = await ways.both(upsert)
    assert short == plain


@pytest.mark.parametrize("version", [1, 7])
async def test_versions_begin_and_go_on_as_in_a_session(ways: Ways, version: int) -> None:
    row = {"account_id": "v", "client_order_id": "1", "symbol": "A", "direction": "long"}

    async def upsert(db: DatabaseManager) -> list[int]:
        trades = BaseRepository(db, LiveTrade)
        [made] = await trades.create_many([row | {"volume": 1, "version": version}], returning=True)
        key = ["account_id", "client_order_id"]
        versions = [made.version]
        for volume in (2, 3):
            versions += [one.version for one in await trades.upsert_many(
                [row | {"volume": volume}], key
            )]  # fmt: skip
        await trades.delete_by_id(made.id)
        return versions

    before = ways.short.opened
    short, plain = await upsert(ways.short), await upsert(ways.plain)
    assert short == plain
    assert ways.short.opened == before + 1  # for the version that is given


async def test_a_key_twice_is_refused_before_anything_runs(ways: Ways) -> None:
    async def upsert(db: DatabaseManager) -> list[Any]:
        strategies = BaseRepository(db, Strategy)
        row = {"id": 60, "user_id": 1, "name": "s"}
        return await strategies.upsert_many([row, row | {"name": "t"}], ["id"])

    for db in (ways.short, ways.plain):
        with pytest.raises(InvalidInputError, match="same key"):
            await upsert(db)
