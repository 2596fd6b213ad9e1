"""Sessions and streams whose connection is lost, or whose server freezes, before they end."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from hqt_async_db import BaseRepository, ConnectionFailedError, DatabaseManager
from hqt_async_db.connection.backends.mysql.connection import is_open
from tests.integration.test_connection.entries import Entry, create_table, names_in
from tests.integration.test_connection.holding import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hqt_async_db import Session
    from tests.fixtures.managers import MakeDb
    from tests.servers.process import ServerProcess

pytestmark = pytest.mark.backends("postgresql", "mariadb")
ITSELF = {"postgresql": "SELECT pg_backend_pid()", "mariadb": "SELECT connection_id()"}
END = {"postgresql": "SELECT pg_terminate_backend({})", "mariadb": "KILL {}"}
LONGEST_S = 8.0


async def lose(session: Session, killer: DatabaseManager, backend: str) -> None:
    """Have the server end the session's connection, and the driver see it."""
    number = await session.scalar(text(ITSELF[backend]))
    pooled = await (await session.connection()).get_raw_connection()
    async with killer.session() as other:
        await other.execute(text(END[backend].format(number)))
    await until(lambda: is_closed(pooled.driver_connection))


def is_closed(driver: Any) -> bool:
    """Tell whether asyncpg or asyncmy has seen the end of a connection."""
    return driver.is_closed() if hasattr(driver, "is_closed") else not is_open(driver)


@pytest.mark.parametrize("mode", [{}, {"write": True}, {"snapshot": True}])
async def test_a_connection_lost_before_the_commit_is_in_no_doubt(
    make_db: MakeDb, backend: str, mode: dict[str, Any]
) -> None:
    db, killer = make_db(), make_db()
    await create_table(db)
    session = db.session(**mode)

    async def use() -> None:
        async with session:
            await session.execute(text("SELECT 1"))
            if not mode.get("snapshot"):
                session.add(Entry(name="lost"))
                await session.flush()
            await lose(session, killer, backend)

    with pytest.raises(ConnectionFailedError, match="nothing was committed") as caught:
        await use()
    assert (caught.value.retryable, session.outcome) == (True, "rolled_back")
    assert await names_in(db) == set()


async def test_run_tries_again_what_lost_its_connection(make_db: MakeDb, backend: str) -> None:
    db, killer = make_db(), make_db()
    await create_table(db)
    calls = 0

    async def work(session: Session) -> None:
        nonlocal calls
        calls += 1
        session.add(Entry(name="once"))
        await session.flush()
        if calls == 1:
            await lose(session, killer, backend)

    await db.run(work)
    assert (calls, await names_in(db)) == (2, {"once"})


async def test_nothing_is_lost_with_the_connection_of_a_session_that_only_reads(
    make_db: MakeDb, backend: str
) -> None:
    db, killer = make_db(), make_db()
    await create_table(db)
    async with db.session(read_only=True) as session:
        await session.execute(text("SELECT 1"))
        await lose(session, killer, backend)
    assert session.outcome == "committed"


@pytest.fixture
async def frozen(private_server: ServerProcess, backend: str) -> AsyncIterator[DatabaseManager]:
    """A manager on a server that the test freezes."""
    database = "postgres" if backend == "postgresql" else "test"
    if backend == "mariadb":
        await asyncio.to_thread(private_server.admin.execute, "CREATE DATABASE IF NOT EXISTS test")
    async with DatabaseManager(private_server.url(database), commit_timeout_s=1) as db:
        await create_table(db)
        await BaseRepository(db, Entry).create_many({"name": f"{n}"} for n in range(5000))
        yield db
        await asyncio.to_thread(private_server.thaw)


async def test_a_savepoint_on_a_frozen_server_ends(
    frozen: DatabaseManager, private_server: ServerProcess
) -> None:
    async def use() -> None:
        async with asyncio.timeout(0.5), frozen.session() as session, session.begin_nested():
            await session.execute(text("SELECT 1"))
            await asyncio.to_thread(private_server.freeze)
            await asyncio.sleep(60)  # for the answer of an exchange, say

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await use()
    assert time.monotonic() - began < LONGEST_S


async def test_the_end_of_a_snapshot_on_a_frozen_server_is_in_no_doubt(
    frozen: DatabaseManager, private_server: ServerProcess
) -> None:
    session = frozen.session(snapshot=True)

    async def use() -> None:
        async with session:
            await session.execute(text("SELECT 1"))
            await asyncio.to_thread(private_server.freeze)

    with pytest.raises(ConnectionFailedError, match="wrote nothing") as caught:
        await use()
    assert (caught.value.retryable, session.outcome) == (True, "rolled_back")


@pytest.mark.backends("postgresql")
async def test_a_stream_that_is_left_on_a_frozen_server_ends(
    frozen: DatabaseManager, private_server: ServerProcess
) -> None:
    began = time.monotonic()
    async with BaseRepository(frozen, Entry).stream() as rows:
        async for _ in rows:
            await asyncio.to_thread(private_server.freeze)
            break
    assert time.monotonic() - began < LONGEST_S


@pytest.mark.backends("postgresql")
async def test_a_stream_whose_time_is_up_on_a_frozen_server_ends(
    frozen: DatabaseManager, private_server: ServerProcess
) -> None:
    async def use() -> None:
        async with asyncio.timeout(0.5), BaseRepository(frozen, Entry).stream() as rows:
            async for row in rows:
                if row.name == "0":
                    await asyncio.to_thread(private_server.freeze)

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await use()
    assert time.monotonic() - began < LONGEST_S
