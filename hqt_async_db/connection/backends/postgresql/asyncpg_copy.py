"""COPY into PostgreSQL through asyncpg, which ends where the server does not go on."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from hqt_async_db.connection import tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence

# Encoded in a tenth of a millisecond or so; after some of these it is time for other tasks.
_ROWS_PER_LOOK: Final = 50
_STEP_S: Final = 0.001


class CopyIn:
    """One COPY into a table, whose rows tell whether it goes on.

    asyncpg waits for room to write without end: neither a lost connection nor
    a time limit wakes it. So the COPY is a task of its own, to be ended from here.

    Args:
        driver: The connection.

    Attributes:
        is_lost: Whether the connection is.
    """

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._limit_s: float | None = driver._config.command_timeout  # noqa: SLF001 - no public way
        self._loop = asyncio.get_running_loop()
        self._waits_since: float | None = self._loop.time()
        self._looking: asyncio.TimerHandle | None = None
        self._is_given_up = False
        self._task: asyncio.Task[object] | None = None
        self._handed_over: asyncio.Future[None] | None = None
        self._may_end: asyncio.Future[None] | None = None
        self.is_lost = False

    def texts(self, source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Return the text to be copied; the time that its source takes is not the server's."""
        return _Texts(self, source)

    async def rows(self, rows: Sequence[Any]) -> AsyncIterator[Any]:
        """Yield the rows to be copied, and let other tasks run: asyncpg encodes thousands first.

        After the last one the COPY waits for :meth:`end`, if it was begun by :meth:`begin`.
        """
        step_ends = perf_counter() + _STEP_S
        for start in range(0, len(rows), _ROWS_PER_LOOK):
            if self.is_lost:
                return
            self.wait(for_server=True)
            for row in rows[start : start + _ROWS_PER_LOOK]:
                yield row
            if perf_counter() >= step_ends:
                await asyncio.sleep(0)
                step_ends = perf_counter() + _STEP_S
        self.wait(for_server=True)
        if self._handed_over is not None:
            self._may_end = self._loop.create_future()
            self._handed_over.set_result(None)
            await self._may_end

    def wait(self, *, for_server: bool) -> None:
        """Note that the server took what there was, and who is waited for from now on."""
        self._waits_since = self._loop.time() if for_server else None

    async def run(self, copying: Coroutine[object, object, object]) -> None:
        """Copy; a cancelled caller waits until the driver has stopped, and no longer.

        Raises:
            asyncpg.ConnectionDoesNotExistError: The connection was lost.
            asyncpg.QueryCanceledError: The server took nothing for longer than
                a statement may take.
        """
        task = self._start(copying)
        await self._wait_for(task, task)
        self._raise_failure(task)

    async def begin(self, copying: Coroutine[object, object, object]) -> None:
        """Copy :meth:`rows`, but for the end, up to which the server keeps none of them.

        Raises:
            As :meth:`run`.
        """
        self._handed_over = self._loop.create_future()
        self._task = task = self._start(copying)
        await self._wait_for(self._handed_over, task)
        if task.done():
            self._raise_failure(task)

    async def end(self) -> None:
        """Have the server keep what :meth:`begin` copied; its answer has no time limit here."""
        if self._task is None or self._may_end is None:
            msg = "there is no COPY that waits for its end"
            raise RuntimeError(msg)
        self._stop_looking()
        self._go_on()
        await self._task

    def _go_on(self) -> None:
        if self._may_end is not None and not self._may_end.done():
            self._may_end.set_result(None)

    def _start(self, copying: Coroutine[object, object, object]) -> asyncio.Task[object]:
        """Copy in a task that hears of a lost connection."""
        task = tasks.start(copying, name="hqt_async_db copy")
        protocol = self._driver._protocol  # noqa: SLF001 - as above

        def lose(_connection: object) -> None:
            # asyncpg finds that there is nothing more to copy, and tells what it knows.
            self.is_lost = True
            protocol.resume_writing()
            self._go_on()

        def let_go(_task: object) -> None:
            self._driver.remove_termination_listener(lose)
            self._stop_looking()
            if self._handed_over is not None and not self._handed_over.done():
                self._handed_over.set_result(None)

        self._driver.add_termination_listener(lose)
        task.add_done_callback(let_go)
        self._look_at(task)
        return task

    async def _wait_for(self, moment: asyncio.Future[Any], task: asyncio.Task[object]) -> None:
        """Wait for a moment of the COPY; cancelled, have it end first."""
        cancelled = await tasks.wait(moment, None, lambda: self.is_lost or task.cancel())
        if cancelled is not None:
            await tasks.wait(task, None)
            tasks.retrieve(task)
            raise cancelled

    def _look_at(self, task: asyncio.Task[object]) -> None:
        """End the COPY if the server has been silent for too long, or look again later."""
        if self._limit_s is None:
            return
        since = self._loop.time() if self._waits_since is None else self._waits_since
        self._is_given_up = since + self._limit_s <= self._loop.time()
        if self._is_given_up:
            task.cancel()
        else:
            self._looking = self._loop.call_at(since + self._limit_s, self._look_at, task)

    def _stop_looking(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

    def _raise_failure(self, task: asyncio.Task[object]) -> None:
        import asyncpg  # noqa: PLC0415 - only what is used

        if self._is_given_up and (task.cancelled() or task.exception()):
            msg = "the server took nothing for too long"
            raise asyncpg.QueryCanceledError(msg)
        task.result()


class _Texts:
    """Text of a COPY; see :meth:`CopyIn.texts`."""

    def __init__(self, copy: CopyIn, source: AsyncIterator[bytes]) -> None:
        self._copy = copy
        self._source = source

    def __aiter__(self) -> _Texts:
        return self

    async def __anext__(self) -> bytes:
        if self._copy.is_lost:
            raise StopAsyncIteration
        self._copy.wait(for_server=False)
        try:
            return await anext(self._source)
        finally:
            self._copy.wait(for_server=True)
