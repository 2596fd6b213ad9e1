"""Driver connections lent from a pool, for one statement at a time."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final, Self

from hqt_async_db.connection import tasks
from hqt_async_db.connection.greenlets import spawn
from hqt_async_db.connection.ownership import disposed_meanwhile
from hqt_async_db.connection.pool import TrackedPool
from hqt_async_db.connection.sessions.occupancy import Occupancy
from hqt_async_db.connection.translation.translate import (
    leaves_connection_usable,
    tells_of_the_server,
)
from hqt_async_db.connection.usage import Usage

if TYPE_CHECKING:
    from types import TracebackType

    from sqlalchemy.pool import Pool, PoolProxiedConnection

_NOT_TRANSLATED: Final = nullcontext()


class Lending:
    """The connections that one-shot calls have, or wait for, until their manager ends."""

    def __init__(self) -> None:
        self._lent: set[Lent] = set()
        self._is_over = False

    def lend(self, pool: Pool, purpose: str) -> Lent:
        """Return a block that has a connection of a pool.

        Args:
            pool: The pool.
            purpose: What for, in messages about the pool.
        """
        return Lent(self, pool, purpose)

    def note(self, lent: Lent) -> None:
        """Note who begins.

        Raises:
            DatabaseClosedError: It is over.
        """
        if self._is_over:
            raise disposed_meanwhile()
        self._lent.add(lent)

    def forget(self, lent: Lent) -> None:
        """Forget who has ended."""
        self._lent.discard(lent)

    async def end(self, owner: object) -> None:
        """Lend no more, wait for commits, and interrupt what else is on its way.

        Args:
            owner: On whose behalf the commits are, as :func:`tasks.drain` knows it.
        """
        self._is_over = True
        await tasks.drain(owner)
        await asyncio.gather(*[lent.interrupt() for lent in self._lent])
        await tasks.drain(owner)


class Lent:
    """An ``async with`` block that has a connection of a pool.

    It goes back at the end, or to the next such block that waits for one;
    after a cancellation, or an error that says nothing good about it, it is
    closed instead.

    Args:
        lending: What ends it early.
        pool: The pool.
        purpose: What for, in messages about the pool.

    Attributes:
        is_spent: Whether the connection will be closed at the end.
    """

    def __init__(self, lending: Lending, pool: Pool, purpose: str) -> None:
        self._lending = lending
        self._pool = pool
        self._relaying = pool if isinstance(pool, TrackedPool) else None
        self._purpose = purpose
        self.is_spent = False
        self._is_cut_off = False
        self._usage: Usage
        self._is_inside = True
        self._occupancy: Occupancy
        self._pooled: PoolProxiedConnection

    async def __aenter__(self) -> Self:
        """Take a connection; raises what the pool raises."""
        self._usage = usage = Usage(self._purpose)
        self._occupancy = occupancy = Occupancy(usage, _NOT_TRANSLATED)
        self._lending.note(self)
        occupancy.__enter__()
        try:
            pooled = None if self._relaying is None else await self._relaying.take_over(usage)
            self._pooled = await spawn(self._pool.connect) if pooled is None else pooled
        except BaseException as error:
            self._leave(error)
            raise
        if usage.is_stream:  # whose task does other things in between
            self._is_inside = False
            occupancy.__exit__(None, None, None)
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

    def hold(self) -> None:
        """Let nothing interrupt it from now on: its commit is sent."""
        self._occupancy.hold()

    async def interrupt(self) -> None:
        """Have it end early: it raises DatabaseClosedError; a stream loses its connection."""
        if self._occupancy.is_stranded:  # the pool closes the connection
            return
        if self._is_inside:
            await self._occupancy.interrupt()
        elif not self._is_cut_off:
            self._is_cut_off = True
            await self._close_to_the_end(None)

    def _close(self, error: BaseException | None) -> None:
        if error is not None and tells_of_the_server(error):
            self._pool._invalidate(self._pooled)  # noqa: SLF001 - as SQLAlchemy does after such errors
        else:
            # MySQL's servers are told of statements that were cancelled.
            self._pooled.invalidate(error if isinstance(error, asyncio.CancelledError) else None)

    async def _close_to_the_end(self, error: BaseException | None) -> None:
        await tasks.finish(spawn(self._close, error), name="hqt_async_db close")

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the connection back, or close it."""
        try:
            with self._occupancy.uninterrupted():
                await self._give_back(error)
        finally:
            self._leave(error)

    async def _give_back(self, error: BaseException | None) -> None:
        if self._is_cut_off:
            return
        self._is_cut_off = True  # by itself: there is nothing left to interrupt
        if self.is_spent or (error is not None and not leaves_connection_usable(error)):
            await self._close_to_the_end(error)
        elif self._relaying is None or not self._relaying.hand_on(self._pooled, self._usage):
            await spawn(self._pooled.close)

    def _leave(self, error: BaseException | None) -> None:
        """End the use; an interruption goes on as the reason for it."""
        self._lending.forget(self)
        if self._is_inside:
            self._occupancy.__exit__(None if error is None else type(error), error, None)
