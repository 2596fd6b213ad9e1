"""Whichever way rows are read, their text is the same, on every backend."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, text, update

from hqt_async_db import DatabaseManager
from hqt_async_db.backup.formats.encode import Encoder
from hqt_async_db.backup.reading.postgresql_copy import copy_sql
from hqt_async_db.backup.reading.sqlite_rows import sqlite_sql
from hqt_async_db.backup.snapshot import TableQuery, snapshot
from tests.integration.test_backup.every_type import (
    COLUMNS,
    TABLE,
    WITHOUT_JSON,
    edge_rows,
    rows,
    store,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Column

    from hqt_async_db.backup.formats.encode import Format
    from tests.fixtures.managers import MakeDb
    from tests.integration.test_backup.every_type import Row

FORMS: tuple[Format, ...] = ("jsonl", "csv")


async def written(db: DatabaseManager, query: TableQuery, form: Format) -> tuple[bytes, int]:
    content, count = [], 0
    async with snapshot(db) as view, aclosing(view.blocks(query, form)) as blocks:
        async for block in blocks:
            content.append(block.content)
            count += block.rows
    return b"".join(content), count


def expected(columns: Sequence[Column[Any]], stored: Sequence[Row], form: Format) -> bytes:
    indexes = [COLUMNS.index(column) for column in columns]
    return Encoder(columns, form).rows([[row[index] for index in indexes] for row in stored])


async def assert_same(db: DatabaseManager, stored: Sequence[Row]) -> None:
    for columns in (COLUMNS, WITHOUT_JSON):
        for form in FORMS:
            content, count = await written(db, TableQuery(TABLE, columns), form)
            assert content == expected(columns, stored, form)
            assert count == len(stored)


async def test_every_edge_has_the_text_of_the_plain_encoder(db: DatabaseManager) -> None:
    await assert_same(db, await store(db, edge_rows()))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_rows_have_the_text_of_the_plain_encoder(
    database_url: str, backend: str, data: st.DataObject
) -> None:
    found = data.draw(rows(is_server_of_nan=backend == "postgresql"))

    async def check() -> None:
        async with DatabaseManager(database_url) as db:
            await assert_same(db, await store(db, found))

    asyncio.run(check())


@pytest.mark.backends("sqlite-file", "sqlite-memory", "postgresql")
async def test_each_column_alone_has_the_text_of_the_plain_encoder(db: DatabaseManager) -> None:
    stored = await store(db, edge_rows())
    for column in COLUMNS:
        for form in FORMS:
            content, _ = await written(db, TableQuery(TABLE, (column,)), form)
            assert content == expected((column,), stored, form), column


@pytest.mark.backends("sqlite-file", "sqlite-memory", "postgresql")
async def test_the_database_writes_where_it_can(db: DatabaseManager, backend: str) -> None:
    await db.create_all()
    sql = copy_sql if backend == "postgresql" else sqlite_sql
    async with snapshot(db) as view:
        for form in FORMS:
            assert await sql(view.session, TableQuery(TABLE, WITHOUT_JSON), form) is not None
            with_value = TableQuery(TABLE, WITHOUT_JSON, [TABLE.c.label == "'; DROP\\ $1 %s :x ?"])
            assert await sql(view.session, with_value, form) is not None


async def test_rows_are_chosen_by_the_value_of_any_type(db: DatabaseManager) -> None:
    stored = await store(db, edge_rows())
    for index, column in enumerate(COLUMNS):
        if column.name == "settings":
            continue
        for value in {row[index] for row in stored}:
            query = TableQuery(TABLE, WITHOUT_JSON, [column == value])
            found = [row for row in stored if row[index] == value]
            assert (await written(db, query, "csv"))[0] == expected(WITHOUT_JSON, found, "csv"), (
                value
            )


@pytest.mark.backends("sqlite-file")
async def test_times_that_others_stored_are_read_as_they_are_meant(db: DatabaseManager) -> None:
    await store(db, edge_rows()[:2])
    async with db.session() as session:
        await session.execute(text("UPDATE every_type SET opened_at = '2024-01-01 10:00:00'"))
    content, _ = await written(db, TableQuery(TABLE, (TABLE.c.opened_at, TABLE.c.id)), "csv")
    assert content == b"2024-01-01 10:00:00+00,1\n2024-01-01 10:00:00+00,2\n"


async def test_a_zero_that_a_database_computed_has_no_sign(db: DatabaseManager) -> None:
    zero = [row for row in await store(db, edge_rows()) if row[0] == 0]
    await store(db, zero)
    async with db.session() as session:
        await session.execute(update(TABLE).values(ratio=-TABLE.c.ratio, last=TABLE.c.ratio * -1))
    with_last = [(*row[:-1], 0.0) for row in zero]
    await assert_same(db, with_last)


@pytest.mark.backends("postgresql")
async def test_settings_of_the_server_change_nothing(db: DatabaseManager, make_db: MakeDb) -> None:
    stored = await store(db, edge_rows())
    odd = {"extra_float_digits": "-15", "datestyle": "German", "timezone": "Asia/Kolkata"}
    await assert_same(make_db(connect_args={"server_settings": odd}), stored)


async def test_doubles_of_every_size_stand_beside_text_that_looks_like_them(
    db: DatabaseManager, backend: str
) -> None:
    await db.create_all()
    await store(db, [])
    powers = range(-300 if backend == "mariadb" else -320, 308)
    ratios = [
        sign * digits * 10.0**power
        for power in powers
        for digits in (1, 1.25, 1.7976931348623157)
        for sign in (1, -1)
    ]
    labels = ("1e-7", "0.00001", "a:0.00001", "1e16", "1234567890123456.0", "take-profit")
    values = [
        {"id": n, "label": labels[n % len(labels)], "ratio": ratio, "last": ratio / 3}
        for n, ratio in enumerate(ratios, 1)
        if ratio / 3
    ]
    async with db.session() as session:
        await session.execute(insert(TABLE), values)
    query = TableQuery(TABLE, (TABLE.c.id, TABLE.c.label, TABLE.c.ratio, TABLE.c.last))
    for form in FORMS:
        lines = Encoder(query.columns, form).rows([tuple(value.values()) for value in values])
        assert await written(db, query, form) == (lines, len(values))


async def test_many_rows_come_in_their_order_and_in_blocks(db: DatabaseManager) -> None:
    await db.create_all()
    await store(db, [])
    count = 3000
    values = [
        {"id": n * 7919 % 100_003, "label": "x" * (n % 200), "ratio": n / 7, "last": float(n)}
        for n in range(1, count + 1)
    ]
    async with db.session() as session:
        await session.execute(insert(TABLE), values)
    query = TableQuery(TABLE, (TABLE.c.id, TABLE.c.label, TABLE.c.last))
    for form in FORMS:
        encoder = Encoder(query.columns, form)
        ordered = sorted((value["id"], value["label"], value["last"]) for value in values)
        assert await written(db, query, form) == (encoder.rows(ordered), count)
