"""``db.run``: what it repeats, what it never repeats, and how often."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from hqt_async_db import (
    DeadlockError,
    DuplicateKeyError,
    InvalidInputError,
    SerializationFailureError,
)
from tests.integration.test_connection.entries import Entry, names_in, require_idle
from tests.integration.test_connection.holding import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hqt_async_db import DatabaseManager, Session
    from tests.fixtures.managers import MakeDb


class Work:
    """Writes a row, and fails as often as it is told to."""

    def __init__(self, *failures: BaseException) -> None:
        self._failures = list(failures)
        self.sessions: list[Session] = []

    async def __call__(self, session: Session) -> int:
        self.sessions.append(session)
        session.add(Entry(name="mine"))
        await session.flush()
        if self._failures:
            raise self._failures.pop(0)
        return len(self.sessions)


async def test_it_repeats_what_can_succeed(ledger: DatabaseManager) -> None:
    work = Work(DeadlockError("1"), SerializationFailureError("2"))
    assert await ledger.run(work) == 3
    assert len(set(work.sessions)) == 3
    assert [session.outcome for session in work.sessions] == [
        "rolled_back",
        "rolled_back",
        "committed",
    ]
    assert await names_in(ledger) == {"mine"}
    await require_idle(ledger, ledger)


async def test_it_gives_up_with_the_last_error(ledger: DatabaseManager) -> None:
    work = Work(*(DeadlockError(str(number)) for number in range(9)))
    with pytest.raises(DeadlockError, match=r"\A3\Z"):
        await ledger.run(work, attempts=4)
    assert len(work.sessions) == 4
    assert await names_in(ledger) == set()
    await require_idle(ledger, ledger)


@pytest.mark.parametrize("error", [LookupError(), DuplicateKeyError("no"), InvalidInputError("no")])
async def test_it_does_not_repeat_the_rest(ledger: DatabaseManager, error: Exception) -> None:
    work = Work(error)
    with pytest.raises(type(error)):
        await ledger.run(work, attempts=5)
    assert len(work.sessions) == 1
    assert await names_in(ledger) == set()


async def test_it_does_not_repeat_what_has_committed(ledger: DatabaseManager) -> None:
    calls: list[str] = []
    failure = DeadlockError("later")

    async def work(session: Session) -> None:
        calls.append("called")
        session.add(Entry(name="part"))
        await session.commit()
        session.add(Entry(name="rest"))
        await session.flush()
        raise failure

    with pytest.raises(DeadlockError):
        await ledger.run(work, attempts=5)
    assert calls == ["called"]
    assert await names_in(ledger) == {"part"}


async def test_a_cancellation_goes_on(ledger: DatabaseManager) -> None:
    work = Work(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await ledger.run(work)
    assert len(work.sessions) == 1

    pausing = Work(*(DeadlockError("again") for _ in range(1000)))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await ledger.run(pausing, attempts=1000)
    await require_idle(ledger, ledger)


@pytest.mark.parametrize("attempts", [0, -1, True, 1.5])
async def test_attempts_must_be_a_number_of_calls(ledger: DatabaseManager, attempts: int) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await ledger.run(Work(), attempts=attempts)
    assert caught.value.field == "attempts"


async def test_it_can_write_exclusively(ledger: DatabaseManager) -> None:
    async def level(session: Session) -> str:
        return await (await session.connection()).get_isolation_level()

    assert await ledger.run(level, write=True) == "SERIALIZABLE"
    assert await ledger.run(level) == "READ COMMITTED"
    async with ledger.session() as session:
        assert (await session.scalars(select(Entry))).all() == []


class FailsOnce:
    """Can succeed in its second attempt, in which it waits for something."""

    def __init__(self, then: Callable[[], Awaitable[object]]) -> None:
        self._then = then
        self.attempts = 0

    async def __call__(self, session: Session) -> None:
        await session.execute(select(Entry))
        self.attempts += 1
        if self.attempts == 1:
            raise DeadlockError(str(self.attempts))
        await self._then()


async def nothing() -> None:
    """Do nothing."""


@pytest.mark.backends("sqlite-file")
async def test_a_retry_waits_for_none_of_another_manager(
    ledger: DatabaseManager, witness: DatabaseManager
) -> None:
    is_over = asyncio.Event()
    slow = FailsOnce(is_over.wait)
    running = asyncio.create_task(ledger.run(slow))
    await until(lambda: slow.attempts == 2)
    async with asyncio.timeout(2):
        await witness.run(FailsOnce(nothing))
    assert not running.done()
    is_over.set()
    await running


@pytest.mark.backends("sqlite-file")
@pytest.mark.usefixtures("ledger")
async def test_a_retry_waits_for_its_turn_no_longer_than_for_a_lock(make_db: MakeDb) -> None:
    db = make_db(lock_timeout_s=0.2)

    async def wait_for_another_retry() -> None:
        await asyncio.create_task(db.run(FailsOnce(nothing)), context=Context())

    async with asyncio.timeout(2):
        await db.run(FailsOnce(wait_for_another_retry))
