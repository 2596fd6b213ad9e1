"""Connections that cannot be made: one class, the right advice, no credentials."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import exc as sa_exc
from sqlalchemy import text
from sqlalchemy.pool import AsyncAdaptedQueuePool

from hqt_async_db.connection.translation.translate import translate
from hqt_async_db.errors import (
    ConnectionFailedError,
    PoolTimeoutError,
    StatementFailedError,
)
from tests.integration.test_errors.exposure import SECRET, shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy import URL

    from hqt_async_db.connection.manager import DatabaseManager
    from tests.integration.test_errors.conftest import OpenManager
    from tests.servers.admin import Admin

servers = pytest.mark.drivers("asyncpg", "psycopg", "asyncmy", "aiomysql")


async def _failure(db: DatabaseManager) -> ConnectionFailedError:
    """Return the error of a session; the one of a plain connection must be the same."""
    with pytest.raises(ConnectionFailedError) as caught:
        async with db.session() as session:
            await session.execute(text("SELECT 1"))
    error = caught.value
    assert isinstance(error, sa_exc.OperationalError)
    assert SECRET not in shown(error)
    assert error.__cause__ is None
    assert error.__context__ is None
    return error


@servers
async def test_a_wrong_password(open_manager: OpenManager, url: URL) -> None:
    error = await _failure(open_manager(url=url.set(password=SECRET)))
    assert not error.retryable
    assert "password" in str(error)


@pytest.mark.drivers("asyncpg", "psycopg")
async def test_a_wrong_password_in_the_query(open_manager: OpenManager, url: URL) -> None:
    secret = url.set(password=None).update_query_dict({"password": SECRET})
    assert not (await _failure(open_manager(url=secret))).retryable


@servers
async def test_an_unknown_user(open_manager: OpenManager, url: URL) -> None:
    error = await _failure(open_manager(url=url.set(username="nobody_here", password=SECRET)))
    assert not error.retryable


@servers
async def test_an_unknown_database(open_manager: OpenManager, url: URL) -> None:
    error = await _failure(open_manager(url=url.set(database="no_such_database")))
    assert not error.retryable
    assert "database" in str(error)


@servers
async def test_a_port_where_nobody_listens(open_manager: OpenManager, url: URL) -> None:
    error = await _failure(open_manager(url=url.set(port=1, password=SECRET)))
    assert error.retryable
    assert "check host and port" in str(error)


@servers
async def test_a_host_without_an_address(open_manager: OpenManager, url: URL) -> None:
    nowhere = url.set(host="no-such-host.invalid", password=SECRET)
    assert (await _failure(open_manager(url=nowhere))).retryable


@servers
async def test_a_host_that_never_answers(open_manager: OpenManager, url: URL) -> None:
    async with _silent_server() as port:
        silent = url.set(host="127.0.0.1", port=port, password=SECRET)
        db = open_manager(url=silent, connect_timeout_s=0.3)
        # psycopg counts its own timeout in whole seconds, at least two.
        async with asyncio.timeout(5):
            error = await _failure(db)
    assert error.retryable


@asynccontextmanager
async def _silent_server() -> AsyncIterator[int]:
    closing = asyncio.Event()

    async def stay_silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await closing.wait()
        writer.close()

    server = await asyncio.start_server(stay_silent, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        closing.set()
        server.close()


@servers
async def test_a_server_without_a_connection_to_spare(
    open_manager: OpenManager, url: URL, server: Admin
) -> None:
    name = f"limited_{uuid.uuid4().hex[:8]}"
    limited = url.set(username=name, password=SECRET)
    if url.get_backend_name() == "postgresql":
        create = f"CREATE ROLE {name} LOGIN PASSWORD '{SECRET}' CONNECTION LIMIT 1"
        drop = f"DROP ROLE {name}"
    else:
        create = f"CREATE USER {name} IDENTIFIED BY '{SECRET}' WITH MAX_USER_CONNECTIONS 1"
        drop = f"DROP USER {name}"
        limited = limited.set(database="")
    await asyncio.to_thread(server.execute, create)
    try:
        db = open_manager(url=limited)
        async with db.session() as session:
            await session.execute(text("SELECT 1"))
            error = await asyncio.create_task(_failure(db))
        await db.dispose()
    finally:
        await asyncio.to_thread(server.execute, drop)
    # libpq hides the SQLSTATE from psycopg; after a password it counts as a refusal.
    assert error.retryable is (url.get_driver_name() != "psycopg")


async def test_a_pool_without_a_free_connection(open_manager: OpenManager) -> None:
    db = open_manager(pool_size=1, max_overflow=0, pool_timeout=0.1)

    async def wait_in_vain() -> None:
        async with db.session() as session:
            await session.execute(text("SELECT 1"))

    async with db.session() as holder:
        await holder.execute(text("SELECT 1"))
        with pytest.raises(PoolTimeoutError) as caught:
            await asyncio.create_task(wait_in_vain())
    assert isinstance(caught.value, sa_exc.TimeoutError)
    assert caught.value.retryable


async def test_a_plain_pool_is_translated_at_the_boundary(open_manager: OpenManager) -> None:
    """The event does not see a pool's timeout."""
    db = open_manager(
        pool_size=1, max_overflow=0, pool_timeout=0.1, poolclass=AsyncAdaptedQueuePool
    )
    async with db.engine.connect():
        with pytest.raises(sa_exc.TimeoutError) as raw:
            await db.engine.connect()
    assert isinstance(translate(raw.value), PoolTimeoutError)


@pytest.mark.drivers("asyncpg", "psycopg")
async def test_a_transaction_that_failed_before(db: DatabaseManager) -> None:
    async with db.engine.connect() as connection:
        for sql, what in (("SELECT * FROM nowhere", "nowhere"), ("SELECT 1", "roll back")):
            with pytest.raises(StatementFailedError, match=what):
                await connection.execute(text(sql))
