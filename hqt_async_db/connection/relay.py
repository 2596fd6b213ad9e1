"""One-shot calls that hand a connection on to each other."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.pool import PoolProxiedConnection

    from hqt_async_db.connection.usage import Usage


class _Waiter(NamedTuple):
    """One call; its future is told None if it is to ask the pool."""

    usage: Usage
    future: asyncio.Future[PoolProxiedConnection | None]
    until: float


class Relay:
    """The calls that wait for a connection, first come, first served.

    To give a connection back to SQLAlchemy's pool and to take it out again
    costs as much as a short statement.

    Args:
        drop: Takes what was given to a call that was cancelled by then.
    """

    def __init__(
        self, drop: Callable[[PoolProxiedConnection | None, Usage], Awaitable[None]]
    ) -> None:
        self._drop = drop
        self._waiting: deque[_Waiter] = deque()
        # One timer for all of them: who comes first has waited longest.
        self._timer: asyncio.TimerHandle | None = None

    async def take(self, usage: Usage, timeout_s: float) -> PoolProxiedConnection | None:
        """Wait for a connection that is handed on.

        Args:
            usage: Who waits.
            timeout_s: How long at most; the same for all.

        Returns:
            It, or None for who is to ask the pool.

        Raises:
            TimeoutError: Nobody had anything to give.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[PoolProxiedConnection | None] = loop.create_future()
        until = loop.time() + timeout_s
        self._waiting.append(_Waiter(usage, future, until))
        if self._timer is None:
            self._timer = loop.call_at(until, self._expire, loop)
        try:
            return await future
        except asyncio.CancelledError:
            if not future.cancelled() and future.exception() is None:
                await self._drop(future.result(), usage)
            raise

    def give(self, pooled: PoolProxiedConnection | None) -> Usage | None:
        """Give the first who waits a connection, or None; return who that is."""
        while self._waiting:
            first = self._waiting.popleft()
            if not first.future.done():  # else it was cancelled
                first.future.set_result(pooled)
                return first.usage
        return None

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send those away who have waited as long as they may, and look at the next in time."""
        self._timer = None
        now = loop.time()
        while self._waiting:
            first = self._waiting[0]
            if first.until > now and not first.future.done():
                self._timer = loop.call_at(first.until, self._expire, loop)
                return
            self._waiting.popleft()
            if not first.future.done():
                first.future.set_exception(TimeoutError())
