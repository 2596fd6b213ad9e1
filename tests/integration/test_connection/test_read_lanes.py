"""One-shot reads of a SQLite file: few connections, and no queue behind a long statement."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from functools import partial
from operator import contains
from typing import TYPE_CHECKING, Any, cast

import pytest
from sqlalchemy import insert

from hqt_async_db import BaseRepository, DatabaseClosedError, DeadlineExceededError
from hqt_async_db.connection.backends.sqlite.lanes import LONG_S
from tests.integration.test_connection.entries import Entry, require_idle
from tests.integration.test_connection.holding import Held, endless, until

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager
    from tests.fixtures.managers import MakeDb

pytestmark = pytest.mark.backends("sqlite-file")
ROWS = 20


@pytest.fixture
async def filled(ledger: DatabaseManager) -> DatabaseManager:
    """A manager on a file with rows in it."""
    async with ledger.session() as session:
        rows = [{"name": f"{number}", "amount": number} for number in range(ROWS)]
        await session.execute(insert(Entry), rows)
    return ledger


def repository(db: DatabaseManager) -> BaseRepository[Entry]:
    """Return the repository of these tests."""
    return BaseRepository(db, Entry)


async def long_read(db: DatabaseManager, held: Held, key: str) -> asyncio.Task[list[Entry]]:
    """Begin to read, and be on it until ``key`` is released."""
    long = asyncio.create_task(repository(db).get_many(held.criterion(key), limit=1))
    await until(partial(contains, held.begun, key))
    return long


async def short_read(db: DatabaseManager, number: int) -> None:
    """Read one row, and find the right one."""
    found = await repository(db).get_one(name=f"{number % ROWS}")
    assert found.amount == number % ROWS


@pytest.mark.usefixtures("filled")
async def test_a_long_read_holds_up_no_short_ones(make_db: MakeDb) -> None:
    db = make_db(pool_size=2)
    held = Held(db)
    for number in range(50):
        await short_read(db, number)
    assert held.opened == {"read": 1}  # no more while none is long
    long = await long_read(db, held, "long")
    await asyncio.gather(*(short_read(db, number) for number in range(100)))
    assert not long.done()
    held.release("long")
    assert [entry.name for entry in await long] == ["0"]
    assert held.opened == {"read": 2}


@pytest.mark.usefixtures("filled")
async def test_reads_in_a_row_wake_the_loop_up_together(
    make_db: MakeDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = make_db(pool_size=1)
    held, loop, wakes = Held(db), asyncio.get_running_loop(), 0
    wake = loop.call_soon_threadsafe

    def counted(*arguments: Any, **keywords: Any) -> asyncio.Handle:
        nonlocal wakes
        wakes += 1
        return wake(*arguments, **keywords)

    first = await long_read(db, held, "first")
    shorts = asyncio.gather(*(short_read(db, number) for number in range(100)))
    await asyncio.sleep(0)  # they are sent
    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    started = time.monotonic()
    held.release("first")
    await first
    await shorts
    assert wakes <= 2 + (time.monotonic() - started) / LONG_S


@pytest.mark.usefixtures("filled")
async def test_what_was_read_before_a_long_statement_is_there_while_that_runs(
    make_db: MakeDb,
) -> None:
    db = make_db(pool_size=1)
    held = Held(db)
    first = await long_read(db, held, "first")
    short = asyncio.create_task(short_read(db, 1))
    await asyncio.sleep(0)
    long = asyncio.create_task(repository(db).get_many(held.criterion("long"), limit=1))
    await asyncio.sleep(0)
    held.release("first")
    await asyncio.wait_for(asyncio.gather(first, short), 1)
    assert not long.done()
    held.release("long")
    await long


@pytest.mark.usefixtures("filled")
async def test_a_write_is_acknowledged_while_a_read_that_began_with_it_runs(
    make_db: MakeDb,
) -> None:
    db = make_db(pool_size=1)
    held = Held(db)
    for number in range(20):
        long = asyncio.create_task(repository(db).get_many(held.criterion(f"{number}"), limit=1))
        await asyncio.wait_for(repository(db).create(name=f"new {number}", amount=0), 1)
        assert not long.done()
        held.release(f"{number}")
        await long


@pytest.mark.usefixtures("filled")
async def test_there_are_no_more_lanes_than_the_pool_may_have(make_db: MakeDb) -> None:
    db = make_db(pool_size=2)
    held = Held(db)
    longs = []
    for key in ("a", "b"):
        get_many = repository(db).get_many(held.criterion(key), limit=1)
        longs.append(asyncio.create_task(get_many))
        await until(partial(contains, held.begun, key))  # else the short ones may overtake it
        shorts = asyncio.gather(*(short_read(db, number) for number in range(10)))
        if key == "a":
            await shorts
    await asyncio.sleep(0.05)
    assert not shorts.done()  # no thread is free
    assert held.opened == {"read": 2}
    held.release("a")
    await shorts
    assert longs[0].done()
    assert not longs[1].done()
    held.release("b")
    await longs[1]
    assert held.opened == {"read": 2}


@pytest.mark.usefixtures("filled")
async def test_a_read_that_is_cancelled_while_it_waits_ends_at_once(make_db: MakeDb) -> None:
    db = make_db(pool_size=1)
    held = Held(db)
    long = asyncio.create_task(repository(db).get_many(held.criterion("long"), limit=1))
    await until(lambda: held.begun)
    waiting = [asyncio.create_task(short_read(db, number)) for number in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await asyncio.wait([waiting[1]])
    assert waiting[1].cancelled()
    assert not long.done()
    held.release("long")
    await asyncio.gather(long, waiting[0], waiting[2])


@pytest.mark.usefixtures("filled")
async def test_a_running_read_is_interrupted_and_no_other(make_db: MakeDb) -> None:
    db = make_db(pool_size=1)
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it when the test fails
    chance = random.Random(seed)
    await short_read(db, 0)
    delays = []
    for _ in range(15):
        running = asyncio.create_task(repository(db).get_many(endless()))
        shorts = [asyncio.create_task(short_read(db, number)) for number in range(20)]
        await asyncio.sleep(chance.uniform(0, 0.02))
        started = time.monotonic()
        running.cancel()
        await asyncio.wait([running])
        delays.append(time.monotonic() - started)
        assert running.cancelled()
        await asyncio.gather(*shorts)
    # The machine may be busy; that it can be quick is what is to be shown.
    assert min(delays) < 0.05, delays


@pytest.mark.usefixtures("filled")
async def test_the_time_limit_is_about_running_and_not_about_waiting(make_db: MakeDb) -> None:
    db = make_db(pool_size=1, statement_timeout_s=0.3)
    await short_read(db, 0)
    running = asyncio.create_task(repository(db).get_many(endless()))
    await asyncio.sleep(0)
    shorts = [asyncio.create_task(short_read(db, number)) for number in range(10)]
    with pytest.raises(DeadlineExceededError):
        await running
    await asyncio.gather(*shorts)


@pytest.mark.usefixtures("filled")
async def test_no_lane_is_opened_for_whoever_asks_when_there_are_enough_by_then(
    make_db: MakeDb,
) -> None:
    db = make_db(pool_size=2)
    held = Held(db)
    await short_read(db, 0)
    lanes = cast("Any", db.shortcut())._direct._reads  # noqa: SLF001 - the race is inside
    for _ in range(3):
        await lanes._add_quietly()  # noqa: SLF001 - as above
    assert held.opened == {"read": 2}


@pytest.mark.usefixtures("filled")
async def test_dispose_ends_reads_that_run_and_that_wait(make_db: MakeDb) -> None:
    db = make_db(pool_size=1)
    await short_read(db, 0)
    reads = [asyncio.create_task(repository(db).get_many(endless()))]
    reads += [asyncio.create_task(repository(db).get_many(name="1")) for _ in range(5)]
    await asyncio.sleep(0.02)
    await asyncio.wait_for(db.dispose(), 5)
    for outcome in await asyncio.gather(*reads, return_exceptions=True):
        assert isinstance(outcome, DatabaseClosedError)
    with pytest.raises(DatabaseClosedError):
        await repository(db).count()


async def test_dispose_while_the_first_connection_is_opened(
    filled: DatabaseManager, make_db: MakeDb
) -> None:
    for step in range(12):
        db = make_db()
        reads = [asyncio.create_task(repository(db).count()) for _ in range(3)]
        for _ in range(step):
            await asyncio.sleep(0)
        await db.dispose()
        for outcome in await asyncio.gather(*reads, return_exceptions=True):
            assert isinstance(outcome, DatabaseClosedError) or outcome == ROWS
    await require_idle(filled, filled)


@pytest.mark.usefixtures("filled")
async def test_one_timer_at_a_time_looks_after_reads_that_move_to_another_lane(
    make_db: MakeDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where each look sets two timers, looking is soon all that the loop does."""
    db = make_db(pool_size=2)
    held = Held(db)
    await short_read(db, 0)
    lanes = cast("Any", db.shortcut())._direct._reads  # noqa: SLF001 - the timers are inside
    await lanes._add_quietly()  # noqa: SLF001 - as above
    longs = [await long_read(db, held, key) for key in ("a", "b")]
    shorts = asyncio.gather(*(short_read(db, number) for number in range(10)))
    await asyncio.sleep(0)
    watched = 0

    def watch() -> None:
        nonlocal watched
        watched += 1
        lanes._is_watching = True  # noqa: SLF001 - as above

    monkeypatch.setattr(lanes, "_watch", watch)
    full = max(lanes._waiting, key=lambda lane: len(lanes._waiting[lane]))  # noqa: SLF001 - as above
    lanes._busy_with.clear()  # noqa: SLF001 - the other one counts as free
    lanes._look({full: full.current})  # noqa: SLF001 - as above
    assert watched == 1
    monkeypatch.undo()
    lanes._watch()  # noqa: SLF001 - as above
    for key in ("a", "b"):
        held.release(key)
    await asyncio.gather(shorts, *longs)
