"""What an operator sees of a database, and does to it while it is in use."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import make_url, text

from hqt_async_db import DatabaseManager, NestedSessionError, UserRepository
from hqt_async_db.connection.backends.sqlite.versions import known_bugs
from tests.integration.test_connection.entries import require_idle, require_write_lock_free

if TYPE_CHECKING:
    from tests.fixtures.managers import MakeDb, RecordStatements

TRADER: Final = {"username": "trader1", "email": "t@example.com", "password_hash": "hash"}
MIB: Final = 1024 * 1024
MODELS: Final = 13
ROWS: Final = 24


async def fill_and_delete(db: DatabaseManager) -> None:
    """Leave some thousands of free pages."""
    async with db.session() as session:
        await session.execute(text("CREATE TABLE blobs (content)"))
        for _ in range(ROWS):
            await session.execute(text("INSERT INTO blobs VALUES (zeroblob(1048576))"))
    async with db.session() as session:
        await session.execute(text("DELETE FROM blobs"))


class TestHealth:
    @pytest.mark.backends("sqlite-file")
    @pytest.mark.parametrize("level", ["FULL", "NORMAL"])
    async def test_a_file(self, make_db: MakeDb, level: str) -> None:
        db = make_db(sqlite_synchronous=level)
        await db.create_all()
        health = await db.health()
        expected = {
            "server_version": sqlite3.sqlite_version,
            "journal_mode": "wal",
            "synchronous": level,
            "auto_vacuum": "incremental",
            "page_size": 4096,
            "freelist_count": 0,
            "warnings": known_bugs(sqlite3.sqlite_version_info),
        }
        assert {name: health[name] for name in expected} == expected
        assert health["page_count"] > MODELS
        assert health["wal_bytes"] > 0

    @pytest.mark.backends("sqlite-memory")
    async def test_memory(self, db: DatabaseManager) -> None:
        health = await db.health()
        assert (health["journal_mode"], health["wal_bytes"], health["warnings"]) == (
            "memory",
            0,
            [],
        )

    @pytest.mark.backends("postgresql", "mariadb")
    async def test_a_server_has_nothing_to_warn_of(self, db: DatabaseManager) -> None:
        assert (await db.health())["warnings"] == []

    @pytest.mark.backends("sqlite-file")
    async def test_the_stock_dialect(self, database_url: str) -> None:
        async with DatabaseManager(stock(database_url)) as db:
            await db.create_all()
            health = await db.health()
            assert (health["journal_mode"], health["auto_vacuum"]) == ("wal", "incremental")


def stock(url: str) -> str:
    return url.replace("sqlite:", "sqlite+aiosqlite:")


class TestOptimize:
    async def test_every_table_is_analyzed(
        self, db: DatabaseManager, statements: RecordStatements
    ) -> None:
        await UserRepository(db).create(**TRADER)
        with statements(db) as sent:
            figures = await db.optimize()
        assert figures["analyzed_tables"] >= MODELS
        analyzed = [sql for sql in sent if sql.startswith("ANALYZE")]
        assert len(analyzed) == figures["analyzed_tables"]
        assert any("users" in sql for sql in analyzed)
        assert await UserRepository(db).count() == 1
        await require_idle(db, db)

    @pytest.mark.backends("sqlite-file", "sqlite-memory")
    async def test_the_planner_knows_the_rows(self, db: DatabaseManager) -> None:
        users = UserRepository(db)
        await users.create_many(
            [TRADER | {"username": f"{n}", "email": f"{n}@example.com"} for n in range(50)]
        )
        await db.optimize()
        async with db.session(read_only=True) as session:
            query = text("SELECT stat FROM sqlite_stat1 WHERE tbl = 'users'")
            assert any(stat.startswith("50 ") for stat in await session.scalars(query))

    @pytest.mark.backends("sqlite-file")
    @pytest.mark.parametrize("dialect", ["ours", "stock"])
    async def test_free_pages_go_back_to_the_file_system(
        self, database_url: str, dialect: str
    ) -> None:
        path = str(make_url(database_url).database)
        url = database_url if dialect == "ours" else stock(database_url)
        async with DatabaseManager(url) as db:
            await fill_and_delete(db)
            assert (await db.health())["freelist_count"] > ROWS * 200
            figures = await db.optimize()
            assert figures["auto_vacuum"] == "incremental"
            assert figures["freed_bytes"] > ROWS * MIB * 0.9
            assert figures["unused_bytes"] == 0
            assert (await db.health())["freelist_count"] == 0
        assert await asyncio.to_thread(os.path.getsize, path) < MIB

    @pytest.mark.backends("sqlite-file")
    async def test_it_empties_the_log(self, db: DatabaseManager) -> None:
        await fill_and_delete(db)
        await db.optimize()
        assert (await db.health())["wal_bytes"] == 0

    @pytest.mark.backends("sqlite-file")
    async def test_a_file_made_by_something_else_gives_nothing_back(
        self, database_url: str
    ) -> None:
        await asyncio.to_thread(make_file, str(make_url(database_url).database))
        async with DatabaseManager(database_url) as db:
            await fill_and_delete(db)
            figures = await db.optimize()
        assert figures["auto_vacuum"] == "none"
        assert figures["freed_bytes"] == 0
        assert figures["unused_bytes"] > ROWS * MIB * 0.9

    @pytest.mark.backends("sqlite-file")
    async def test_writers_have_their_turn_meanwhile(self, db: DatabaseManager) -> None:
        await fill_and_delete(db)
        steps_of_pages = (await db.health())["freelist_count"] // 256
        optimizing = asyncio.create_task(db.optimize())
        written = 0
        while not optimizing.done():
            name = f"{written}"
            await UserRepository(db).create(**TRADER | {"username": name, "email": name})
            written += 1
        assert optimizing.result()["freed_bytes"] > 0
        assert written >= steps_of_pages / 2
        assert await UserRepository(db).count() == written

    @pytest.mark.backends("sqlite-file")
    async def test_cancelled_it_leaves_nothing_behind(
        self, db: DatabaseManager, database_url: str
    ) -> None:
        await fill_and_delete(db)
        for delay_s in (0.001, 0.005, 0.01, 0.02, 0.04):
            with suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await db.optimize()
            await require_write_lock_free(database_url)
            await require_idle(db, db)
        await UserRepository(db).create(**TRADER)
        assert (await db.optimize())["unused_bytes"] == 0

    @pytest.mark.backends("sqlite-file", "sqlite-memory")
    async def test_inside_a_session_that_writes_it_is_refused(self, db: DatabaseManager) -> None:
        async with db.session() as session:
            await UserRepository(session).create(**TRADER)
            with pytest.raises(NestedSessionError):
                await db.optimize()


def make_file(path: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE others (id)")
