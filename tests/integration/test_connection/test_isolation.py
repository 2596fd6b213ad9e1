"""What a transaction sees of others, and what it is kept from doing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select, text, update

from hqt_async_db import (
    BaseRepository,
    DatabaseManager,
    ForeignKeyViolationError,
    HqtDbError,
    InvalidInputError,
    ReadOnlyViolationError,
    TransientError,
)
from tests.integration.test_connection.entries import (
    Counter,
    Entry,
    amount_of,
    create_table,
    names_in,
    require_idle,
)
from tests.integration.test_connection.test_cancellation_of_waits import LONG_STATEMENT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hqt_async_db import Session

    Increment = Callable[[DatabaseManager], Awaitable[None]]

TASKS = 8
INCREMENTS = 4
with_others = pytest.mark.backends("sqlite-file", "postgresql", "mariadb")


async def insert(db: DatabaseManager, *names: str, amount: int = 0) -> None:
    async with db.session() as session:
        session.add_all([Entry(name=name, amount=amount) for name in names])


async def amount_in(session: Session, name: str) -> int:
    return (await session.scalars(select(Entry.amount).where(Entry.name == name))).one()


@with_others
async def test_a_second_read_sees_what_was_committed_meanwhile(ledger: DatabaseManager) -> None:
    await insert(ledger, "row")
    async with ledger.session() as session:
        before = await amount_in(session, "row")
        async with ledger.session() as other:
            await other.execute(update(Entry).values(amount=7))
            unseen = await amount_in(session, "row")
        assert (before, unseen, await amount_in(session, "row")) == (0, 0, 7)


@with_others
async def test_a_plain_session_loses_updates(ledger: DatabaseManager) -> None:
    await insert(ledger, "row")
    async with ledger.session() as one, ledger.session() as other:
        for session in (one, other):
            read = await amount_in(session, "row")
            await session.execute(update(Entry).values(amount=read + 1))
            if session is one:
                assert await amount_in(other, "row") == 0
                await session.commit()
    assert await amount_of(ledger, "row") == 2  # the second read came after the first commit

    async with ledger.session() as one, ledger.session() as other:
        reads = {session: await amount_in(session, "row") for session in (one, other)}
        for session, read in reads.items():
            await session.execute(update(Entry).values(amount=read + 1))
            await session.commit()
    assert await amount_of(ledger, "row") == 3  # not 4: each added to what it had read


async def increment_exclusively(db: DatabaseManager) -> None:
    async def work(session: Session) -> None:
        row = (await session.scalars(select(Entry))).one()
        await asyncio.sleep(0)
        row.amount += 1

    await db.run(work, write=True, attempts=200)


async def increment_locked(db: DatabaseManager) -> None:
    async with db.session() as session:
        row = (await session.scalars(select(Entry).with_for_update())).one()
        await asyncio.sleep(0)
        row.amount += 1


async def increment_atomically(db: DatabaseManager) -> None:
    async with db.session() as session:
        await session.execute(update(Entry).values(amount=Entry.amount + 1))


async def increment_versioned(db: DatabaseManager) -> None:
    async def work(session: Session) -> None:
        row = (await session.scalars(select(Counter))).one()
        await asyncio.sleep(0)
        row.amount += 1

    await db.run(work, attempts=200)


@pytest.mark.parametrize(
    "increment",
    [increment_exclusively, increment_locked, increment_atomically, increment_versioned],
)
async def test_no_update_is_lost(ledger: DatabaseManager, increment: Increment) -> None:
    async with ledger.session() as session:
        session.add_all([Entry(name="row"), Counter()])

    async def work() -> None:
        for _ in range(INCREMENTS):
            await increment(ledger)

    await asyncio.gather(*(work() for _ in range(TASKS)))
    async with ledger.session() as session:
        table = Counter if increment is increment_versioned else Entry
        assert await session.scalar(select(table.amount)) == TASKS * INCREMENTS
    await require_idle(ledger, ledger)


@with_others
async def test_a_write_skew_is_refused(ledger: DatabaseManager) -> None:
    """Each of two checks what the other changes; one must be told to try again."""
    await insert(ledger, "one", "other", amount=1)

    async def withdraw(name: str) -> None:
        async with ledger.session(write=True) as session:
            total = await session.scalar(select(func.sum(Entry.amount)))
            await asyncio.sleep(0.05)  # the other reads as well, or waits for its turn to
            if total == 2:
                await session.execute(update(Entry).where(Entry.name == name).values(amount=0))

    outcomes = await asyncio.gather(withdraw("one"), withdraw("other"), return_exceptions=True)
    failures = [error for error in outcomes if error is not None]
    assert all(isinstance(e, TransientError) and e.retryable for e in failures), failures
    async with ledger.session() as session:
        assert await session.scalar(select(func.sum(Entry.amount))) == 1


@with_others
async def test_a_snapshot_sees_one_state(ledger: DatabaseManager) -> None:
    await insert(ledger, "one", "other", amount=100)
    stop = asyncio.Event()

    async def transfer(source: str, target: str) -> None:
        while not stop.is_set():
            async with ledger.session() as session:
                for name, change in sorted(((source, -1), (target, 1))):
                    await session.execute(
                        update(Entry).where(Entry.name == name).values(amount=Entry.amount + change)
                    )

    transfers = [
        asyncio.create_task(transfer("one", "other")),
        asyncio.create_task(transfer("other", "one")),
    ]
    try:
        for _ in range(10):
            async with ledger.session(snapshot=True) as session:
                first = [await amount_in(session, name) for name in ("one", "other")]
                await asyncio.sleep(0.005)
                again = [await amount_in(session, name) for name in ("one", "other")]
            assert sum(first) == 200
            assert first == again
    finally:
        stop.set()
        await asyncio.gather(*transfers)


@pytest.mark.backends("sqlite-file")
async def test_a_snapshot_of_the_stock_driver_sees_one_state(
    ledger: DatabaseManager, database_url: str
) -> None:
    await insert(ledger, "row")
    url = database_url.replace("sqlite:", "sqlite+aiosqlite:")
    async with DatabaseManager(url, pool_size=1, max_overflow=0) as stock:
        for number in range(1, 4):
            async with stock.session(snapshot=True) as session:
                before = await amount_in(session, "row")
                async with ledger.session() as other:
                    await other.execute(update(Entry).values(amount=number))
                assert await amount_in(session, "row") == before == number - 1
            async with stock.session(read_only=True) as session:  # on the same connection
                before = await amount_in(session, "row")
                async with ledger.session() as other:
                    await other.execute(update(Entry).values(amount=number + 10))
                assert (before, await amount_in(session, "row")) == (number, number + 10)
                async with ledger.session() as other:
                    await other.execute(update(Entry).values(amount=number))


READING = pytest.mark.parametrize("options", [{"read_only": True}, {"snapshot": True}])
WRITING = (
    "INSERT INTO entries (name, amount) VALUES ('mine', 0)",
    "UPDATE entries SET amount = 1",
    "DELETE FROM entries",
    "CREATE TABLE others (id INTEGER)",
    "DROP TABLE entries",
    "ALTER TABLE entries ADD COLUMN more INTEGER",
)
LIFTING = {
    "sqlite": (
        "PRAGMA query_only=0",
        "PRAGMA query_only(0)",
        "/* harmless */ pragma main.QUERY_ONLY = off",
    ),
    "postgresql": (
        "SET default_transaction_read_only = off",
        "set session default_transaction_read_only to off",
        "SET TRANSACTION READ WRITE",
        "SET transaction_read_only = off",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "BEGIN READ WRITE",
        "START TRANSACTION READ WRITE",
        "COMMIT",
        "/* harmless */ -- so far\n ROLLBACK",
        "SELECT set_config('default_transaction_read_only', 'off', false)",
        "DO $$ BEGIN SET default_transaction_read_only = off; END $$",
        "/* harmless /* so */ far */ SET default_transaction_read_only = off",
        "ALTER SYSTEM SET work_mem = '5MB'",
    ),
    "mariadb": (
        "SET SESSION TRANSACTION READ WRITE",
        "SET TRANSACTION READ WRITE",
        "SET @@session.tx_read_only = 0",
        "SET STATEMENT tx_read_only = 0 FOR INSERT INTO entries (name) VALUES ('mine')",
        "START TRANSACTION READ WRITE",
        "BEGIN",
        "COMMIT",
        "/*!50000 SET SESSION TRANSACTION READ WRITE */",
        "/*M!100000 SET SESSION TRANSACTION READ WRITE */",
        "# harmless\nSET SESSION TRANSACTION READ WRITE",
        "SELECT 1; SET SESSION TRANSACTION READ WRITE",
        "EXECUTE IMMEDIATE 'SET SESSION TRANSACTION READ WRITE'",
        "PREPARE s FROM 'SET SESSION TRANSACTION READ WRITE'",
        "CALL procedure_of_mine()",
    ),
}


@READING
@pytest.mark.parametrize("statement", WRITING)
async def test_a_reading_session_cannot_write(
    ledger: DatabaseManager, options: dict[str, bool], statement: str
) -> None:
    await insert(ledger, "row")
    with pytest.raises(ReadOnlyViolationError):
        async with ledger.session(**options) as session:
            await session.execute(text(statement))
    with pytest.raises(ReadOnlyViolationError):
        async with ledger.session(**options) as session:
            session.add(Entry(name="mine"))
    assert await amount_of(ledger, "row") == 0
    await insert(ledger, "next")
    await require_idle(ledger, ledger)


@READING
async def test_a_reading_session_stays_one(
    ledger: DatabaseManager, options: dict[str, bool]
) -> None:
    for statement in LIFTING[ledger.dialect_name]:
        async with ledger.session(**options) as session:
            with pytest.raises(ReadOnlyViolationError):
                await (await session.connection()).exec_driver_sql(statement)
            with pytest.raises(HqtDbError):
                await session.execute(text(WRITING[0]))
            await session.rollback()
        with pytest.raises(ReadOnlyViolationError):
            async with ledger.session(**options) as session:
                await session.execute(text(WRITING[0]))
    assert await names_in(ledger) == set()


@READING
@pytest.mark.parametrize("next_write", ["session", "one-shot"])
@pytest.mark.backends("sqlite-memory")
async def test_a_reading_session_that_is_cancelled_leaves_the_connection_writable(
    ledger: DatabaseManager, options: dict[str, bool], next_write: str
) -> None:
    await insert(ledger, "row")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02), ledger.session(**options) as session:
            await session.execute(text(LONG_STATEMENT["sqlite-memory"]))
    if next_write == "session":
        await insert(ledger, "next")
    else:
        await BaseRepository(ledger, Entry).create(name="next")
    with pytest.raises(ReadOnlyViolationError):
        async with ledger.session(**options) as session:
            await session.execute(text(WRITING[0]))
    assert await names_in(ledger) == {"row", "next"}


@READING
@pytest.mark.parametrize("database", ["", "/:memory:", "/file:m?mode=memory&uri=true"])
async def test_a_reading_session_of_the_stock_driver_in_memory_cannot_write(
    options: dict[str, bool], database: str
) -> None:
    async with DatabaseManager(f"sqlite+aiosqlite://{database}") as stock:
        await create_table(stock)
        await insert(stock, "row")
        for statement in (*WRITING, *LIFTING["sqlite"]):
            with pytest.raises(ReadOnlyViolationError):
                async with stock.session(**options) as session:
                    await session.execute(text(statement))
            assert await names_in(stock) == {"row"}
        await insert(stock, "next")
        await BaseRepository(stock, Entry).create(name="one-shot")
        assert await names_in(stock) == {"row", "next", "one-shot"}


@pytest.mark.backends("sqlite-file", "sqlite-memory")
@pytest.mark.parametrize("driver", ["hqt", "aiosqlite"])
async def test_nobody_is_in_a_transaction_whose_commit_was_refused(
    database_url: str, driver: str
) -> None:
    """SQLite keeps it open, where a reference is missing that is looked for at the end only."""
    url = database_url.replace("sqlite:", f"sqlite+{driver}:")
    async with DatabaseManager(url, pool_size=1, max_overflow=0) as db:
        await create_table(db)
        async with db.session() as session:
            late = "REFERENCES entries (name) DEFERRABLE INITIALLY DEFERRED"
            await session.execute(text(f"CREATE TABLE c (e TEXT {late})"))

        async def refer_to_nobody() -> None:
            async with db.session() as session:
                session.add(Entry(name="lost"))
                await session.execute(text("INSERT INTO c VALUES ('nobody')"))

        for _ in range(2):
            with pytest.raises(ForeignKeyViolationError):
                await refer_to_nobody()
            async with db.session(read_only=True) as session:
                assert await session.scalar(text("SELECT count(*) FROM c")) == 0
        await insert(db, "kept")
        assert await names_in(db) == {"kept"}


async def test_a_snapshot_has_savepoints(ledger: DatabaseManager) -> None:
    async with ledger.session(snapshot=True) as session:
        async with session.begin_nested():
            await session.execute(select(Entry))
        savepoint = await session.begin_nested()
        await session.execute(select(Entry))
        await savepoint.rollback()
        assert (await session.scalars(select(Entry))).all() == []


async def test_where_each_statement_stands_alone_there_are_no_savepoints(
    ledger: DatabaseManager,
) -> None:
    async with ledger.session(read_only=True) as session:
        with pytest.raises(InvalidInputError, match="snapshot=True"):
            await session.begin_nested()
        assert (await session.scalars(select(Entry))).all() == []
