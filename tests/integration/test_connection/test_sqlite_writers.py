"""SQLite's writers: cancelled anywhere, met by other programs, and told the truth."""

from __future__ import annotations

import asyncio
import gc
import random
import secrets
import sqlite3
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import func, insert, make_url, select, text

from hqt_async_db import BaseRepository, DatabaseLockedError
from hqt_async_db.connection.backends.sqlite.gate import gate_of
from tests.integration.test_connection.entries import (
    Entry,
    names_in,
    require_idle,
    require_write_lock_free,
)
from tests.integration.test_connection.holding import Held, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from hqt_async_db import DatabaseManager
    from hqt_async_db.connection.sessions.session import Session
    from tests.fixtures.managers import MakeDb

    Work = Callable[[Session, str], Awaitable[None]]

pytestmark = [pytest.mark.backends("sqlite-file"), pytest.mark.timeout(60)]

ENDLESS: Final = text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
)
ROWS: Final = 200
ROUNDS: Final = 12
TASKS: Final = 16


@pytest.fixture
def path(database_url: str) -> str:
    """Where the file is."""
    return str(make_url(database_url).database)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Switch the collector off: nothing may be left for it to find."""
    gc.disable()
    yield
    gc.enable()


async def only_write(session: Session, name: str) -> None:
    """Be cancelled in the queue, or in the commit."""
    session.add(Entry(name=name))
    await session.flush()


async def write_much(session: Session, name: str) -> None:
    """Be cancelled in a commit that takes its time."""
    await only_write(session, name)
    await session.execute(text("INSERT INTO ballast VALUES (zeroblob(500000))"))


async def run_for_ever(session: Session, name: str) -> None:
    """Be cancelled inside a statement."""
    await only_write(session, name)
    await session.execute(ENDLESS)


async def stream(session: Session, name: str) -> None:
    """Be cancelled while rows are on their way, half of the time in front of the write."""
    rows = await session.stream(select(Entry.id), execution_options={"yield_per": 5})
    number = 0
    async for _ in rows:
        number += 1
        if number == ROWS // 2:
            await only_write(session, name)


WORKS: Final[tuple[Work, ...]] = (only_write, write_much, run_for_ever, stream)


class Storm:
    """Tasks of which many are cancelled at random moments; the seed repeats it."""

    def __init__(self, db: DatabaseManager) -> None:
        self.seed = secrets.randbits(32)
        self._random = random.Random(self.seed)
        self._db = db
        self.seen: dict[str, Session] = {}

    async def round(self, number: int) -> None:
        """Run tasks side by side to their end, or to their cancellation."""
        await asyncio.gather(*(self._one(f"{number}-{task}") for task in range(TASKS)))

    async def _one(self, name: str) -> None:
        work = self._random.choice(WORKS)
        longest_s = 0.05 if work is run_for_ever else 0.1
        is_left_alone = work is not run_for_ever and self._random.random() < 0.4
        delay_s = None if is_left_alone else self._random.uniform(0, longest_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_s), self._db.session() as session:
                self.seen[name] = session
                await work(session, name)

    def lies(self, stored: set[str]) -> dict[str, object]:
        """Return the sessions whose outcome is not what the file says."""
        return {
            name: session.outcome
            for name, session in self.seen.items()
            if (session.outcome == "committed") != (name in stored)
        }


@pytest.mark.usefixtures("no_collector")
async def test_a_storm_of_cancellations(
    ledger: DatabaseManager, database_url: str, path: str
) -> None:
    async with ledger.session() as session:
        await session.execute(text("CREATE TABLE ballast (content)"))
        await session.execute(insert(Entry), [{"name": f"row {n}"} for n in range(ROWS)])
    storm = Storm(ledger)
    print(f"seed {storm.seed}")  # noqa: T201 - pytest shows it when the test fails
    for number in range(ROUNDS):
        await storm.round(number)
        # At once: neither a collector nor a little later.
        assert gate_of(path).holder is None, f"seed {storm.seed}"
        assert [pool["in_use"] for pool in ledger.pool_status().values()] == [0, 0]
        await require_write_lock_free(database_url)
    stored = await names_in(ledger)
    assert not storm.lies(stored), f"seed {storm.seed}"
    outcomes = {session.outcome for session in storm.seen.values()}
    assert outcomes <= {"committed", "rolled_back", None}
    assert {"committed", "rolled_back"} <= outcomes
    await require_idle(ledger, ledger)


async def test_a_long_statement_is_interrupted_at_once(ledger: DatabaseManager) -> None:
    async def run() -> None:
        async with ledger.session() as session:
            session.add(Entry(name="never"))
            await session.flush()
            await session.execute(ENDLESS)

    delays: list[float] = []
    for _ in range(10):
        task = asyncio.create_task(run())
        await asyncio.sleep(0.03)
        started = time.monotonic()
        task.cancel()
        await asyncio.wait([task])
        delays.append(time.monotonic() - started)
    # The machine may be busy; that it can be quick is what is to be shown.
    assert min(delays) < 0.05, delays
    assert await names_in(ledger) == set()


@pytest.mark.parametrize("options", [{}, {"write": True}], ids=str)
async def test_a_read_and_a_write_with_another_program_in_between(
    ledger: DatabaseManager, path: str, options: dict[str, bool]
) -> None:
    """SQLITE_BUSY_SNAPSHOT, which no waiting would end, never comes."""

    def write(name: str) -> None:
        with closing(sqlite3.connect(path, timeout=10)) as program, program:
            program.execute("INSERT INTO entries (name, amount) VALUES (?, 0)", (name,))

    async def ours(number: int) -> None:
        async with ledger.session(**options) as session:
            before = await session.scalar(select(func.count()).select_from(Entry))
            if not options:  # with the lock taken it could only wait for us
                await asyncio.to_thread(write, f"theirs between {number}")
            session.add(Entry(name=f"ours {number}"))
            await session.flush()
            after = await session.scalar(select(func.count()).select_from(Entry))
            assert (after or 0) > (before or 0)

    async def theirs(number: int) -> None:
        await asyncio.to_thread(write, f"theirs {number}")

    for round_ in range(5):
        numbers = range(round_ * 8, round_ * 8 + 8)
        await asyncio.gather(*map(ours, numbers), *map(theirs, numbers))
    assert len(await names_in(ledger)) == 5 * 8 * (2 if options else 3)


async def test_an_open_stream_does_not_keep_a_session_from_writing(
    ledger: DatabaseManager, path: str
) -> None:
    """The stream holds a state that is old by then; its rest is read first."""

    def write() -> None:
        with closing(sqlite3.connect(path, timeout=10)) as program, program:
            program.execute("INSERT INTO entries (name, amount) VALUES ('theirs', 0)")

    async with ledger.session() as session:
        await session.execute(insert(Entry), [{"name": f"row {n}"} for n in range(ROWS)])
    async with ledger.session() as session:
        rows = await session.stream(select(Entry.id), execution_options={"yield_per": 5})
        seen = [await anext(rows)]
        await asyncio.to_thread(write)
        session.add(Entry(name="ours"))
        await session.flush()
        seen += [row async for row in rows]
    assert len(seen) == ROWS
    assert {"ours", "theirs"} <= await names_in(ledger)


@pytest.mark.usefixtures("ledger")
async def test_the_writers_of_all_managers_are_served_in_the_order_they_came(
    make_db: MakeDb,
) -> None:
    managers = [make_db(pool_size=10, max_overflow=0) for _ in range(2)]
    order: list[int] = []

    async def write(number: int) -> None:
        async with managers[number % 2].session(write=number % 3 == 0) as session:
            session.add(Entry(name=f"{number}"))
            await session.flush()
            order.append(number)

    for db in managers:  # who has to open a connection first comes later
        await asyncio.gather(*(warm(db) for _ in range(10)))
    async with managers[0].session() as holder:
        holder.add(Entry(name="holder"))
        await holder.flush()
        tasks = []
        for number in range(12):
            tasks.append(asyncio.create_task(write(number)))
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert order == list(range(12))


async def warm(db: DatabaseManager) -> None:
    async with db.session() as session:
        await session.scalars(select(Entry.id))
        await asyncio.sleep(0.05)


@pytest.mark.usefixtures("ledger")
async def test_a_one_shot_write_waits_for_another_no_longer_than_it_may(make_db: MakeDb) -> None:
    db = make_db(lock_timeout_s=0.3)
    held, entries = Held(db), BaseRepository(db, Entry)
    await entries.create(name="row")
    criterion = held.criterion("row")
    slow = asyncio.create_task(entries.update_many(criterion, values={"amount": 1}))
    await until(lambda: held.begun)
    started = time.monotonic()
    late = [asyncio.create_task(entries.create(name=f"late {number}")) for number in range(2)]
    await asyncio.sleep(0.2)
    early = asyncio.create_task(entries.create(name="early"))
    for task in late:
        with pytest.raises(DatabaseLockedError, match=r"0\.3 s.* held by one-shot write of task"):
            await task
    assert 0.3 <= time.monotonic() - started < 0.5
    held.release("row")
    assert await slow == 1
    await early
    assert await names_in(db) == {"row", "early"}
