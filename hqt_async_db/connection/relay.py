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

    async def take(self, usage: Usage, timeout_s: float) -> PoolProxiedConnection | None:
        """Wait for a connection that is handed on.

        Returns:
            It, or None for who is to ask the pool.

        Raises:
            TimeoutError: Nobody had anything to give.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[PoolProxiedConnection | None] = loop.create_future()
        self._waiting.append(_Waiter(usage, future))
        timer = loop.call_later(timeout_s, _expire, future)
        try:
            return await future
        except asyncio.CancelledError:
            if not future.cancelled() and future.exception() is None:
                await self._drop(future.result(), usage)
            raise
        finally:
            timer.cancel()

    def give(self, pooled: PoolProxiedConnection | None) -> Usage | None:
        """Give the first who waits a connection, or None; return who that is."""
        while self._waiting:
            usage, future = self._waiting.popleft()
            if not future.done():  # else it was cancelled, or its time was up
                future.set_result(pooled)
                return usage
        return None


def _expire(future: asyncio.Future[PoolProxiedConnection | None]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())
