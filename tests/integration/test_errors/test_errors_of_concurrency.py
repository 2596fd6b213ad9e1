"""Locks, deadlocks, deadlines and read-only sessions."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import exc as sa_exc
from sqlalchemy import insert, select, text, update

from hqt_async_db.errors import (
    ConnectionFailedError,
    DatabaseLockedError,
    DeadlineExceededError,
    DeadlockError,
    HqtDbError,
    ReadOnlyViolationError,
    SerializationFailureError,
    StaleRecordError,
    StorageFullError,
    TransientError,
)
from hqt_async_db.models import LiveTrade, User

if TYPE_CHECKING:
    from sqlalchemy import URL

    from hqt_async_db.connection.manager import DatabaseManager
    from hqt_async_db.connection.sessions.session import Session
    from tests.integration.test_errors.conftest import OpenManager

BOB = {"username": "bob", "email": "bob@example.com", "password_hash": "x"}
servers = pytest.mark.drivers("asyncpg", "psycopg", "asyncmy", "aiomysql")


async def _rename(session: Session, username: str) -> None:
    statement = update(User).where(User.username == username).values(full_name="changed")
    await session.execute(statement)


@servers
async def test_a_deadlock_is_broken(db: DatabaseManager) -> None:
    async with db.session() as session:
        await session.execute(insert(User).values(BOB))
    both_hold_one = asyncio.Barrier(2)

    async def cross(first: str, second: str) -> None:
        async with db.session() as session:
            # The server's own lock timeout must not end the wait first.
            if db.engine.dialect.name == "postgresql":
                await session.execute(text("SET LOCAL lock_timeout = 0"))
            await _rename(session, first)
            await both_hold_one.wait()
            await _rename(session, second)

    results = await asyncio.gather(cross("ann", "bob"), cross("bob", "ann"), return_exceptions=True)
    broken = [result for result in results if result is not None]
    assert [type(error) for error in broken] == [DeadlockError]
    assert isinstance(broken[0], TransientError)
    assert broken[0].retryable


@pytest.mark.drivers("asyncpg", "psycopg")
async def test_transactions_without_a_serial_order(db: DatabaseManager) -> None:
    async def count_and_add(name: str, barrier: asyncio.Barrier) -> None:
        async with db.session(write=True) as session:
            await session.scalars(select(User.id))
            await barrier.wait()
            values = {"username": name, "email": f"{name}@example.com", "password_hash": "x"}
            await session.execute(insert(User).values(values))

    barrier = asyncio.Barrier(2)
    results = await asyncio.gather(
        count_and_add("carl", barrier), count_and_add("dora", barrier), return_exceptions=True
    )
    failed = [result for result in results if result is not None]
    assert [type(error) for error in failed] == [SerializationFailureError]


@servers
async def test_a_row_locked_by_another_session(db: DatabaseManager) -> None:
    async with db.session() as holder:
        await _rename(holder, "ann")
        await _expect_lock(db)


@pytest.mark.drivers("hqt")
async def test_a_file_locked_by_another_program(db: DatabaseManager, url: URL) -> None:
    program = await asyncio.to_thread(_lock_file, str(url.database))
    try:
        error = await _expect_lock(db)
        assert "waited 1 s" in str(error)
        assert "another process" in str(error)
    finally:
        await asyncio.to_thread(program.close)


def _lock_file(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    return connection


async def _expect_lock(db: DatabaseManager) -> DatabaseLockedError:
    async def wait_in_vain() -> None:
        async with db.session() as session:
            await _rename(session, "ann")

    with pytest.raises(DatabaseLockedError) as caught:
        await asyncio.create_task(wait_in_vain())
    assert caught.value.retryable
    assert isinstance(caught.value, sa_exc.OperationalError)
    return caught.value


SLOW = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION SELECT i + 1 FROM n) SELECT max(i) FROM n",
    "postgresql": "SELECT pg_sleep(10)",
    "mysql": "SELECT sleep(10)",
}


async def test_a_statement_past_its_timeout(open_manager: OpenManager) -> None:
    db = open_manager(statement_timeout_s=0.3)
    slow = SLOW[db.engine.dialect.name]

    async def run_slow() -> None:
        async with db.session() as session:
            await session.execute(text(slow))

    with pytest.raises(DeadlineExceededError, match="statement_timeout_s") as caught:
        await run_slow()
    assert not caught.value.connection_invalidated
    async with db.session() as session:
        assert await session.scalar(text("SELECT 1")) == 1


@pytest.mark.parametrize("mode", ["read_only", "snapshot"])
async def test_a_session_that_may_not_write(db: DatabaseManager, mode: str) -> None:
    options = {mode: True}
    with pytest.raises(ReadOnlyViolationError) as caught:
        async with db.session(**options) as session:
            await session.execute(text("DELETE FROM users"))
    assert isinstance(caught.value, sa_exc.OperationalError)
    assert not caught.value.connection_invalidated


@servers
async def test_a_primary_that_turned_read_only_is_left(db: DatabaseManager) -> None:
    """A demoted primary refuses writes and answers pings: its connections must go."""
    demoted = (
        "SET default_transaction_read_only = on"
        if db.engine.dialect.name == "postgresql"
        else "SET SESSION TRANSACTION READ ONLY"
    )
    async with db.session() as session:
        await session.execute(text(demoted))
    with pytest.raises(ReadOnlyViolationError) as caught:
        async with db.session() as session:
            await session.execute(insert(User).values(BOB))
    assert caught.value.connection_invalidated
    async with db.session() as session:
        await session.execute(insert(User).values(BOB))
    assert session.outcome == "committed"


@servers
async def test_a_connection_that_the_server_ended(db: DatabaseManager) -> None:
    postgresql = db.engine.dialect.name == "postgresql"
    own_id = text("SELECT pg_backend_pid()" if postgresql else "SELECT connection_id()")

    async def lose_connection() -> None:
        async with db.session() as session, db.session(read_only=True) as other:
            number = await session.scalar(own_id)
            kill = f"SELECT pg_terminate_backend({number})" if postgresql else f"KILL {number}"
            await other.execute(text(kill))
            await session.execute(text("SELECT 1"))

    with pytest.raises(ConnectionFailedError) as caught:
        await lose_connection()
    assert caught.value.retryable
    assert caught.value.connection_invalidated
    async with db.session() as session:
        assert await session.scalar(text("SELECT 1")) == 1


@pytest.mark.drivers("asyncpg")
async def test_a_plan_that_a_schema_change_made_stale(
    db: DatabaseManager, open_manager: OpenManager
) -> None:
    async def read() -> None:
        async with db.session() as session:
            await session.execute(text("SELECT * FROM users"))

    await read()
    async with open_manager().session() as session:
        await session.execute(text("ALTER TABLE users ADD COLUMN nickname TEXT"))
    with pytest.raises(TransientError) as caught:
        await read()
    assert caught.value.retryable
    await read()


async def test_a_row_that_changed_since_it_was_read(db: DatabaseManager) -> None:
    trade = LiveTrade(
        account_id="A", client_order_id="1", symbol="EURUSD", direction="long", volume=1
    )
    async with db.session() as session:
        session.add(trade)
    async with db.session() as session:
        await session.execute(update(LiveTrade).values(version=7))

    async def save() -> None:
        async with db.session() as session:
            session.add(trade)
            trade.symbol = "GBPUSD"

    with pytest.raises(StaleRecordError, match="live_trades") as caught:
        await save()
    assert caught.value.retryable


@pytest.mark.drivers("hqt")
async def test_a_full_disk(db: DatabaseManager) -> None:
    async def fill() -> None:
        async with db.session() as session:
            pages = await session.scalar(text("PRAGMA page_count"))
            await session.execute(text(f"PRAGMA max_page_count = {pages}"))
            values = [
                {"username": f"u{n}", "email": f"{n}@example.com", "password_hash": "x" * 250}
                for n in range(1000)
            ]
            await session.execute(insert(User), values)

    with pytest.raises(StorageFullError) as caught:
        await fill()
    assert isinstance(caught.value, HqtDbError)
