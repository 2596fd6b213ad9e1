"""Cancelled while it waits for a connection, a turn, a lock or a long statement."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import secrets
import sqlite3
import time
from contextlib import asynccontextmanager, closing, suppress
from typing import TYPE_CHECKING

import anyio
import pytest
from sqlalchemy import make_url, select, text, update

from tests.integration.test_connection.cancelling import Moment, Point, every_await
from tests.integration.test_connection.entries import (
    Entry,
    names_in,
    require_idle,
    require_write_lock_free,
)
from tests.integration.test_connection.test_cancellation import by_task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from hqt_async_db.connection.manager import DatabaseManager
    from hqt_async_db.connection.sessions.session import Session
    from tests.fixtures.managers import MakeDb

pytestmark = pytest.mark.timeout(60)

LONG_STATEMENT = {
    "sqlite-file": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    "SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(60)",
    "mariadb": "SELECT count(*) FROM seq_1_to_1000000000000 WHERE seq % 7 = 3",
}
LONG_STATEMENT["sqlite-memory"] = LONG_STATEMENT["sqlite-file"]
AT_ONCE_S = 3.0


async def insert(db: DatabaseManager, name: str) -> None:
    async with db.session() as session:
        session.add(Entry(name=name))


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Switch the collector off: nothing may be left for it to find."""
    gc.disable()
    yield
    gc.enable()


@asynccontextmanager
async def cancelled_after(delay_s: float, library: str = "asyncio") -> AsyncIterator[None]:
    """Cancel the block, and require that it ends at once."""
    started = time.monotonic()
    if library == "anyio":
        with anyio.move_on_after(delay_s):
            yield
    else:
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                yield
    assert delay_s <= time.monotonic() - started < delay_s + AT_ONCE_S


@pytest.mark.parametrize("moment", ["asleep", "waking"])
async def test_waiting_for_a_connection(
    ledger: DatabaseManager, make_db: MakeDb, backend: str, moment: Moment
) -> None:
    db = ledger if backend == "sqlite-memory" else make_db(pool_size=1, max_overflow=0)

    async def trial(point: Point) -> None:
        async with db.session() as holder:
            await holder.execute(select(Entry))
            waiting = asyncio.create_task(by_task(point, insert(db, str(point))))
            behind = asyncio.create_task(insert(db, f"{point} behind"))
            await asyncio.sleep(0.001)
        await asyncio.gather(waiting, behind)
        await require_idle(db, ledger)

    assert await every_await(trial, moment) >= 3
    assert {f"await {number}, {moment} behind" for number in (1, 2, 3)} <= await names_in(ledger)


@pytest.mark.backends("sqlite-file")
@pytest.mark.parametrize("moment", ["asleep", "waking"])
async def test_waiting_for_the_turn_to_write(
    ledger: DatabaseManager, database_url: str, moment: Moment
) -> None:
    async def trial(point: Point) -> None:
        async with ledger.session() as holder:
            holder.add(Entry(name=f"{point} holder"))
            await holder.flush()
            waiting = asyncio.create_task(by_task(point, insert(ledger, str(point))))
            behind = asyncio.create_task(insert(ledger, f"{point} behind"))
            await asyncio.sleep(0.001)
        await asyncio.gather(waiting, behind)
        await require_idle(ledger, ledger)
        await require_write_lock_free(database_url)

    assert await every_await(trial, moment) >= 3
    names = await names_in(ledger)
    assert {f"await {number}, {moment} behind" for number in (1, 2, 3)} <= names


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
@pytest.mark.parametrize("moment", ["asleep", "waking"])
async def test_opening_a_connection(
    ledger: DatabaseManager, make_db: MakeDb, moment: Moment
) -> None:
    await ledger.ping()
    files = await descriptors()

    async def trial(point: Point) -> None:
        async with make_db() as db:
            await by_task(point, insert(db, str(point)))
            await require_idle(db, ledger)
        await require_descriptors(files + 1)  # the witness may have opened one more

    assert await every_await(trial, moment) >= 5


async def descriptors() -> int:
    """Return how many files and sockets the process has open."""
    return len(await asyncio.to_thread(os.listdir, "/proc/self/fd"))


async def require_descriptors(at_most: int) -> None:
    """Wait for a connection that was opened for nobody: its thread closes it at once."""
    for _ in range(500):
        if await descriptors() <= at_most:
            return
        await asyncio.sleep(0.002)
    pytest.fail("descriptors outlived the manager")


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("library", ["asyncio", "anyio"])
@pytest.mark.parametrize("options", [{}, {"write": True}])
async def test_a_long_statement_in_a_write_transaction(
    ledger: DatabaseManager,
    witness: DatabaseManager,
    backend: str,
    options: dict[str, bool],
    library: str,
) -> None:
    session = ledger.session(**options)
    async with cancelled_after(0.1, library), session:
        session.add(Entry(name="mine"))
        await session.flush()
        await session.execute(text(LONG_STATEMENT[backend]))
    assert session.outcome == "rolled_back"
    started = time.monotonic()
    await insert(witness, "mine")  # the same unique key: it waits while the other holds it
    assert time.monotonic() - started < AT_ONCE_S
    await require_idle(ledger, witness)


@pytest.mark.usefixtures("no_collector")
@pytest.mark.backends("sqlite-file")
async def test_the_lock_of_a_file_is_free_at_once(
    ledger: DatabaseManager, backend: str, database_url: str
) -> None:
    for _ in range(5):
        async with cancelled_after(0.02), ledger.session() as session:
            session.add(Entry(name="mine"))
            await session.flush()
            await session.execute(text(LONG_STATEMENT[backend]))
        await require_write_lock_free(database_url)


@pytest.mark.backends("sqlite-file", "sqlite-memory")
async def test_a_statement_that_has_not_begun_yet(ledger: DatabaseManager, backend: str) -> None:
    async with ledger.session() as session:
        await session.execute(select(Entry))
        task = asyncio.create_task(session.execute(text(LONG_STATEMENT[backend])))
        await asyncio.sleep(0)
        started = time.monotonic()
        task.cancel()
        await asyncio.wait([task])
        assert time.monotonic() - started < AT_ONCE_S
        await session.rollback()
        session.add(Entry(name="same session"))
    assert await names_in(ledger) == {"same session"}


@pytest.mark.backends("sqlite-file")
async def test_waiting_for_the_lock_of_another_process(
    ledger: DatabaseManager, database_url: str
) -> None:
    path = str(make_url(database_url).database)
    other = await asyncio.to_thread(
        sqlite3.connect, path, isolation_level=None, check_same_thread=False
    )
    with closing(other):
        await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
        async with cancelled_after(0.1):
            await insert(ledger, "mine")
        await asyncio.to_thread(other.execute, "ROLLBACK")
    await insert(ledger, "mine")
    await require_idle(ledger, ledger)


@pytest.mark.backends("postgresql", "mariadb")
async def test_waiting_for_the_lock_of_a_row(
    ledger: DatabaseManager, witness: DatabaseManager
) -> None:
    await insert(ledger, "row")
    async with witness.session() as holder:
        await holder.execute(update(Entry).values(amount=1))
        async with cancelled_after(0.1), ledger.session() as session:
            session.add(Entry(name="mine"))
            await session.flush()
            await session.execute(update(Entry).values(amount=2))
        await insert(ledger, "mine")  # would wait for the cancelled one
    await require_idle(ledger, witness)


async def test_the_next_query_gets_its_own_rows(
    ledger: DatabaseManager, make_db: MakeDb, backend: str
) -> None:
    db = ledger if backend == "sqlite-memory" else make_db(pool_size=1, max_overflow=0)
    slow = LONG_STATEMENT[backend].replace("1000000000000", "300000").replace("60", "0.2")
    for delay_s in (0.0005, 0.002, 0.005, 0.02):
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_s), db.session() as session:
                await session.execute(text(slow))
        async with db.session() as session:
            assert await session.scalar(text(f"SELECT '{delay_s}'")) == str(delay_s)
    await require_idle(db, ledger)


@pytest.mark.parametrize("cancel", ["asyncio", "anyio"])
async def test_a_storm(
    ledger: DatabaseManager,
    witness: DatabaseManager,
    cancel: str,
) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it when the test fails
    rng = random.Random(seed)
    seen: dict[str, Session] = {}

    async def write(name: str, delay_s: float) -> None:
        async def work() -> None:
            async with ledger.session() as session:
                seen[name] = session
                session.add(Entry(name=name))
                await session.flush()
                await session.scalars(select(Entry.id).limit(5))

        if cancel == "anyio":
            with anyio.move_on_after(delay_s):
                await work()
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await work()

    for round_ in range(6):
        delays = [rng.choice((rng.uniform(0, 0.03), 10)) for _ in range(16)]
        await asyncio.gather(*(write(f"{round_}-{n}", delay) for n, delay in enumerate(delays)))
    await require_idle(ledger, witness)
    stored = await names_in(witness)
    wrong = {n: s.outcome for n, s in seen.items() if (s.outcome == "committed") != (n in stored)}
    assert not wrong, f"seed {seed}"
    assert "unknown" not in {s.outcome for s in seen.values()}
    assert len(stored) >= 16, f"seed {seed}: too few had the time to commit"
