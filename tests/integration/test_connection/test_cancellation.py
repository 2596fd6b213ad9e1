"""Cancelled at any await: nothing is left behind and the outcome is known."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import pytest
from sqlalchemy import select

from hqt_async_db.repositories import BaseRepository
from tests.integration.test_connection.cancelling import (
    Moment,
    Point,
    cancelled_at,
    every_await,
)
from tests.integration.test_connection.entries import (
    Entry,
    names_in,
    require_idle,
    require_write_lock_free,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from hqt_async_db.connection.manager import DatabaseManager
    from hqt_async_db.connection.sessions.session import Session

    Operation = Callable[[DatabaseManager, str, list[Session]], Coroutine[Any, Any, None]]
    Cancel = Callable[[Point, Coroutine[Any, Any, None]], Awaitable[None]]

pytestmark = pytest.mark.timeout(60)


async def create(db: DatabaseManager, name: str, seen: list[Session]) -> None:
    """Write, read, write again and commit."""
    async with db.session() as session:
        seen.append(session)
        session.add(Entry(name=name))
        await session.flush()
        (await session.scalars(select(Entry.id).where(Entry.name == name))).one()
        session.add(Entry(name=f"{name} again"))


async def create_by_hand(db: DatabaseManager, name: str, seen: list[Session]) -> None:
    session = db.session()
    seen.append(session)
    try:
        async with session.begin():
            session.add(Entry(name=name))
    finally:
        await session.close()


async def create_exclusively(db: DatabaseManager, name: str, seen: list[Session]) -> None:
    async with db.session(write=True) as session:
        seen.append(session)
        (await session.scalars(select(Entry.id).where(Entry.name == name))).one_or_none()
        session.add(Entry(name=name))


async def roll_back(db: DatabaseManager, name: str, seen: list[Session]) -> None:
    async with db.session() as session:
        seen.append(session)
        session.add(Entry(name=name))
        await session.flush()
        await session.rollback()


async def fail(db: DatabaseManager, name: str, seen: list[Session]) -> None:
    with suppress(LookupError):
        async with db.session() as session:
            seen.append(session)
            session.add(Entry(name=name))
            await session.flush()
            raise LookupError


async def use_savepoints(db: DatabaseManager, name: str, seen: list[Session]) -> None:
    async with db.session() as session:
        seen.append(session)
        async with session.begin_nested():
            session.add(Entry(name=name))
        with suppress(LookupError):
            async with session.begin_nested():
                session.add(Entry(name=f"{name} undone"))
                await session.flush()
                raise LookupError


async def read(db: DatabaseManager, name: str, seen: list[Session]) -> None:
    for options in ({"read_only": True}, {"snapshot": True}, {}):
        async with db.session(**options) as session:
            seen.append(session)
            await session.scalars(select(Entry).where(Entry.name == name))


async def stream(db: DatabaseManager, _name: str, seen: list[Session]) -> None:
    for options in ({"read_only": True}, {"snapshot": True}, {}):
        async with db.session(**options) as session:
            seen.append(session)
            result = await session.stream(select(Entry.id), execution_options={"yield_per": 2})
            async for _ in result:
                pass


async def call_one_shots(db: DatabaseManager, name: str, _seen: list[Session]) -> None:
    entries = BaseRepository(db, Entry)
    entry = await entries.create(name=name)
    await entries.get_by_id(entry.id)
    async with entries.stream() as rows:
        async for _ in rows:
            break


OPERATIONS: list[Operation] = [
    create,
    create_by_hand,
    create_exclusively,
    roll_back,
    fail,
    use_savepoints,
    read,
    stream,
    call_one_shots,
]


READING: list[Operation] = [read, stream]


async def by_task(point: Point, operation: Coroutine[Any, Any, None]) -> None:
    """Cancel the task, as a user or a shutdown does."""

    async def work() -> None:
        await cancelled_at(point, operation, lambda: task.cancel())  # noqa: PLW0108 - it is made below

    task = asyncio.create_task(work())
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    assert task.cancelled() == point.was_reached


async def by_timeout(point: Point, operation: Coroutine[Any, Any, None]) -> None:
    """Let the time be up; afterwards the task is not cancelled any more."""
    task = asyncio.current_task()
    assert task is not None
    with suppress(TimeoutError):
        async with asyncio.timeout(None) as timeout:
            now = asyncio.get_running_loop().time()
            await cancelled_at(point, operation, lambda: timeout.reschedule(now))
    assert timeout.expired() <= point.was_reached  # the time can be up too late
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def by_task_group(point: Point, operation: Coroutine[Any, Any, None]) -> None:
    """Let a sibling fail."""
    reached = asyncio.Event()

    async def fail_when_reached() -> None:
        await reached.wait()
        raise LookupError

    failures: list[BaseException] = []
    try:
        async with asyncio.TaskGroup() as group:
            sibling = group.create_task(fail_when_reached())
            await cancelled_at(point, operation, reached.set)
            if not point.was_reached:
                sibling.cancel()
    except* LookupError as errors:
        failures += errors.exceptions
    assert len(failures) == point.was_reached
    await asyncio.sleep(0)


async def by_anyio(point: Point, operation: Coroutine[Any, Any, None]) -> None:
    """Cancel anyio's scope, which cancels every later await in it as well."""
    with anyio.CancelScope() as scope:
        await cancelled_at(point, operation, scope.cancel)
    assert scope.cancel_called == point.was_reached
    await anyio.lowlevel.checkpoint()


class Trials:
    """An operation cancelled at one await after the other, and what must hold each time."""

    def __init__(
        self,
        db: DatabaseManager,
        witness: DatabaseManager,
        url: str,
        *,
        operation: Operation = create,
        cancel: Cancel = by_task,
    ) -> None:
        self._db = db
        self._witness = witness
        self._url = url
        self._operation = operation
        self._cancel = cancel

    async def __call__(self, point: Point) -> None:
        """Cancel at ``point``."""
        name = str(point)
        seen: list[Session] = []
        await self._cancel(point, self._operation(self._db, name, seen))
        if not self._url.endswith(":memory:") and self._url.startswith("sqlite"):
            await require_write_lock_free(self._url)
        await require_idle(self._db, self._witness)
        names = await names_in(self._witness)
        assert f"{name} undone" not in names
        assert self._operation is not create or (name in names) == (f"{name} again" in names)
        for session in seen:
            self._judge(session, point, stored=name in names)

    def _judge(self, session: Session, point: Point, *, stored: bool) -> None:
        if self._operation in READING:
            truth = {"committed", "rolled_back", None}
        else:
            truth = {"committed"} if stored else {"rolled_back", None}
        assert session.outcome in truth, (str(point), session.outcome, stored)


@pytest.mark.parametrize("moment", ["asleep", "waking"])
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_every_await(
    ledger: DatabaseManager,
    witness: DatabaseManager,
    database_url: str,
    operation: Operation,
    moment: Moment,
) -> None:
    trials = Trials(ledger, witness, database_url, operation=operation)
    assert await every_await(trials, moment) >= 2


@pytest.mark.parametrize("moment", ["asleep", "waking"])
@pytest.mark.parametrize("cancel", [by_timeout, by_task_group, by_anyio])
async def test_every_way_to_cancel(
    ledger: DatabaseManager,
    witness: DatabaseManager,
    database_url: str,
    cancel: Cancel,
    moment: Moment,
) -> None:
    trials = Trials(ledger, witness, database_url, cancel=cancel)
    assert await every_await(trials, moment) >= 2
