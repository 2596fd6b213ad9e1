"""Pools that know who holds their connections, and lose none of them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool, Pool
from sqlalchemy.util.concurrency import await_, in_greenlet

from hqt_async_db.connection import tasks
from hqt_async_db.connection.greenlets import spawn
from hqt_async_db.connection.relay import Relay
from hqt_async_db.connection.usage import Usage, current_loop, current_task, usage_here
from hqt_async_db.errors import NestedSessionError, PoolTimeoutError

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection


_CLOSE_TIMEOUT_S: Final = 3.0
# Then the pool sees it again, which knows its age.
_LONGEST_RELAY_S: Final = 1.0
_STREAM_GRACE_STEPS: Final = 20
_STREAM_GRACE_STEP_S: Final = 0.005


class _OwningPool(Pool):
    """Closes connections to the end, whatever happens to the task that asks.

    A driver that is cancelled while it says goodbye leaves its socket and the
    server's session behind, and some never end by themselves where the server
    is frozen: then the connection is cut.
    """

    def _close_connection(self, connection: DBAPIConnection, *, terminate: bool = False) -> None:
        if not in_greenlet():
            super()._close_connection(connection, terminate=terminate)
            return
        closing = spawn(super()._close_connection, connection, terminate=terminate)
        try:
            await_(
                tasks.finish(
                    closing, name="hqt_async_db close connection", timeout_s=_CLOSE_TIMEOUT_S
                )
            )
        except TimeoutError:
            # It was cancelled, to which the drivers answer by cutting the connection.
            self.logger.warning("connection %r did not close in time", connection)


class UnpooledPool(_OwningPool, NullPool):
    """SQLAlchemy's NullPool, which opens a connection for every use."""


class TrackedPool(_OwningPool, AsyncAdaptedQueuePool):
    """SQLAlchemy's queue pool: fair, and with errors that name the holders.

    Who waits longest is served first. A task that already holds every
    connection can never be given one more; it is told so at once instead of
    waiting for itself.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.holders: dict[ConnectionPoolEntry, Usage] = {}
        # SQLAlchemy's queue lets newcomers overtake; here they wait before it.
        self._places = None if self._is_unlimited else asyncio.Semaphore(self._limit)
        self._queued = 0
        self._relay = Relay(self._give_back)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_disposed = False

    def dispose(self) -> None:
        """Close the idle connections, and each of the others once it comes back."""
        self._is_disposed = True
        if in_greenlet():
            await_(self._close_idle())
        super().dispose()

    async def _close_idle(self) -> None:
        """Close them at once: each takes its time where the server is frozen."""
        idle = [self._pool.get_nowait() for _ in range(self.checkedin())]
        await asyncio.gather(*(spawn(record.close) for record in idle))

    async def close_used(self) -> None:
        """Close those in use, whoever has them: a session that was dropped, perhaps."""
        used = [record for record in self.holders if record.dbapi_connection is not None]
        await asyncio.gather(*(spawn(record.invalidate) for record in used))

    async def take_over(self, usage: Usage) -> PoolProxiedConnection | None:
        """Return a connection that another one-shot call hands on, if the pool has none.

        None: there is one to be had by ``connect``, or it is its turn to queue
        for one there.

        Raises:
            PoolTimeoutError: Neither happened in time.
        """
        if self._places is None or not self._places.locked() or self._is_disposed:
            return None
        if self._holds_everything():  # nobody else has any to hand on
            return None
        self._loop = asyncio.get_running_loop()
        try:
            pooled = await self._relay.take(usage, self.timeout())
        except TimeoutError:
            message = self._exhausted()
        else:
            if pooled is None:
                usage.waited_s = usage.age_s
            return pooled
        raise PoolTimeoutError(message)

    def hand_on(self, pooled: PoolProxiedConnection, usage: Usage) -> bool:
        """Give a connection that is as good as new to the next one-shot call that waits.

        False if there is none, if others queue for the pool's connections, or
        if this one has been out of the pool for long.
        """
        lent_since = usage.lent_since
        if self._queued or self._is_disposed or time.monotonic() > lent_since + _LONGEST_RELAY_S:
            return False
        following = self._relay.give(pooled)
        if following is None:
            return False
        following.lent_since = lent_since
        for record, holder in self.holders.items():
            if holder is usage:
                self.holders[record] = following
                break
        return True

    async def _give_back(self, pooled: PoolProxiedConnection | None, usage: Usage) -> None:
        """Give away what somebody got who is gone."""
        if pooled is None:
            self._relay.give(None)
        elif not self.hand_on(pooled, usage):
            await tasks.finish(spawn(pooled.close), name="hqt_async_db give back")

    @property
    def _is_unlimited(self) -> bool:
        return self._max_overflow < 0

    @property
    def _limit(self) -> int:
        return self.size() + self._max_overflow

    def _do_get(self) -> ConnectionPoolEntry:
        usage = usage_here()
        self._refuse_to_wait_for_itself()
        if self._places is None:
            record = super()._do_get()
        else:
            await_(self._take_place(self._places, usage))
            try:
                record = super()._do_get()
            except BaseException:
                self._release(self._places)
                raise
        self.holders[record] = usage
        usage.lent_since = time.monotonic()
        return record

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        self.holders.pop(record, None)
        try:
            if self._is_disposed:
                record.close()
            super()._do_return_conn(record)
        finally:
            self._free_place()

    async def _take_place(self, places: asyncio.Semaphore, usage: Usage) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            if not places.locked():  # nor does anybody wait: no timer is needed
                await places.acquire()
                return
            self._queued += 1
            try:
                async with asyncio.timeout(self.timeout() - usage.waited_s):
                    await places.acquire()
            finally:
                self._queued -= 1
        except TimeoutError:
            message = self._exhausted()
        else:
            return
        raise PoolTimeoutError(message)

    def _free_place(self) -> None:
        """Let the next one in; a collector may return a connection on any thread."""
        if self._places is None or self._loop is None:
            return
        if current_loop() is self._loop:
            self._release(self._places)
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits
            self._loop.call_soon_threadsafe(self._release, self._places)

    def _release(self, places: asyncio.Semaphore) -> None:
        """Let the next one in, and one of those in the relay queue up behind all others."""
        places.release()
        self._relay.give(None)

    def _refuse_to_wait_for_itself(self) -> None:
        if self._holds_everything() and any(h.is_stream for h in self.holders.values()):
            # A stream that was left by `break` closes as soon as the loop runs.
            await_(self._wait_for_streams())
        if self._holds_everything():
            held = "; ".join(str(holder) for holder in self.holders.values())
            msg = (
                f"this task holds every connection of the pool itself ({held}); use that session, "
                "or end it first"
            )
            raise NestedSessionError(msg)

    def _holds_everything(self) -> bool:
        """Tell whether nobody but the running task could free a connection."""
        if self._is_unlimited or len(self.holders) < self._limit:
            return False
        task = current_task()
        return all(holder.task is task for holder in self.holders.values())

    async def _wait_for_streams(self) -> None:
        for _ in range(_STREAM_GRACE_STEPS):
            await asyncio.sleep(_STREAM_GRACE_STEP_S)
            if not self._holds_everything():
                return

    def _exhausted(self) -> str:
        oldest = sorted(self.holders.values(), key=lambda holder: -holder.age_s)[:5]
        held = "; ".join(str(holder) for holder in oldest) or "nobody known"
        return (
            f"no connection became free within {self.timeout():g} s; {len(self.holders)} are in "
            f"use, longest by: {held}. End sessions sooner, or raise pool_size"
        )
