"""One-shot calls that hand connections on: how often, in whose turn, and what if they are gone."""

from __future__ import annotations

import asyncio
import gc
import random
import secrets
import time
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from hqt_async_db import BaseRepository, DatabaseManager, PoolTimeoutError
from hqt_async_db.connection.backends.backend import Role
from hqt_async_db.connection.pool import TrackedPool
from tests.integration.test_connection.entries import Entry, create_table, names_in, require_idle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fixtures.managers import MakeDb

pytestmark = pytest.mark.backends("postgresql")
_NO_MORE = {"max_overflow": 0}


@pytest.fixture
async def db(make_db: MakeDb) -> AsyncIterator[DatabaseManager]:
    """A manager with one connection to write and one to read; nothing is left of it at the end."""
    manager = make_db(pool_size=1, pool_timeout=0.5, **_NO_MORE)
    await create_table(manager)
    await repository(manager).count()
    yield manager
    await require_idle(manager, make_db())


def repository(db: DatabaseManager) -> BaseRepository[Entry]:
    """Return the repository of these tests."""
    return BaseRepository(db, Entry)


def create(db: DatabaseManager, name: str) -> asyncio.Task[Entry]:
    """Begin to store an entry."""
    return asyncio.create_task(repository(db).create(name=name))


@pytest.mark.parametrize(("longest_s", "times"), [(60.0, 1), (0.0, 20)])
async def test_calls_that_wait_take_one_connection_out_of_the_pool_once_in_a_while(
    db: DatabaseManager, monkeypatch: pytest.MonkeyPatch, longest_s: float, times: int
) -> None:
    taken: list[Any] = []
    take = TrackedPool._do_get  # noqa: SLF001 - what is counted

    def counted(pool: TrackedPool) -> Any:
        taken.append(pool)
        return take(pool)

    monkeypatch.setattr(TrackedPool, "_do_get", counted)
    monkeypatch.setattr("hqt_async_db.connection.pool._LONGEST_RELAY_S", longest_s)
    made = await asyncio.gather(*(create(db, f"{number}") for number in range(20)))
    assert [entry.id for entry in made] == list(range(1, 21))  # in the order they came
    assert len(taken) == times


async def test_a_session_waits_for_one_call_at_most(db: DatabaseManager) -> None:
    stored: list[str] = []
    is_over = False

    async def flood(task: int) -> None:
        while not is_over:
            stored.append((await repository(db).create(name=f"{task}-{len(stored)}")).name)

    async with asyncio.TaskGroup() as tasks:
        for task in range(8):
            tasks.create_task(flood(task))
        await asyncio.sleep(0.05)
        before = len(stored)
        async with db.session() as session:
            await session.execute(text("SELECT 1"))
            # One was on its way, another had been given the connection already.
            assert len(stored) - before <= 2
        is_over = True


async def test_calls_are_not_overtaken_by_sessions_for_ever(db: DatabaseManager) -> None:
    is_over = False

    async def flood() -> None:
        while not is_over:
            async with db.session() as session:
                await session.execute(text("SELECT 1"))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(flood())
        await asyncio.sleep(0.02)
        await asyncio.gather(*(create(db, f"{number}") for number in range(4)))
        is_over = True


async def test_whoever_has_it_now_is_named(db: DatabaseManager, make_db: MakeDb) -> None:
    async with make_db().session() as other:
        await other.execute(text("INSERT INTO entries (name, amount) VALUES ('taken', 0)"))
        free, taken, late = [create(db, name) for name in ("free", "taken", "late")]
        with pytest.raises(PoolTimeoutError, match=f"one-shot write of task '{taken.get_name()}'"):
            await late
        assert (await free).name == "free"
        (holder,) = db.pool_status()["write"]["holders"]
        assert f"'{taken.get_name()}'" in holder
        await other.rollback()
    assert (await taken).name == "taken"


async def test_no_call_waits_longer_than_the_pool_lets_it(db: DatabaseManager) -> None:
    async def hold(seconds: float) -> None:
        async with db.session() as session:
            await session.execute(text("SELECT 1"))
            await asyncio.sleep(seconds)

    holders = [asyncio.create_task(hold(0.45))]
    await asyncio.sleep(0.02)
    began = time.monotonic()
    call = create(db, "late")
    await asyncio.sleep(0.02)
    holders.append(asyncio.create_task(hold(0.8)))  # is before it once it queues for the pool
    with pytest.raises(PoolTimeoutError, match="session of task"):
        await call
    assert 0.45 < time.monotonic() - began < 0.9  # anew in the pool's queue, it would be 0.93
    await asyncio.gather(*holders)


async def test_each_call_that_waits_has_its_own_time(db: DatabaseManager) -> None:
    """One timer looks after all of them, also after those for which it was set."""
    async with db.session() as session:
        await session.execute(text("SELECT 1"))
        first = create(db, "first")
        await asyncio.sleep(0.1)
    assert (await first).name == "first"
    waited: list[float] = []

    async def wait(after_s: float) -> None:
        await asyncio.sleep(after_s)
        began = time.monotonic()
        with pytest.raises(PoolTimeoutError):
            await repository(db).create(name="late")
        waited.append(time.monotonic() - began)

    async with db.session() as session:
        await session.execute(text("SELECT 1"))
        await asyncio.gather(*(wait(0.15 * number) for number in range(3)))
    assert all(0.45 < each < 0.65 for each in waited)


async def test_cancelled_with_the_connection_in_its_hands(db: DatabaseManager) -> None:
    pool: Any = db._engines.by_role[Role.WRITE].pool  # noqa: SLF001 - no public way
    gives = pool._relay.give  # noqa: SLF001 - as above
    calls = [create(db, f"{number}") for number in range(4)]

    def give(pooled: Any) -> Any:
        usage = gives(pooled)
        if usage is not None and usage.task is calls[1]:
            calls[1].cancel()  # it has not run since
        return usage

    pool._relay.give = give  # noqa: SLF001 - as above
    first, second, *others = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(second, asyncio.CancelledError)
    assert all(isinstance(entry, Entry) for entry in (first, *others))
    assert await names_in(db) == {"0", "2", "3"}


async def test_a_storm_of_cancellations(make_db: MakeDb) -> None:
    db = make_db(pool_size=2, pool_timeout=5, **_NO_MORE)
    await create_table(db)
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it when the test fails
    chance = random.Random(seed)
    told: dict[str, bool] = {}

    async def one(name: str) -> None:
        await asyncio.sleep(chance.uniform(0, 0.01))
        try:
            async with asyncio.timeout(chance.choice([None, chance.uniform(0, 0.02)])):
                if chance.random() < 0.2:
                    async with db.session() as session:
                        session.add(Entry(name=name))
                else:
                    await repository(db).create(name=name)
        except TimeoutError:
            told[name] = False
        else:
            told[name] = True

    gc.disable()  # nothing may be left for it to find
    try:
        for number in range(10):
            await asyncio.gather(*(one(f"{number}-{task}") for task in range(30)))
    finally:
        gc.enable()
    assert {name for name, is_stored in told.items() if is_stored} <= await names_in(db)
    assert set(told.values()) == {True, False}
    await require_idle(db, make_db())


async def test_whoever_waits_when_the_manager_is_disposed_is_served(make_db: MakeDb) -> None:
    db = make_db(pool_size=1, pool_timeout=5, **_NO_MORE)
    await create_table(db)
    calls = [create(db, f"{number}") for number in range(5)]
    await asyncio.sleep(0)
    await db.dispose()
    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    stored = {entry.name for entry in outcomes if isinstance(entry, Entry)}
    async with make_db() as other:
        assert stored <= await names_in(other)


async def test_a_place_of_a_connection_that_did_not_come_is_taken_at_once(make_db: MakeDb) -> None:
    db = make_db(pool_size=1, pool_timeout=5, **_NO_MORE)
    await create_table(db)  # connects to write; the pool to read has no connection yet
    first = asyncio.create_task(repository(db).count())
    await asyncio.sleep(0)
    second = asyncio.create_task(repository(db).count())
    for _ in range(3):  # until both are on their way, and no server has answered yet
        await asyncio.sleep(0)
    assert not first.done()
    first.cancel()
    began = time.monotonic()
    assert await second == 0
    assert time.monotonic() - began < 2
