"""Every write: the short way stores and returns what the plain one does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from sqlalchemy import inspect

from hqt_async_db import HqtDbError
from hqt_async_db.connection.executors.stored import stored as stored_writes
from hqt_async_db.models import LiveTrade, Strategy, User, UserSetting
from hqt_async_db.models.types import JsonDict
from hqt_async_db.repositories import BaseRepository
from tests.integration.test_one_shot.rows import (
    MODELS,
    Model,
    complete,
    free_columns,
    rows_of,
    unique_columns,
    values_of,
)
from tests.integration.test_one_shot.seen import seen
from tests.integration.test_one_shot.ways import Ways, for_all

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

    from hqt_async_db import DatabaseManager

pytestmark = pytest.mark.timeout(60)
MASKED = frozenset({"id", "created_at", "updated_at", "timestamp"})


@dataclass
class Story:
    """One row, and what becomes of it."""

    model: Model
    row: dict[str, Any]
    assigned: dict[str, Any]
    updates: list[dict[str, Any]]
    document: str | None


@st.composite
def stories(draw: DrawFn, models: Any = MODELS) -> Story:
    """Return a story of a row of any table."""
    model = draw(st.sampled_from(models))
    columns = {n: c for n, c in free_columns(model).items() if n not in unique_columns(model)}
    values = {name: st.sampled_from(values_of(column)) for name, column in columns.items()}
    changes = st.fixed_dictionaries({}, optional=values)
    updates = draw(st.lists(changes, min_size=1, max_size=3))
    documents = [n for n, c in columns.items() if isinstance(c.type, JsonDict) and not c.nullable]
    return Story(
        model=model,
        row=complete(model, draw(rows_of(model))),
        assigned=draw(changes),
        updates=[dict(list(update.items())[:4]) for update in updates],
        document=draw(st.sampled_from([None, *documents])),
    )


async def live(db: DatabaseManager, story: Story) -> list[Any]:
    """Create the row, change it in every way, delete it; return what was seen on the way."""
    repository: BaseRepository[Any] = BaseRepository(db, story.model)
    instance = await repository.create(**story.row)
    found = [seen(instance, masked=MASKED)]
    found.append(seen(await stored(db, instance), masked=MASKED))
    for values in story.updates:
        result = await repository.update(instance, **values)
        assert result is instance
        found.append(seen(instance, masked=MASKED))
        found.append(seen(await stored(db, instance), masked=MASKED))
    for name, value in story.assigned.items():
        setattr(instance, name, value)
    if story.document is not None and getattr(instance, story.document) is not None:
        getattr(instance, story.document)["new"] = [1.5, None]
        getattr(instance, story.document).setdefault("deep", {})["er"] = True
    await repository.update(instance)
    found.append(seen(instance, masked=MASKED))
    found.append(seen(await stored(db, instance), masked=MASKED))
    await repository.delete(instance)
    found.append(seen(instance, masked=MASKED))
    assert await stored(db, instance) is None
    return found


async def stored(db: DatabaseManager, instance: Any) -> Any:
    """Return the row of an instance as a session reads it."""
    async with db.session(read_only=True) as session:
        return await session.get(type(instance), instance.id)


async def test_one_row_from_its_creation_to_its_end(ways: Ways) -> None:
    async def check(story: Story) -> None:
        short = await live(ways.short, story)
        story.row = complete(story.model, story.row)
        plain = await live(ways.plain, story)
        masked = unique_columns(story.model)
        for one, other in zip(short, plain, strict=True):
            for name in masked:
                one["values"].pop(name)
                other["values"].pop(name)
            assert one == other

    await for_all(stories(), check, examples=40)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
async def test_each_verb_takes_its_way(ways: Ways, model: Model) -> None:
    """Without this the stories could compare the plain way with itself."""
    row = {n: values_of(c)[0] for n, c in free_columns(model).items()}
    changed = {n: values_of(c)[-1] for n, c in free_columns(model).items() if not c.primary_key}
    changed = {n: v for n, v in changed.items() if n not in unique_columns(model)}
    before = ways.short.opened, ways.plain.opened
    for db in (ways.short, ways.plain):
        repository: BaseRepository[Any] = BaseRepository(db, model)
        instance = await repository.create(**complete(model, row))
        await repository.update(instance, **changed)
        assert await repository.update_many(id=instance.id, values=changed) == 1
        assert await repository.delete_many(model.id == instance.id, id=instance.id) == 1
        instance = await repository.create(**complete(model, row))
        assert await repository.delete_by_id(instance.id)
        instance = await repository.create(**complete(model, row))
        await repository.delete(instance)
    many = 0 if ways.short.dialect_name == "sqlite" else 1 + 1  # on servers they have a COMMIT
    assert ways.short.opened == before[0] + many
    assert ways.plain.opened >= before[1] + 8


@st.composite
def batches(draw: DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return filters, and values to set on what they find."""
    columns = free_columns(LiveTrade)
    names = ["symbol", "direction", "volume", "stop_loss", "swap"]
    values = {n: st.sampled_from(values_of(columns[n])) for n in names}
    filters = st.dictionaries(st.sampled_from(names), st.none(), min_size=1, max_size=2)
    chosen = {n: draw(values[n]) for n in draw(filters)}
    return chosen, draw(st.fixed_dictionaries({}, optional=values).filter(bool))


async def test_many_rows_at_once(ways: Ways) -> None:
    rows = [
        {n: values_of(c)[number % len(values_of(c))] for n, c in free_columns(LiveTrade).items()}
        for number in range(6)
    ]

    async def change(
        db: DatabaseManager, filters: dict[str, Any], values: dict[str, Any]
    ) -> list[Any]:
        trades = BaseRepository(db, LiveTrade)
        for number, row in enumerate(rows):
            await trades.create(**row | {"account_id": "a", "client_order_id": f"{number}"})
        counts = [await trades.update_many(**filters, values=values)]
        names = ("client_order_id", *rows[0], "version")
        left = await trades.rows(*names, order_by="client_order_id")
        counts += [await trades.delete_many(**filters), await trades.delete_many(account_id="a")]
        return [counts, seen(left)]

    async def check(batch: tuple[dict[str, Any], dict[str, Any]]) -> None:
        assert await change(ways.short, *batch) == await change(ways.plain, *batch)

    await for_all(batches(), check, examples=15)


async def test_values_that_are_expressions(ways: Ways) -> None:
    for db in (ways.short, ways.plain):
        users = BaseRepository(db, User)
        user = await users.get_by_id(2)
        assert user is not None
        assert await users.update_many(id=2, values={"full_name": User.username + "!"}) == 1
        await users.update(user, email=User.username + "@expression")
        assert (user.email, user.username) == ("u2@expression", "u2")
        found = await users.get_one(id=2)
        assert (found.full_name, found.email) == ("u2!", "u2@expression")


async def test_a_version_of_ones_own_choice(ways: Ways) -> None:
    """SQLAlchemy stores it; so must the short way, by leaving it to SQLAlchemy."""
    outcomes = []
    for db, owner in ((ways.short, 3), (ways.plain, 4)):
        settings = BaseRepository(db, UserSetting)
        setting = await settings.create(user_id=owner)
        assert setting.version == 1
        await settings.update(setting, version=10)
        await settings.update(setting, theme="dark")
        outcomes.append((setting.version, (await settings.get_one(user_id=owner)).version))
    assert outcomes[0] == outcomes[1] == (11, 11)


async def test_versions_that_do_not_fit(ways: Ways) -> None:
    async def meet(db: DatabaseManager, owner: int) -> list[Any]:
        settings = BaseRepository(db, UserSetting)
        setting = await settings.create(user_id=owner)
        await settings.update_many(user_id=owner, values={"theme": "dark"})
        raised = []
        for call in (
            partial(settings.update, setting, language="de"),
            partial(settings.delete, setting),
        ):
            with pytest.raises(HqtDbError) as stale:
                await call()
            raised.append(seen(stale.value))
        raised.append(seen(setting, masked=MASKED | {"user_id"}))
        await settings.delete_many(user_id=owner)
        return raised

    assert await meet(ways.short, 5) == await meet(ways.plain, 6)


async def test_rows_without_optional_values_share_one_statement(ways: Ways) -> None:
    """None where the database takes NULL is a value like others, not another statement."""
    kept = stored_writes(inspect(LiveTrade))._inserts  # noqa: SLF001 - what grows
    trades = BaseRepository(ways.short, LiveTrade)
    order = {"account_id": "n", "symbol": "A", "direction": "long", "volume": 1}
    await trades.create(**order, client_order_id="0")
    before = len(kept)
    optional = [n for n, c in free_columns(LiveTrade).items() if c.nullable and c.default is None]
    for number, name in enumerate(optional, 1):
        value = values_of(free_columns(LiveTrade)[name])[0]
        await trades.create(**order, client_order_id=f"{number}", **{name: value})
    assert len(optional) > 10
    assert len(kept) == before


async def test_a_default_in_json_tracks_its_changes(ways: Ways) -> None:
    for db in (ways.short, ways.plain):
        strategies = BaseRepository(db, Strategy)
        strategy = await strategies.create(user_id=1, name="s")
        strategy.parameters["fast"] = 3
        await strategies.update(strategy)
        found = await strategies.get_by_id(strategy.id)
        assert found is not None
        assert found.parameters == {"fast": 3}
        found.parameters["slow"] = 9
        await strategies.update(found, name="t")
        assert (await strategies.get_one(id=strategy.id)).parameters == {"fast": 3, "slow": 9}
