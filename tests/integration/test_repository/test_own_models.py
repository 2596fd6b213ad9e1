"""Tables that are not ours: stock column types, other names, keys of two columns."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import inspect

from hqt_async_db import BaseRepository, DuplicateKeyError, InvalidInputError, StaleRecordError
from tests.integration.test_repository.samples import (
    Badge,
    Desk,
    DeskRepository,
    LimitRepository,
    OwnBase,
    Token,
)

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager
    from tests.fixtures.managers import RecordStatements
    from tests.integration.test_repository.samples import Bind

pytestmark = pytest.mark.usefixtures("_own_tables")


@pytest.fixture
async def _own_tables(db: DatabaseManager) -> None:
    await db.create_all(OwnBase)


async def test_what_the_database_fills_in_is_loaded(
    bind: Bind, db: DatabaseManager, statements: RecordStatements
) -> None:
    with statements(db) as sent:
        desk = await DeskRepository(bind).create(title="FX")
    assert len(sent) == 1  # with RETURNING
    assert (desk.id, desk.rank, desk.note) == (1, 7, None)
    assert isinstance(desk.opened_at, datetime)
    assert not inspect(desk).expired_attributes


async def test_an_update_loads_what_the_database_changed(bind: Bind) -> None:
    desks = DeskRepository(bind)
    desk = await desks.create(title="FX")
    await desks.update(desk, note="n")
    assert (desk.note, desk.rank) == ("n", 8)
    [row] = await desks.rows("opened_at", "note", "rank", "title")
    assert tuple(row) == (desk.opened_at, "n", 8, "FX")


async def test_attributes_need_not_be_called_like_their_columns(bind: Bind) -> None:
    desks = DeskRepository(bind)
    await desks.create_many([{"title": "b", "rank": 1}, {"title": "a"}])
    await desks.create_many([{"title": "c", "note": "n"}], returning=True)
    assert [desk.title for desk in await desks.get_all(order_by="title")] == ["a", "b", "c"]
    assert [desk.title for desk in (await desks.page(order_by="-title", limit=2)).items] == [
        "c",
        "b",
    ]
    [row] = await desks.rows(title="b", as_dicts=True)
    assert (row["title"], row["rank"], row["note"]) == ("b", 1, None)
    assert await desks.update_many(title="b", values={"title": "B"}) == 1
    assert [row async for row in desks.stream(columns=["title"], title="B")] == [("B",)]
    stored = await desks.upsert(["title"], title="B", note="up")
    assert (stored.title, stored.note, stored.rank) == ("B", "up", 8)
    stored = await desks.upsert(["title"], title="B", rank=9)
    assert (stored.title, stored.note, stored.rank) == ("B", "up", 9)
    with pytest.raises(InvalidInputError, match="no column 'desk_title'"):
        await desks.get_many(desk_title="B")
    with pytest.raises(InvalidInputError, match=r"unique key of Desk: id; title$"):
        await desks.upsert(["note"], title="B", note="x")


async def test_keys_of_two_columns(bind: Bind) -> None:
    limits = LimitRepository(bind)
    await DeskRepository(bind).create(id=1, title="FX")
    limit = await limits.create(desk_id=1, symbol="EURUSD")
    assert limit.size == 1.0
    found = await limits.get_by_id((1, "EURUSD"))
    assert found is not None
    await limits.update(found, size=2.5)
    assert await limits.get_by_id((1, "USDJPY")) is None
    for wrong in (1, "EURUSD", (1,), (1, None), (1, "EURUSD", 2), [1, "EURUSD"]):
        with pytest.raises(
            InvalidInputError, match=r"is \(desk_id, symbol\); give a value for each"
        ):
            await limits.get_by_id(wrong)
    stored = await limits.upsert(["desk_id", "symbol"], desk_id=1, symbol="EURUSD", size=3.0)
    assert stored.size == 3.0
    rows = [{"desk_id": 1, "symbol": symbol, "label": symbol} for symbol in ("A", "B", "EURUSD")]
    many = await limits.upsert_many(rows, ["symbol", "desk_id"])
    assert [(limit.symbol, limit.size) for limit in many] == [
        ("A", 1.0),
        ("B", 1.0),
        ("EURUSD", 3.0),
    ]
    assert await limits.delete_by_id((1, "A"))
    assert not await limits.delete_by_id((1, "A"))
    await limits.delete(many[1])
    assert await limits.count() == 1


async def test_a_unique_key_with_nulls_or_a_condition(bind: Bind, db: DatabaseManager) -> None:
    limits = LimitRepository(bind)
    await DeskRepository(bind).create(id=1, title="FX")
    row = {"desk_id": 1, "symbol": "A"}
    with pytest.raises(InvalidInputError, match="label is part of the key to match") as refused:
        await limits.upsert(["desk_id", "label"], **row, label=None)
    assert refused.value.field == "label"
    with pytest.raises(InvalidInputError, match="label is part of the key to match"):
        await limits.upsert(["desk_id", "label"], **row)
    stored = await limits.upsert(["desk_id", "label"], **row, label="x")
    assert (await limits.upsert(["desk_id", "label"], **row, label="x", size=9.0)).size == 9.0
    assert stored.label == "x"
    with pytest.raises(InvalidInputError, match=r"Limit: desk_id, label; desk_id, symbol$"):
        await limits.upsert(["label"], **row, label="x")  # that index has a condition
    if bind is db:
        with pytest.raises(DuplicateKeyError):
            await limits.create_many([row | {"symbol": "B", "label": "x"}])


@pytest.mark.parametrize("model", [Token, Badge])
async def test_keys_that_are_made_here_and_kinds_of_one_table(
    bind: Bind, db: DatabaseManager, statements: RecordStatements, model: type[Token]
) -> None:
    tokens = BaseRepository(bind, model)
    made = await tokens.create_many([{"number": number} for number in range(50)], returning=True)
    assert [token.number for token in made] == list(range(50))
    with statements(db) as sent:
        assert await tokens.create_many({"number": number} for number in range(50, 60)) == 10
    assert len(sent) == 1
    stored = await tokens.get_all(order_by="number")
    assert [token.number for token in stored] == list(range(60))
    assert {type(token) for token in stored} == {model}
    walked: list[int | None] = []
    cursor = None
    while True:
        page = await tokens.page(limit=25, after=cursor)
        walked += [token.number for token in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert sorted(number for number in walked if number is not None) == list(range(60))
    [again] = await tokens.upsert_many([{"id": made[3].id, "number": 99}], ["id"])
    assert (again.id, again.number) == (made[3].id, 99)


async def test_rows_without_a_version_that_are_gone(db: DatabaseManager) -> None:
    desk = await DeskRepository(db).create(title="FX")
    await DeskRepository(db).delete_by_id(desk.id)
    for call in (DeskRepository(db).update(desk, note="n"), DeskRepository(db).delete(desk)):
        with pytest.raises(StaleRecordError):
            await call


async def test_children_without_a_rule_are_the_unit_of_works_business(db: DatabaseManager) -> None:
    async with db.session() as session:
        desk = await DeskRepository(session).create(title="FX")
        await LimitRepository(session).create(desk=desk, symbol="A")
        await LimitRepository(session).delete_many(desk_id=desk.id)
        await DeskRepository(session).delete(desk)
    assert await DeskRepository(db).count() == 0


async def test_relationships_of_stock_models_load(db: DatabaseManager) -> None:
    await DeskRepository(db).create_many([{"id": 1, "title": "a"}, {"id": 2, "title": "b"}])
    await LimitRepository(db).create_many([{"desk_id": 1, "symbol": symbol} for symbol in "XY"])
    desks = await DeskRepository(db).get_all(load=(Desk.limits,))
    assert [[limit.symbol for limit in desk.limits] for desk in desks] == [["X", "Y"], []]
