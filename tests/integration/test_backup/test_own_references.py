"""Tables that refer to themselves, and by several columns at once."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Table,
    UniqueConstraint,
)

from hqt_async_db import Base, DatabaseManager, ImportDataError
from hqt_async_db.models.types import ExactText, Int32, RowId, UtcDateTime, utc_now
from tests.integration.test_backup.loads import load_rows, stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hqt_async_db.backup.loading.load import Mode


MOMENT = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
THEN = MOMENT.isoformat()


def tables() -> list[Table]:
    """Add tables to those of the models."""
    nodes = Table(
        "nodes",
        Base.metadata,
        Column("id", RowId(), primary_key=True),
        Column("name", ExactText(20), nullable=False),
        Column("parent_id", RowId(), ForeignKey("nodes.id")),
        Column("changed_at", UtcDateTime(), onupdate=utc_now),
        UniqueConstraint("parent_id", "name"),
    )
    orders = Table(
        "orders",
        Base.metadata,
        Column("id", RowId(), primary_key=True),
        Column("account", ExactText(20), nullable=False),
        Column("number", Int32(), nullable=False),
        Column("replaces", Int32()),
        UniqueConstraint("account", "number"),
        ForeignKeyConstraint(["account", "replaces"], ["orders.account", "orders.number"]),
    )
    notes = Table(
        "notes",
        Base.metadata,
        Column("id", RowId(), primary_key=True),
        Column("account", ExactText(20)),
        Column("number", Int32()),
        Column("node_id", RowId(), ForeignKey("nodes.id")),
        ForeignKeyConstraint(["account", "number"], ["orders.account", "orders.number"]),
    )
    return [nodes, orders, notes]


@asynccontextmanager
async def added(db: DatabaseManager, made: list[Table]) -> AsyncIterator[None]:
    """Create tables, and take them from the models afterwards."""
    try:
        async with db.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all, tables=made)
        yield
    finally:
        for table in made:
            Base.metadata.remove(table)


@pytest.fixture
async def trees(db: DatabaseManager) -> AsyncIterator[DatabaseManager]:
    """A database with tables more, which the models have until the test ends."""
    async with added(db, tables()):
        yield db


def twigs(parent: ForeignKey, *checks: CheckConstraint, nullable: bool = True) -> Table:
    """Add a table whose rows refer to each other in a way of its own."""
    return Table(
        "twigs",
        Base.metadata,
        Column("id", RowId(), primary_key=True, autoincrement=False),
        Column("parent_id", RowId(), parent, nullable=nullable),
        *checks,
    )


async def grow_and_cut(db: DatabaseManager, *, root: int | None = None) -> None:
    """Load a long branch in every way, and shorter ones."""
    branch = [{"id": 1, "parent_id": root}]
    branch += [{"id": number, "parent_id": number - 1} for number in range(2, 40)]
    steps: list[tuple[Mode, int]] = [
        ("append", 30), ("restore", 20), ("upsert", 39), ("replace", 5), ("restore", 39),
    ]  # fmt: skip
    for mode, length in steps:
        await load_rows(db, mode, twigs=branch[:length])
        largest = 39 if mode == "upsert" else length
        assert await stored(db, "twigs", "id") == list(range(1, largest + 1)), mode


def node(number: int, parent: int | None = None, **values: Any) -> dict[str, Any]:
    return {"id": number, "name": f"n{number}", "parent_id": parent, "changed_at": THEN, **values}


def order(number: int, account: str = "a", replaces: int | None = None) -> dict[str, Any]:
    key = {"a": 0, "b": 100}[account] + number
    return {"id": key, "account": account, "number": number, "replaces": replaces}


def note(number: int, account: str | None, order: int | None) -> dict[str, Any]:
    return {"id": number, "account": account, "number": order, "node_id": None}


async def test_a_replacement_deletes_whole_branches(trees: DatabaseManager) -> None:
    await load_rows(trees, nodes=[node(1), node(2, 1), node(3, 2), node(4, 4), node(5, 1)])
    await load_rows(trees, "replace", nodes=[node(1), node(5)])
    assert await stored(trees, "nodes", "id", "parent_id") == [(1, None), (5, None)]


async def test_a_replacement_may_move_what_is_below_a_row_that_goes(
    trees: DatabaseManager,
) -> None:
    await load_rows(trees, nodes=[node(1), node(2, 1), node(3, 2), node(4, 3)])
    await load_rows(trees, "replace", nodes=[node(1), node(4, 1)])
    assert await stored(trees, "nodes", "id", "parent_id") == [(1, None), (4, 1)]


async def test_what_a_replacement_leaves_below_a_row_that_goes_is_counted(
    trees: DatabaseManager,
) -> None:
    rows = [node(1), node(2, 1), node(3, 1)]
    await load_rows(trees, nodes=rows, notes=[{"id": 1, "node_id": 1}])
    with pytest.raises(ImportDataError) as caught:
        await load_rows(trees, "replace", nodes=[{"id": 3, "name": "x"}])
    assert str(caught.value) == (
        "nodes.jsonl: rows of nodes that it lacks are still referenced, by 1 of nodes.parent_id, "
        "1 of notes.node_id; replace or delete those first, or upsert"
    )
    found = await stored(trees, "nodes", "id", "name", "parent_id")
    assert found == [(1, "n1", None), (2, "n2", 1), (3, "n3", 1)]


async def test_a_replacement_compares_all_columns_of_a_reference(trees: DatabaseManager) -> None:
    rows = [order(1), order(2), order(1, "b"), order(2, "b", 1)]
    await load_rows(
        trees, orders=rows, notes=[note(1, "a", 1), note(2, None, 2), note(3, "b", None)]
    )
    await load_rows(trees, "replace", orders=[order(1)])
    assert await stored(trees, "orders", "account", "number") == [("a", 1)]
    with pytest.raises(ImportDataError, match=r"by 1 of notes\.\(account, number\); replace"):
        await load_rows(trees, "replace", orders=[order(2)])
    assert await stored(trees, "orders", "account", "number") == [("a", 1)]


async def test_a_reference_by_several_columns_is_named_by_all(trees: DatabaseManager) -> None:
    orders = [order(1), order(2, "b")]
    notes = [note(1, "a", 1), note(2, None, 7), note(3, "b", None), note(4, "b", 1)]
    with pytest.raises(ImportDataError) as caught:
        await load_rows(trees, orders=orders, notes=notes)
    assert (caught.value.row, caught.value.column) == (4, "account, number")
    assert str(caught.value).endswith("there is no such row of orders")


@pytest.mark.parametrize("mode", ["append", "upsert", "replace", "restore"])
async def test_a_reference_to_nothing_in_its_own_table_is_named(
    trees: DatabaseManager, mode: Mode
) -> None:
    rows = [node(number, number - 1 or None) for number in range(1, 600)]
    rows[550]["parent_id"] = 777
    with pytest.raises(ImportDataError) as caught:
        await load_rows(trees, mode, nodes=rows)
    assert (caught.value.row, caught.value.column) == (551, "parent_id")
    orders = [order(1), order(2, "b"), order(1, "b", 2), order(2, "a", 3)]
    with pytest.raises(ImportDataError) as caught:
        await load_rows(trees, mode, orders=orders)
    assert (caught.value.row, caught.value.column) == (4, "account, replaces")


@pytest.mark.parametrize("mode", ["append", "upsert", "replace", "restore"])
async def test_rows_may_come_before_those_they_refer_to(trees: DatabaseManager, mode: Mode) -> None:
    rows = [node(1, 2), node(2, 3), node(3, 3), node(4)]
    orders = [order(1, replaces=2), order(2, replaces=1), order(1, "b", 1), order(2, "b")]
    counts = await load_rows(trees, mode, nodes=rows, orders=orders)
    assert counts == {"nodes": 4, "orders": 4}
    found = await stored(trees, "nodes", "id", "parent_id", "changed_at")
    assert found == [(1, 2, MOMENT), (2, 3, MOMENT), (3, 3, MOMENT), (4, None, MOMENT)]
    assert await stored(trees, "orders", "id", "replaces") == [
        (1, 2),
        (2, 1),
        (101, 1),
        (102, None),
    ]


async def test_a_restore_replaces_rows_that_refer_to_each_other(trees: DatabaseManager) -> None:
    rows = [node(1), node(2, 1), node(3, 2), node(4, 4)]
    orders = [order(1, replaces=2), order(2, replaces=1)]
    for _ in range(2):
        await load_rows(trees, "restore", nodes=rows, orders=orders)
    assert await stored(trees, "nodes", "parent_id") == [None, 1, 2, 4]
    assert await stored(trees, "orders", "replaces") == [2, 1]


@pytest.mark.parametrize("mode", ["upsert", "replace"])
async def test_rows_may_move_below_new_ones(trees: DatabaseManager, mode: Mode) -> None:
    await load_rows(trees, nodes=[node(1), node(2, 1), node(3, 1)])
    rows = [node(1, 77), node(2, 1), node(77), node(78, 2)]
    await load_rows(trees, mode, nodes=[*rows, node(3, 79), node(79, 78)])
    found = await stored(trees, "nodes", "id", "parent_id")
    assert found == [(1, 77), (2, 1), (3, 79), (77, None), (78, 2), (79, 78)]
    assert set(await stored(trees, "nodes", "changed_at")) == {MOMENT}


async def test_rows_without_numbers_refer_to_what_is_there(trees: DatabaseManager) -> None:
    await load_rows(trees, nodes=[node(1)])
    await load_rows(trees, nodes=[{"name": "a", "parent_id": 1}, {"name": "b", "parent_id": None}])
    assert await stored(trees, "nodes", "parent_id") == [None, 1, None]
    with pytest.raises(ImportDataError) as caught:
        await load_rows(trees, nodes=[{"name": "c", "parent_id": n} for n in (1, 7)])
    assert (caught.value.row, caught.value.column) == (2, "parent_id")


async def test_what_rows_refer_to_stays_where_it_is_not_given(trees: DatabaseManager) -> None:
    await load_rows(trees, nodes=[node(1), node(2, 1)])
    await load_rows(trees, "upsert", nodes=[{"id": 2, "name": "new"}])
    assert await stored(trees, "nodes", "name", "parent_id") == [("n1", None), ("new", 1)]


@pytest.mark.parametrize("mode", ["append", "upsert", "replace", "restore"])
async def test_a_unique_key_with_a_reference_is_named(trees: DatabaseManager, mode: Mode) -> None:
    rows = [node(1), node(2, 1, name="x"), node(3, 1, name="x"), node(4, 1)]
    with pytest.raises(ImportDataError, match="row 2 has the same") as caught:
        await load_rows(trees, mode, nodes=rows)
    assert (caught.value.row, caught.value.column) == (3, "parent_id, name")


@pytest.mark.parametrize("action", [None, "RESTRICT", "CASCADE", "SET NULL"])
async def test_rows_go_whatever_would_become_of_those_below(
    db: DatabaseManager, action: str | None
) -> None:
    async with added(db, [twigs(ForeignKey("twigs.id", ondelete=action))]):
        await grow_and_cut(db)


async def test_a_reference_that_is_checked_is_never_taken_away(db: DatabaseManager) -> None:
    is_root = CheckConstraint("id < 2 OR parent_id IS NOT NULL", name="root")
    async with added(db, [twigs(ForeignKey("twigs.id"), is_root)]):
        await grow_and_cut(db)


@pytest.mark.backends("sqlite-file", "sqlite-memory", "postgresql")
async def test_a_root_may_refer_to_itself(db: DatabaseManager) -> None:
    """MariaDB deletes no such row."""
    async with added(db, [twigs(ForeignKey("twigs.id"), nullable=False)]):
        await grow_and_cut(db, root=1)
