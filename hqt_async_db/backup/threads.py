"""File and CPU work off the event loop, ended before anybody goes on."""

from __future__ import annotations

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from hqt_async_db.connection import tasks

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


class WorkThread:
    """A thread that does one thing after the other, started at its first work.

    A cancelled caller waits until what its thread is at has ended, so pieces
    of work should be short: nobody closes a file that is still written to.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"hqt_async_db {name}")

    async def run(self, work: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
        """Return what ``work`` returns."""
        call = functools.partial(work, *arguments, **keywords)
        future = asyncio.get_running_loop().run_in_executor(self._executor, call)
        cancelled = await tasks.wait(future, None)
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


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Take out the exception that the cancellation goes before."""
    if not future.cancelled():
        future.exception()
