"""The SELECT of a table that is read as text: column by column, with its values in it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Integer, MetaData, PickleType, Table, literal_column
from sqlalchemy.dialects import postgresql, sqlite

from hqt_async_db.backup.reading.query import TableQuery, literal_sql
from hqt_async_db.backup.tables import table_named
from hqt_async_db.connection import pacing

if TYPE_CHECKING:
    import pytest

TRADES = table_named("backtest_trades")


async def test_other_tasks_run_between_two_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "STEP_S", 0.0)
    turns = 0
    is_over = False

    async def count_turns() -> None:
        nonlocal turns
        while not is_over:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    await literal_sql(TableQuery(TRADES, tuple(TRADES.c)), TRADES.c, sqlite.dialect())
    is_over = True
    await counting
    assert turns >= len(TRADES.c)


async def test_it_is_the_statement_that_sqlalchemy_makes() -> None:
    query = TableQuery(TRADES, tuple(TRADES.c), (TRADES.c.symbol == "O'Neil", TRADES.c.id > 5))
    dialects: tuple[Any, ...] = sqlite.dialect, postgresql.dialect
    for dialect in [make() for make in dialects]:
        plain = query.select().compile(dialect=dialect, compile_kwargs={"literal_binds": True})
        sql = await literal_sql(query, TRADES.c, dialect)
        assert sql is not None
        assert sql.split() == str(plain).split()


async def test_names_and_labels_are_quoted() -> None:
    table = Table("order", MetaData(), Column("group", Integer, primary_key=True))
    column = table.c.group
    query = TableQuery(table, (column,))
    sql = await literal_sql(query, [column.label("end"), literal_column("0")], sqlite.dialect())
    assert sql == ('SELECT "order"."group" AS "end", 0 FROM "order" ORDER BY "order"."group"')


async def test_a_value_without_a_literal_must_be_bound() -> None:
    table = Table("t", MetaData(), Column("id", Integer, primary_key=True), Column("x", PickleType))
    query = TableQuery(table, (table.c.id,), (table.c.x == {"any": "object"},))
    assert await literal_sql(query, table.c, sqlite.dialect()) is None
