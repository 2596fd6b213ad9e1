"""Driver connections lent from a pool, for one statement at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from hqt_async_db.connection import tasks
from hqt_async_db.connection.greenlets import spawn
from hqt_async_db.connection.pool import TrackedPool
from hqt_async_db.connection.translation.translate import (
    leaves_connection_usable,
    tells_of_the_server,
)
from hqt_async_db.connection.usage import Usage, current_usage

if TYPE_CHECKING:
    from types import TracebackType

    from sqlalchemy.pool import Pool, PoolProxiedConnection


class Lent:
    """An ``async with`` block that has a connection of a pool.

    It goes back at the end, or to the next such block that waits for one;
    after a cancellation, or an error that says nothing good about it, it is
    closed instead.

    Args:
        pool: The pool.
        purpose: What for, in messages about the pool.

    Attributes:
        is_spent: Whether the connection will be closed at the end.
    """

    def __init__(self, pool: Pool, purpose: str) -> None:
        self._pool = pool
        self._relaying = pool if isinstance(pool, TrackedPool) else None
        self._purpose = purpose
        self.is_spent = False
        self._usage: Usage
        self._pooled: PoolProxiedConnection

    async def __aenter__(self) -> Self:
        """Take a connection; raises what the pool raises."""
        self._usage = usage = Usage(self._purpose)
        pooled = None if self._relaying is None else await self._relaying.take_over(usage)
        if pooled is None:
            token = current_usage.set(usage)
            try:
                pooled = await spawn(self._pool.connect)
            finally:
                current_usage.reset(token)
        self._pooled = pooled
        return self

    @property
    def adapted(self) -> Any:
        """Return the connection as SQLAlchemy's dialects see it."""
        return self._pooled.dbapi_connection

    @property
    def driver(self) -> Any:
        """Return the driver's own connection."""
        return self._pooled.driver_connection

    def spend(self) -> None:
        """Have the connection closed at the end, whatever happens."""
        self.is_spent = True

    def _close(self, error: BaseException | None) -> None:
        if error is not None and tells_of_the_server(error):
            self._pool._invalidate(self._pooled)  # noqa: SLF001 - as SQLAlchemy does after such errors
        else:
            # MySQL's servers are told of statements that were cancelled.
            self._pooled.invalidate(error if isinstance(error, asyncio.CancelledError) else None)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the connection back, or close it."""
        if self.is_spent or (error is not None and not leaves_connection_usable(error)):
            await tasks.finish(spawn(self._close, error), name="hqt_async_db close")
            return
        if self._relaying is None or not self._relaying.hand_on(self._pooled, self._usage):
            await spawn(self._pooled.close)
