"""One-shot statements sent straight to a driver: cancelled, cut off, refused, outlived."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, func, select, text

from hqt_async_db import (
    CommitOutcomeUnknownError,
    ConnectionFailedError,
    DatabaseManager,
    ReadOnlyViolationError,
    Session,
)
from tests.integration.test_connection.entries import Entry, create_table, names_in
from tests.integration.test_connection.lines import Proxy
from tests.integration.test_connection.locked import (
    cancel_what_waits,
    change,
    locked_row,
    of_server,
    repository,
    until_one_waits,
    until_so_many_wait,
)

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from tests.fixtures.managers import MakeDb
    from tests.integration.test_connection.conftest import Drive
    from tests.servers.process import ServerProcess

pytestmark = pytest.mark.backends("postgresql", "mariadb")
_CONNECTION = {"postgresql": "SELECT pg_backend_pid()", "mariadb": "SELECT connection_id()"}


@pytest.fixture
def database_url(driven_url: str) -> str:
    """The test's database, through each driver."""
    return driven_url


@pytest.fixture
def private_url(private_server: ServerProcess, drive: Drive) -> str:
    """A database of a server that no other test uses."""
    private_server.admin.execute("CREATE DATABASE own")
    return drive(private_server.url("own"))


async def test_a_cancelled_write_that_waits_for_a_lock_ends_at_once(
    ledger: DatabaseManager, make_db: MakeDb
) -> None:
    db = make_db(pool_size=1, max_overflow=0)
    entry = await repository(db).create(name="locked")
    connections = {await _connection_of(db)}
    async with locked_row(ledger, "locked"):
        assert await cancel_what_waits(db, ledger, entry) < 3
        # No later statement may meet the request to cancel this one.
        connections.add(await _connection_of(db))
        assert len(connections) == 2
        await repository(db).create(name="other")
        await until_so_many_wait(ledger, 0)
    assert (await repository(ledger).get_one(name="locked")).amount == 0
    assert (await db.health())["rollbacks"] == 1
    assert entry.amount == 0


def _sleeps(db: DatabaseManager) -> ColumnElement[bool]:
    sleep = func.pg_sleep if db.dialect_name == "postgresql" else func.sleep
    return sleep(30).is_not(None)


async def _connection_of(db: DatabaseManager) -> int:
    async with db.session() as session:
        return int(await session.scalar(text(of_server(db, _CONNECTION))) or 0)


async def test_a_cancellation_that_comes_too_late_tells_the_truth(ledger: DatabaseManager) -> None:
    """Each write that was cancelled was counted as what the table says."""
    db = ledger
    await repository(db).create(name="warm")
    before = await db.health()
    tasks = []
    for number in range(60):
        tasks.append(asyncio.create_task(repository(db).create(name=f"{number}")))
        await asyncio.sleep(0.0005 * (number % 5))
        tasks[number - number % 3].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    after = await db.health()
    stored = await names_in(db) - {"warm"}
    told = {f"{n}" for n, outcome in enumerate(outcomes) if isinstance(outcome, Entry)}
    assert told <= stored
    assert after["unknown_outcomes"] == 0
    assert 0 <= after["commits"] - before["commits"] - len(stored) <= 4
    assert all(isinstance(o, Entry | asyncio.CancelledError) for o in outcomes)


@pytest.mark.backends("postgresql")
async def test_reads_are_read_only(ledger: DatabaseManager) -> None:
    async with ledger.engine.begin() as connection:
        await connection.execute(
            text(
                "CREATE FUNCTION sneak() RETURNS integer LANGUAGE sql AS "
                "'INSERT INTO entries (name, amount) VALUES (''sneaked'', 0) RETURNING 1'"
            )
        )
    await repository(ledger).create(name="a")
    with pytest.raises(ReadOnlyViolationError):
        await repository(ledger).get_many(func.sneak() == 1)
    assert await names_in(ledger) == {"a"}


@pytest.mark.backends("postgresql")
async def test_a_changed_table_heals_by_itself(ledger: DatabaseManager, make_db: MakeDb) -> None:
    db = make_db(pool_size=1, max_overflow=0)
    entry = await repository(db).create(name="a")
    for number in range(8):  # psycopg prepares what it runs for the fifth time
        assert await repository(db).get_by_id(entry.id)
        await repository(db).create_many([{"name": f"before {number}"}], returning=True)
        await repository(db).upsert(["name"], name="a", amount=number)
    async with ledger.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE entries ALTER COLUMN name TYPE varchar(80)"))
        await connection.execute(text("ALTER TABLE entries ALTER COLUMN amount TYPE bigint"))
    for number in range(2):
        found = await repository(db).get_by_id(entry.id)
        assert found is not None
        await repository(db).update(found, amount=number + 1)
        await repository(db).create(name=f"{number}")
        await repository(db).create_many([{"name": f"after {number}"}], returning=True)
        await repository(db).upsert(["name"], name="a", amount=number)
    assert await repository(db).count() == 1 + 8 + 2 + 2


@pytest.mark.backends("postgresql")
async def test_prepared_statements_that_are_gone_heal(
    ledger: DatabaseManager, make_db: MakeDb
) -> None:
    del ledger
    db = make_db(pool_size=1, max_overflow=0)
    entry = await repository(db).create(name="a")

    async def read(session: Session) -> list[int]:
        return list(await session.scalars(select(Entry.amount).where(Entry.id == entry.id)))

    async def write() -> int:
        return await repository(db).update_many(Entry.id == entry.id, values={"amount": 1})

    for _ in range(8):  # psycopg prepares what it runs for the fifth time
        assert await db.run(read)
        assert await write() == 1
    for use in (partial(db.run, read), write):
        async with db.session() as session:
            await session.execute(text("DEALLOCATE ALL"))
        assert await use()
        assert await use()


async def test_a_server_that_dies_in_mid_statement(
    private_server: ServerProcess, private_url: str
) -> None:
    async with DatabaseManager(private_url) as db:
        await create_table(db)
        entry = await repository(db).create(name="locked")
        async with DatabaseManager(private_url) as other:
            session = other.session()
            await session.execute(text("SELECT 1 FROM entries FOR UPDATE"))
            write = asyncio.create_task(change(db, entry, 7))
            await until_one_waits(db)
            read = asyncio.create_task(repository(db).get_many(_sleeps(db)))
            await asyncio.sleep(0.05)
            await asyncio.to_thread(private_server.kill)
            with pytest.raises(CommitOutcomeUnknownError):
                await write
            with pytest.raises(ConnectionFailedError):
                await read
            with suppress(ConnectionFailedError):
                await session.close()


async def test_after_a_restart_one_call_fails_at_most_and_none_in_doubt(
    private_server: ServerProcess, private_url: str
) -> None:
    """What cannot have been sent is no unknown outcome, and may be tried again."""
    async with DatabaseManager(private_url, pool_size=4, max_overflow=0) as db:
        await create_table(db)
        await asyncio.gather(*(repository(db).create(name=f"{n}") for n in range(4)))
        await asyncio.gather(*(repository(db).count() for _ in range(4)))
        await asyncio.to_thread(private_server.restart)
        failed: list[BaseException] = []
        for number in range(10, 18):
            for call in (partial(repository(db).create, name=f"{number}"), repository(db).count):
                try:
                    await call()
                except ConnectionFailedError as error:
                    failed.append(error)
        assert len(failed) <= 2  # one per pool
        assert all(error.retryable for error in failed if isinstance(error, ConnectionFailedError))
        assert await repository(db).count() >= 4 + 7


async def test_a_line_that_is_cut_makes_the_pool_new(database_url: str) -> None:
    async with Proxy(database_url) as proxy, DatabaseManager(proxy.url, pool_size=3) as db:
        await create_table(db)
        await asyncio.gather(*(repository(db).create(name=f"{n}") for n in range(3)))
        proxy.arm("cut")
        proxy.has_seen_commit.set()  # cut at the next message
        with pytest.raises(CommitOutcomeUnknownError):
            await repository(db).create(name="cut")
        proxy.release()
        for number in range(3, 9):
            await repository(db).create(name=f"{number}")
        assert (await db.health())["unknown_outcomes"] == 1


@pytest.mark.backends("postgresql")
async def test_a_demoted_primary_is_left_at_once(ledger: DatabaseManager, make_db: MakeDb) -> None:
    """After a failover its old connections refuse every write; one refusal is enough."""
    db = make_db(pool_size=4, max_overflow=0)
    connected: list[Any] = []
    event.listen(db.engine.sync_engine, "connect", lambda *arguments: connected.append(arguments))
    await asyncio.gather(*(repository(db).create(name=f"{n}") for n in range(4)))
    await asyncio.gather(*(_demote(db) for _ in range(4)))
    with pytest.raises(ReadOnlyViolationError):
        await repository(db).create(name="refused")
    for number in range(4, 12):
        await repository(db).create(name=f"{number}")
    assert await names_in(ledger) == {f"{number}" for number in range(12)}


async def _demote(db: DatabaseManager) -> None:
    """Make a connection of the pool one to a server that has become a standby."""
    async with db.engine.connect() as connection:
        await connection.execute(text("SET default_transaction_read_only = on"))
        await connection.commit()
        await asyncio.sleep(0.05)  # the others have to take another connection


async def test_a_cancelled_write_on_a_server_that_is_frozen_leaves_nothing(
    private_server: ServerProcess, private_url: str
) -> None:
    async with DatabaseManager(private_url, commit_timeout_s=1) as db:
        await create_table(db)
        entry = await repository(db).create(name="locked")
        async with db.session() as session:
            await session.execute(text("SELECT 1 FROM entries FOR UPDATE"))
            write = asyncio.create_task(change(db, entry, 7))
            await until_one_waits(db)
            await asyncio.to_thread(private_server.freeze)
            try:
                write.cancel()
                with pytest.raises(asyncio.CancelledError) as cancelled:
                    await write
            finally:
                await asyncio.to_thread(private_server.thaw)
            assert isinstance(cancelled.value.__cause__, CommitOutcomeUnknownError)
        await repository(db).create(name="later")
        assert (await db.health())["unknown_outcomes"] == 1
