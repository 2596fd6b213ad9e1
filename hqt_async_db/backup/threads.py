"""File and CPU work off the event loop, ended before anybody goes on."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Protocol, Self, TypeVar

from hqt_async_db.connection import tasks

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Callable, Iterator

P = ParamSpec("P")
T = TypeVar("T")
ClosedT = TypeVar("ClosedT", bound="Closed")

# SQLite forgets an interrupt that comes before the statement has begun.
_STOP_AGAIN_S: Final = 0.005
# A third of the processor that others get. Less would keep the loop waiting longer where
# other processes take all of it: for a thread that has the GIL and does not get to run.
_NICER_THREAD: Final = 5
# A process has a GIL of its own, if any; a tenth.
_NICER_PROCESS: Final = 10


class Stopped(Exception):  # noqa: N818 - it ends work, and nobody but its thread sees it
    """The task that asked for this work was cancelled."""


class Stop:
    """Tells work in a thread that nobody waits for its result any more.

    Attributes:
        is_set: Whether it is told.
    """

    def __init__(self) -> None:
        self.is_set = False
        self._connections: list[sqlite3.Connection] = []

    def check(self) -> None:
        """End the work if it is to stop; between its pieces.

        Raises:
            Stopped: It is.
        """
        if self.is_set:
            raise Stopped

    def set(self) -> None:
        """Have the work stop, what SQLite does for it included."""
        self.is_set = True
        for connection in self._connections:
            connection.interrupt()

    @contextmanager
    def interrupting(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Interrupt the connection's statements, too, as long as the block lasts."""
        self._connections = [*self._connections, connection]
        try:
            yield
        finally:
            self._connections = [one for one in self._connections if one is not connection]


class Closed(Protocol):
    """What somebody has to close, as a file."""

    def close(self) -> object:
        """Let go of it; in the thread that made it."""


class WorkThread:
    """A thread that does one thing after the other, started at its first work.

    A cancelled caller waits until what its thread is at has ended, so pieces
    of work should be short: nobody closes a file that is still written to.

    Args:
        name: What it does, for whoever looks at the process.
        gives_way: Whether the system lets other threads go first. For work
            that hardly takes the GIL, whose threads would otherwise hold up
            the event loop for milliseconds where processors are few.
    """

    def __init__(self, name: str, *, gives_way: bool = False) -> None:
        prefix = f"hqt_async_db {name}"
        self._executor = ThreadPoolExecutor(1, prefix, _start_giving_way if gives_way else None)

    async def run(self, work: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
        """Return what ``work`` returns."""
        return await self._wait(functools.partial(work, *arguments, **keywords), None)

    async def run_until(
        self, stop: Stop, work: Callable[P, T], *arguments: P.args, **keywords: P.kwargs
    ) -> T:
        """Return what ``work`` returns; set ``stop`` if the caller is cancelled."""
        return await self._wait(functools.partial(work, *arguments, **keywords), stop)

    @asynccontextmanager
    async def lending(
        self, make: Callable[P, ClosedT], *arguments: P.args, **keywords: P.kwargs
    ) -> AsyncIterator[ClosedT]:
        """Lend what ``make`` returns, closed at the end, whoever is cancelled meanwhile."""
        # No task, which the end of the loop would cancel, and lose what is made.
        call = functools.partial(make, *arguments, **keywords)
        making = asyncio.get_running_loop().run_in_executor(self._executor, call)
        cancelled = await tasks.wait(making, None)
        if cancelled is not None and making.exception() is not None:
            raise cancelled
        made = making.result()
        try:
            if cancelled is not None:
                raise cancelled
            yield made
        finally:
            await self.run(made.close)

    async def _wait(self, call: Callable[[], T], stop: Stop | None) -> T:
        future = asyncio.get_running_loop().run_in_executor(self._executor, call)
        hasten = None if stop is None else functools.partial(_stop, future, stop)
        cancelled = await tasks.wait(future, None, hasten)
        if cancelled is not None:
            _retrieve(future)
            raise cancelled
        return future.result()

    async def __aenter__(self) -> Self:
        """Start nothing yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let the thread end; it has nothing left to do."""
        self._executor.shutdown(wait=False)


def give_way(process: int) -> None:
    """Have the system let others go before a process of ours; on Linux, elsewhere not."""
    _be_nicer(process, _NICER_PROCESS)


def _start_giving_way() -> None:
    _be_nicer(threading.get_native_id(), _NICER_THREAD)


def _be_nicer(number: int, by: int) -> None:
    if sys.platform == "linux":
        with suppress(OSError):
            now = os.getpriority(os.PRIO_PROCESS, number)
            os.setpriority(os.PRIO_PROCESS, number, now + by)


def _stop(future: asyncio.Future[Any], stop: Stop) -> None:
    """Ask for the end until it has come."""
    if not future.done():
        stop.set()
        asyncio.get_running_loop().call_later(_STOP_AGAIN_S, _stop, future, stop)


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Take out the exception that the cancellation goes before."""
    if not future.cancelled():
        future.exception()
