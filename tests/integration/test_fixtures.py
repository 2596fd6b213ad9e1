"""The fixtures themselves: is each backend what it says, and is nothing shared?"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import pytest
from blockbuster import BlockingError
from sqlalchemy import inspect, text

from hqt_async_db.models import Base

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager
    from tests.fixtures.managers import MakeDb, RecordStatements
    from tests.servers.admin import Admin

_VERSION = {
    "sqlite-file": ("SELECT 'SQLite ' || sqlite_version()", "SQLite 3."),
    "sqlite-memory": ("SELECT 'SQLite ' || sqlite_version()", "SQLite 3."),
    "postgresql": ("SELECT version()", "PostgreSQL "),
    "mariadb": ("SELECT version()", None),
}
_FILE = {"sqlite-file": "test.db", "sqlite-memory": ""}


async def _scalar(db: DatabaseManager, statement: str) -> object:
    async with db.session() as session:
        return await session.scalar(text(statement))


async def test_each_backend_is_what_it_says(db: DatabaseManager, backend: str) -> None:
    statement, beginning = _VERSION[backend]
    version = str(await _scalar(db, statement))
    if beginning is None:
        assert "MariaDB" in version or os.environ.get("HQT_TEST_MYSQL_URL")
    else:
        assert version.startswith(beginning)


@pytest.mark.backends("sqlite-file", "sqlite-memory")
async def test_memory_is_memory_and_a_file_is_a_file(db: DatabaseManager, backend: str) -> None:
    async with db.session() as session:
        listing = await session.execute(text("PRAGMA database_list"))
    files = {name: file for _, name, file in listing}
    assert files["main"].rpartition("/")[2] == _FILE[backend]


async def test_a_database_is_empty_at_first(make_db: MakeDb) -> None:
    db = make_db()
    async with db.engine.connect() as connection:
        assert await connection.run_sync(lambda sync: inspect(sync).get_table_names()) == []


async def test_db_has_the_schema_and_no_rows(db: DatabaseManager) -> None:
    async with db.engine.connect() as connection:
        tables = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    assert set(tables) == {*Base.metadata.tables, "alembic_version"}
    assert await _scalar(db, "SELECT count(*) FROM users") == 0


@pytest.mark.parametrize("attempt", [1, 2])
async def test_nothing_of_one_test_reaches_the_next(make_db: MakeDb, attempt: int) -> None:
    async with make_db().engine.begin() as connection:
        await connection.execute(
            text(f"CREATE TABLE left_behind (attempt INTEGER DEFAULT {attempt})")
        )


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_managers_of_one_test_share_its_database(
    db: DatabaseManager, make_db: MakeDb
) -> None:
    async with db.engine.begin() as connection:
        await connection.execute(text("CREATE TABLE shared (id INTEGER)"))
    assert await _scalar(make_db(), "SELECT count(*) FROM shared") == 0


async def test_statements_are_recorded_without_transaction_control(
    db: DatabaseManager, statements: RecordStatements
) -> None:
    with statements(db) as sent:
        assert await _scalar(db, "SELECT 1") == 1
        async with db.session(read_only=True) as session:
            await session.execute(text("SELECT 2"))
    await _scalar(db, "SELECT 3")
    assert sent == ["SELECT 1", "SELECT 2"]


@pytest.mark.backends("postgresql", "mariadb")
async def test_a_shared_server_can_be_administrated(server: Admin, database_url: str) -> None:
    database = database_url.rpartition("/")[2]
    assert await asyncio.to_thread(server.databases, database) == [database]
    assert await asyncio.to_thread(server.execute, "SELECT %s + 1", (1,)) == [(2,)]


async def test_a_blocking_call_on_the_loop_is_refused() -> None:
    with pytest.raises(BlockingError, match=r"time\.sleep"):
        time.sleep(0.001)  # noqa: ASYNC251 - the point
    await asyncio.to_thread(time.sleep, 0.001)


def test_the_local_time_is_not_utc() -> None:
    assert time.timezone == 5 * 3600
