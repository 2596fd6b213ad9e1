"""Every limit is kept, and says which one it was."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sqlite3
import time
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url, text, update

from hqt_async_db import (
    CommitOutcomeUnknownError,
    ConnectionFailedError,
    DatabaseLockedError,
    DatabaseManager,
    DeadlineExceededError,
    TransactionEndedError,
    TransientError,
)
from tests.integration.test_connection.entries import (
    Entry,
    create_table,
    names_in,
    require_idle,
)
from tests.integration.test_connection.test_cancellation_of_waits import LONG_STATEMENT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hqt_async_db import Session
    from tests.fixtures.managers import MakeDb
    from tests.integration.test_connection.conftest import Drive
    from tests.servers.process import ServerProcess

pytestmark = pytest.mark.timeout(60)
OVERRUN_S = 6.0
LIMIT_S = 0.5


@asynccontextmanager
async def within(seconds: float, *, at_least: float | None = None) -> AsyncIterator[None]:
    """Require that the block takes about so long."""
    started = time.monotonic()
    yield
    took = time.monotonic() - started
    assert (seconds if at_least is None else at_least) * 0.9 <= took < seconds + OVERRUN_S


async def insert(db: DatabaseManager, name: str) -> None:
    async with db.session() as session:
        session.add(Entry(name=name))


async def test_a_statement(make_db: MakeDb, backend: str) -> None:
    db = make_db(statement_timeout_s=0.3)
    await create_table(db)
    session = db.session()
    session.add(Entry(name="mine"))
    await session.flush()
    async with within(0.3):
        with pytest.raises(DeadlineExceededError):
            await session.execute(text(LONG_STATEMENT[backend]))
    await session.rollback()
    async with session.begin():
        session.add(Entry(name="mine"))
    await session.close()
    assert await names_in(db) == {"mine"}
    await require_idle(db, db)


@pytest.mark.backends("sqlite-file", "sqlite-memory")
async def test_a_write_in_a_savepoint(make_db: MakeDb, backend: str) -> None:
    """SQLite rolls all of the transaction back; the savepoint is not there any more."""
    db = make_db(statement_timeout_s=0.1)
    await create_table(db)
    calls: list[None] = []

    async def work(session: Session) -> None:
        calls.append(None)
        async with session.begin_nested():
            session.add(Entry(name="mine"))
            await session.flush()
            slow = text(f"({LONG_STATEMENT[backend]})")
            await session.execute(update(Entry).values(amount=slow))

    with pytest.raises(DeadlineExceededError):
        await db.run(work)
    assert len(calls) == 1
    assert await names_in(db) == set()


@pytest.mark.backends("sqlite-file", "sqlite-memory", "postgresql")
async def test_a_streamed_step(make_db: MakeDb, backend: str) -> None:
    endless = {
        "postgresql": "SELECT pg_sleep(0.1) FROM generate_series(1, 1000)",
        "sqlite-file": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
        "SELECT i FROM n WHERE i > 1000000000",
    }
    db = make_db(statement_timeout_s=0.3)
    async with db.session() as session:
        await session.execute(text("SELECT 1"))
    session = db.session()
    async with within(0.3):
        with pytest.raises(DeadlineExceededError):
            await session.stream(text(endless.get(backend, endless["sqlite-file"])))
    await session.close()
    await require_idle(db, db)


@pytest.mark.backends("postgresql", "mariadb")
async def test_the_lock_of_a_row(ledger: DatabaseManager, make_db: MakeDb, backend: str) -> None:
    await insert(ledger, "row")
    timeout_s = 1 if backend == "mariadb" else 0.3  # MariaDB counts whole seconds
    db = make_db(lock_timeout_s=timeout_s)
    async with ledger.session() as holder:
        await holder.execute(update(Entry).values(amount=1))
        session = db.session()
        session.add(Entry(name="mine"))
        await session.flush()
        async with within(timeout_s):
            with pytest.raises(DatabaseLockedError) as caught:
                await session.execute(update(Entry).values(amount=2))
        assert caught.value.retryable
        with pytest.raises((TransactionEndedError, TransientError)):
            await session.commit()
        assert session.outcome == "rolled_back"
        await session.close()
        with pytest.raises(DatabaseLockedError):
            async with db.session() as session, session.begin_nested():
                await session.execute(update(Entry).values(amount=2))
    assert await names_in(ledger) == {"row"}


@pytest.mark.backends("sqlite-file")
async def test_the_lock_of_a_file(
    ledger: DatabaseManager, make_db: MakeDb, database_url: str
) -> None:
    db = make_db(lock_timeout_s=0.3)
    path = str(make_url(database_url).database)
    other = await asyncio.to_thread(
        sqlite3.connect, path, isolation_level=None, check_same_thread=False
    )
    with closing(other):
        await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
        async with within(0.3):
            with pytest.raises(DatabaseLockedError):
                await insert(db, "mine")
        assert await names_in(ledger) == set()
        waiting = asyncio.create_task(insert(ledger, "mine"))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(other.execute, "COMMIT")
        await waiting
    assert await names_in(db) == {"mine"}


@pytest.mark.backends("postgresql", "mariadb")
@pytest.mark.parametrize("driver", ["", "+other"])
async def test_a_host_that_never_answers(database_url: str, driver: str) -> None:
    """It accepts, and is silent."""
    silent = socket.create_server(("127.0.0.1", 0))
    url = make_url(database_url).set(host="127.0.0.1", port=silent.getsockname()[1])
    if driver:
        name = "postgresql+psycopg" if url.drivername == "postgresql" else "mysql+aiomysql"
        url = url.set(drivername=name)
    files = len(await asyncio.to_thread(os.listdir, "/proc/self/fd"))
    async with DatabaseManager(url, connect_timeout_s=0.3) as db:
        for _ in range(2):
            async with within(0.3):
                with pytest.raises(ConnectionFailedError) as caught:
                    await db.ping()
            assert caught.value.retryable
            del caught
    await asyncio.sleep(0.01)
    if driver:  # the traceback holds psycopg's connection
        gc.collect()
    assert len(await asyncio.to_thread(os.listdir, "/proc/self/fd")) <= files
    silent.close()


@pytest.mark.backends("postgresql", "mariadb")
async def test_a_server_that_freezes(
    private_server: ServerProcess, backend: str, drive: Drive
) -> None:
    """Every call ends by its deadline; when the server goes on, so do we."""
    url = drive(private_server.url("postgres" if backend == "postgresql" else "test"))
    if backend == "mariadb":
        await asyncio.to_thread(private_server.admin.execute, "CREATE DATABASE IF NOT EXISTS test")
    async with DatabaseManager(
        url, statement_timeout_s=LIMIT_S, commit_timeout_s=LIMIT_S, connect_timeout_s=LIMIT_S
    ) as db:
        await create_table(db)
        sessions = {name: db.session() for name in ("reads", "commits", "is cancelled", "ends")}
        for name, session in sessions.items():
            session.add(Entry(name=name))
            await session.flush()
        await asyncio.to_thread(private_server.freeze)
        try:
            async with within(LIMIT_S):
                await asyncio.gather(
                    read_in_vain(sessions["reads"]),
                    commit_in_vain(sessions["commits"]),
                    be_cancelled(sessions["is cancelled"]),
                    sessions["ends"].close(),
                )
            for session in sessions.values():
                async with within(LIMIT_S, at_least=0):
                    await session.close()
            with pytest.raises(ConnectionFailedError):
                await db.ping()
        finally:
            await asyncio.to_thread(private_server.thaw)
        assert sessions["commits"].outcome == "unknown"
        await insert(db, "afterwards")
        assert "afterwards" in await names_in(db)
        await asyncio.to_thread(private_server.freeze)
        async with within(LIMIT_S, at_least=0):
            await db.dispose()
        await asyncio.to_thread(private_server.thaw)


async def read_in_vain(session: Session) -> None:
    with pytest.raises((DeadlineExceededError, ConnectionFailedError)):
        await session.execute(text("SELECT 1"))


async def commit_in_vain(session: Session) -> None:
    with pytest.raises(CommitOutcomeUnknownError):
        await session.commit()


async def be_cancelled(session: Session) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await session.execute(text("SELECT 1"))
