"""The schema lock: exclusive, bounded, and gone on every path."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import inspect, text

from hqt_async_db import migrations
from hqt_async_db.errors import DatabaseLockedError, InvalidInputError
from hqt_async_db.migrations import schema_lock

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from hqt_async_db import DatabaseManager
    from tests.fixtures.managers import MakeDb


_IN_THE_WAY = (
    r"waited 0.2 s for the schema lock: "
    r"(session \d+ of the server is changing the schema|another connection is writing)"
)


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_a_second_holder_waits_until_the_first_is_done(make_db: MakeDb) -> None:
    first, second = make_db(), make_db()
    order: list[str] = []

    async def hold(db: DatabaseManager, name: str, *, holding: asyncio.Event) -> None:
        async with db.engine.connect() as connection, db.schema_lock(connection):
            order.append(f"{name} in")
            holding.set()
            await asyncio.sleep(0.2)
            order.append(f"{name} out")

    holding = asyncio.Event()
    task = asyncio.create_task(hold(first, "first", holding=holding))
    await holding.wait()
    await hold(second, "second", holding=holding)
    await task
    assert order == ["first in", "first out", "second in", "second out"]


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_waiting_ends_with_a_clear_error(make_db: MakeDb) -> None:
    first, second = make_db(), make_db(lock_timeout_s=0.2)

    async def wait() -> None:
        async with (
            second.engine.connect() as connection,
            schema_lock(connection, timeout_s=0.2),
        ):
            pytest.fail("two held the lock")

    async with first.engine.connect() as holder, first.schema_lock(holder):
        with pytest.raises(DatabaseLockedError, match=_IN_THE_WAY) as locked:
            await asyncio.create_task(wait())
    assert locked.value.retryable
    await migrations.upgrade(second)


async def test_an_error_ends_the_lock_and_the_transaction(make_db: MakeDb, backend: str) -> None:
    db = make_db()
    async with db.engine.connect() as connection:
        with pytest.raises(ZeroDivisionError):
            await _fail_under_the_lock(db, connection)
        assert not connection.in_transaction()
        tables = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    assert tables == (["toys"] if backend == "mariadb" else [])
    await migrations.upgrade(db)


async def _fail_under_the_lock(db: DatabaseManager, connection: AsyncConnection) -> None:
    async with db.schema_lock(connection):
        await connection.execute(text("CREATE TABLE toys (id INTEGER)"))
        raise ZeroDivisionError


async def test_the_lock_is_gone_after_a_cancellation(make_db: MakeDb) -> None:
    db = make_db()
    holding = asyncio.Event()

    async def hold() -> None:
        async with db.engine.connect() as connection, db.schema_lock(connection):
            holding.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(hold())
    await holding.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        await migrations.upgrade(db)


@pytest.mark.backends("sqlite-file", "sqlite-memory")
async def test_foreign_keys_are_as_before_afterwards(make_db: MakeDb) -> None:
    db = make_db()
    for enforced in (1, 0):
        async with db.engine.connect() as connection:
            await connection.exec_driver_sql(f"PRAGMA foreign_keys={enforced}")
            await connection.rollback()
            async with db.schema_lock(connection):
                assert await connection.scalar(text("PRAGMA foreign_keys")) == 0
            assert await connection.scalar(text("PRAGMA foreign_keys")) == enforced
            await connection.exec_driver_sql("PRAGMA foreign_keys=1")


async def test_a_connection_in_a_transaction_is_refused(make_db: MakeDb) -> None:
    db = make_db()
    async with db.engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        with pytest.raises(InvalidInputError, match="outside of any transaction"):
            async with db.schema_lock(connection):
                pytest.fail("inside a transaction the lock would promise nothing")
