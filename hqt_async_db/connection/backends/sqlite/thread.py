"""The event loop's side of a SQLite connection's thread."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from hqt_async_db.connection.backends.sqlite.worker import Job, abandon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hqt_async_db.connection.backends.sqlite.checkpoints import LogKeeper
    from hqt_async_db.connection.backends.sqlite.worker import Call

# SQLite forgets an interrupt that comes before the statement has begun.
_INTERRUPT_AGAIN_S: Final = 0.005
# A thread that could not open its file ends at once.
_ENDING_S: Final = 1.0
_ENDING_STEP_S: Final = 0.001


class ConnectionThread:
    """Hops to the thread of one connection, each of which can be interrupted.

    The only place that knows how aiosqlite hands work to its thread.

    Attributes:
        raw: aiosqlite's connection.
        file: The file's path as SQLite knows it, links resolved.
        log: What keeps the file's log short and is told of its size, or None.
        is_query_only: Whether SQLite refuses writes, None where that is not known;
            the connections of the pool that share the thread, one after the
            other, keep it true.
    """

    def __init__(self, raw: Any) -> None:
        raw._thread.daemon = True  # noqa: SLF001 - an unclosed file must not keep the process alive
        self.raw = raw
        self.file = ""
        self.log: LogKeeper | None = None
        self.is_query_only: bool | None = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._job: Job | None = None
        self._is_closed = False

    @property
    def connection(self) -> sqlite3.Connection:
        """Return the connection, for use on its thread."""
        connection: sqlite3.Connection = self.raw._conn  # noqa: SLF001 - see the class
        return connection

    @property
    def is_closed(self) -> bool:
        """Tell whether no hop is possible any more."""
        return self._is_closed

    @property
    def in_transaction(self) -> bool:
        """Tell whether SQLite has a transaction open."""
        return not self._is_closed and self.connection.in_transaction

    async def open(self) -> None:
        """Start the thread and open the file on it; refused, wait for the thread's end.

        aiosqlite has the thread tell the loop of its end, which would fail,
        with a traceback, in one that is closed by then.
        """
        self._loop = asyncio.get_running_loop()
        try:
            await self.raw
        except BaseException:
            patience_ends = time.monotonic() + _ENDING_S
            while self.raw._thread.is_alive() and time.monotonic() < patience_ends:  # noqa: ASYNC110, SLF001 - it sets no event; see the class
                await asyncio.sleep(_ENDING_STEP_S)
            raise

    async def hop(
        self, function: Callable[..., Any], *arguments: Any, timeout_s: float | None = None
    ) -> Any:
        """Call ``function(job, *arguments)`` on the thread.

        A caller that is cancelled leaves the job running; :meth:`close` ends it.

        Args:
            function: What to call; its first argument is its job.
            arguments: Further arguments.
            timeout_s: When to interrupt it.
        """
        log = self.log
        job = self._job = Job(function, arguments, None if log is None else log.measure)
        if timeout_s is None:
            await self.raw._execute(job)  # noqa: SLF001 - see the class
        else:
            timer = asyncio.get_running_loop().call_later(timeout_s, self._interrupt, job)
            try:
                await self.raw._execute(job)  # noqa: SLF001 - as above
            finally:
                timer.cancel()
        if log is not None and job.log_bytes:
            log.note(job.log_bytes)
        return job.result

    def start(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        then: Callable[[BaseException | None], None],
        deliver: Callable[[Callable[[], None], asyncio.AbstractEventLoop], None],
        timeout_s: float | None = None,
    ) -> None:
        """Do as :meth:`hop` does, and have the loop call ``then`` instead of waiting.

        Args:
            function: What to call; its first argument is its job.
            arguments: Further arguments.
            then: Called on the loop, with what ``function`` raised, or None.
            deliver: Has a loop call something, from the thread.
            timeout_s: When to interrupt it.
        """
        loop, log = asyncio.get_running_loop(), self.log
        job = self._job = Job(function, arguments, None if log is None else log.measure)
        timer = None if timeout_s is None else loop.call_later(timeout_s, self._interrupt, job)

        def ended(error: BaseException | None) -> None:
            if timer is not None:
                timer.cancel()
            if log is not None and job.log_bytes:
                log.note(job.log_bytes)
            then(error)

        def run() -> None:
            failure: BaseException | None = None
            try:
                job()
            except BaseException as error:  # noqa: BLE001 - handed to the loop
                failure = error
            deliver(partial(ended, failure), loop)

        self.post(run)

    def post(self, function: Callable[[], Any]) -> None:
        """Have the thread call ``function``, which reports by itself; wait for nothing."""
        self.raw._tx.put_nowait((None, function))  # noqa: SLF001 - see the class

    def interrupt(self) -> None:
        """Stop what runs, if anything does."""
        if self._job is not None:
            self._interrupt(self._job)

    def _interrupt(self, job: Job) -> None:
        """Stop a job wherever it is; again until it has ended."""
        if job.done:
            return
        job.stopped = True  # this one; another may have been sent after it, to clean up
        self.connection.interrupt()
        asyncio.get_running_loop().call_later(_INTERRUPT_AGAIN_S, self._interrupt, job)

    async def reset(self, streams: Iterable[Call]) -> None:
        """Interrupt what runs and roll back; the connection stays of use."""
        self.interrupt()
        if await self._answers():
            await self.raw._execute(Job(abandon, (self.connection, streams)))  # noqa: SLF001 - as above

    async def close(self, streams: Iterable[Call] = ()) -> None:
        """Interrupt what runs, roll back, close the file and end the thread."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            await self.reset(streams)
        finally:
            if self.raw._thread.is_alive():  # noqa: SLF001 - as above
                await self.raw.close()
            else:
                await asyncio.to_thread(self._close_without_thread)

    async def _answers(self) -> bool:
        """Tell whether the thread still runs: one that reports to a closed loop ends."""
        if self._loop is asyncio.get_running_loop():
            return True
        has_come = threading.Event()
        self.post(has_come.set)
        while self.raw._thread.is_alive() and not has_come.is_set():  # noqa: ASYNC110, SLF001 - as above
            await asyncio.sleep(_ENDING_STEP_S)
        return has_come.is_set()

    def _close_without_thread(self) -> None:
        if self._job is not None:
            self._job.done = True  # it never comes to it
        with suppress(sqlite3.ProgrammingError):  # a database in memory ends when it is forgotten
            self.connection.close()

    def reset_soon(self, streams: Iterable[Call]) -> None:
        """Do as :meth:`reset` does, without waiting for it; from any thread."""
        self._stop_job()
        self.post(Job(abandon, (self.connection, streams)))

    def close_soon(self) -> None:
        """Do as :meth:`close` does, without waiting for it; from any thread."""
        if not self._is_closed:
            self._is_closed = True
            self._stop_job()
            self.raw.stop()

    def _stop_job(self) -> None:
        if self._job is not None and not self._job.done:
            self._job.stopped = True
            self.connection.interrupt()
