"""Lanes: the few connections to a file that all one-shot calls share.

To lend each call a connection of its own costs more than the call itself,
and many threads are in each other's way. So the calls queue up on one thread,
which answers those that wait together.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from hqt_async_db.connection import tasks
from hqt_async_db.connection.backends.direct import NoWayError
from hqt_async_db.connection.greenlets import spawn
from hqt_async_db.connection.ownership import disposed_meanwhile

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.pool import PoolProxiedConnection

    from hqt_async_db.connection.backends.sqlite.connection import HqtSQLiteConnection
    from hqt_async_db.connection.backends.sqlite.gate import WriteGate
    from hqt_async_db.connection.backends.sqlite.thread import ConnectionThread
    from hqt_async_db.connection.backends.sqlite.worker import Interruptible

# SQLite forgets an interrupt that comes before the statement has begun.
_INTERRUPT_AGAIN_S: Final = 0.005
# So long on one statement is long: it holds up nothing else any more.
LONG_S: Final = 0.002
# After these a new connection is due.
_BREAKING: Final = ("SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_READONLY_DBMOVED")


class Deliveries:
    """What threads have done, on its way to the loop: one wake-up for many.

    A loop that wakes up takes the GIL from the threads, which then wait to go
    on. So what is done waits for what follows, as long as that is not long;
    there is no timer here: somebody calls :meth:`deliver` if it is.
    """

    def __init__(self) -> None:
        self._done: deque[Callable[[], None]] = deque()
        self._is_due = False
        self._since = 0.0

    def put(
        self,
        deliver: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
        is_last: Callable[[], bool],
    ) -> None:
        """Have the loop call ``deliver``; for any thread.

        Args:
            deliver: What to call.
            loop: By whom.
            is_last: Tells whether no thread is about to put something. Asked
                only when ``deliver`` is in: who puts later takes it along.
        """
        self._done.append(deliver)
        if self._is_due:
            return
        now = time.monotonic()
        if len(self._done) == 1:
            self._since = now
        if now - self._since > LONG_S or is_last():
            self._is_due = True
            loop.call_soon_threadsafe(self.deliver)

    def deliver(self) -> None:
        """Call what there is; for the loop."""
        self._is_due = False
        while self._done:
            self._done.popleft()()


class Lane:
    """One connection that is kept for one-shot calls, beside those of the pool.

    Attributes:
        current: What its thread is doing, None for nothing.
        is_broken: Whether an error was such that a new connection is due.
    """

    def __init__(self, pooled: PoolProxiedConnection) -> None:
        self._pooled = pooled
        adapted: Any = pooled.dbapi_connection
        self._adapted: HqtSQLiteConnection = adapted
        self._sent = self._done = 0
        self._began = 0.0
        self.current: Interruptible | None = None
        self.is_broken = False

    @property
    def sqlite(self) -> sqlite3.Connection:
        """Return SQLite's connection, for use on its thread."""
        return self.thread.connection

    @property
    def thread(self) -> ConnectionThread:
        """Return its thread."""
        return self._adapted.thread

    @property
    def gate(self) -> WriteGate | None:
        """Return the gate of the file."""
        return self._adapted.gate

    @property
    def is_about_to_return(self) -> bool:
        """Tell whether the thread has something to do that is not long; from any thread."""
        return self._done != self._sent and not self._is_on_long

    @property
    def _is_on_long(self) -> bool:
        return self.current is not None and time.monotonic() - self._began >= LONG_S

    @property
    def _has_no_more(self) -> bool:
        """Tell whether to wait for what follows is in vain."""
        return self._done == self._sent or self.is_broken

    def send(
        self,
        job: Interruptible,
        work: Callable[[], None],
        returned: Callable[[], None],
        deliveries: Deliveries,
    ) -> None:
        """Have the thread do ``work`` for ``job``, and the loop call ``returned`` after that.

        Behind it a long statement may follow at once; so whoever sends has to
        see to it that what was done is delivered nevertheless.
        """
        loop = asyncio.get_running_loop()
        self._sent += 1

        def do() -> None:
            self._began = time.monotonic()
            self.current = job
            try:
                work()
            finally:
                self.current = None
                self._done += 1
                deliveries.put(returned, loop, lambda: self._has_no_more)

        self.thread.post(do)

    def interrupt(self, job: Interruptible) -> None:
        """Stop ``job`` if the thread is on it; again until it has ended."""
        job.stopped = True
        if job.done or self.current is not job or self.thread.is_closed:
            return
        self.sqlite.interrupt()
        asyncio.get_running_loop().call_later(_INTERRUPT_AGAIN_S, self.interrupt, job)

    def note(self, error: BaseException) -> None:
        """Look whether the connection is still of use after ``error``."""
        name = getattr(error, "sqlite_errorname", None) or ""
        self.is_broken = self.is_broken or name.startswith(_BREAKING)

    async def close(self) -> None:
        """Interrupt what runs, and close the connection."""
        await tasks.finish(spawn(self._pooled.invalidate), name="hqt_async_db close SQLite lane")


class LaneMaker:
    """Opens lanes, one at a time however many tasks ask at once.

    Args:
        engine: Whose pool tells how to make the connections.
        take: Takes each lane that was opened, whether or not the task that
            asked for it was cancelled meanwhile.
    """

    def __init__(self, engine: AsyncEngine, take: Callable[[Lane], None]) -> None:
        self._engine = engine
        self._take = take
        self._opening: asyncio.Task[Lane] | None = None
        self._is_closed = False

    async def lane(self) -> Lane:
        """Return the lane that is being opened.

        Raises:
            NoWayError: It cannot be opened; the next call tries again.
            DatabaseClosedError: The manager was disposed meanwhile.
        """
        if self._opening is None:
            self._opening = tasks.start(self._open(), name="hqt_async_db open SQLite lane")
            self._opening.add_done_callback(tasks.retrieve)  # who asked may be gone by then
        return await asyncio.shield(self._opening)

    async def close(self) -> None:
        """Open none any more."""
        self._is_closed = True
        if self._opening is not None and not self._opening.get_loop().is_closed():
            await asyncio.wait((self._opening,))

    async def _open(self) -> Lane:
        try:
            # A pool made only now has what listens to the engine's by now.
            lane = Lane(await spawn(self._engine.pool.recreate().connect))
        except Exception as error:
            raise NoWayError from error
        finally:
            self._opening = None
        if self._is_closed:
            await lane.close()
            raise disposed_meanwhile()
        self._take(lane)
        return lane
