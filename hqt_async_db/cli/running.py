"""Run a coroutine for a command, with a database or without."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from hqt_async_db.connection import urls
from hqt_async_db.connection.backends.sqlite.locations import path_of
from hqt_async_db.connection.manager import DatabaseManager
from hqt_async_db.connection.translation.translate import translated
from hqt_async_db.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

# Windows has no SIGHUP.
_ENDING: Final = [getattr(signal, n) for n in ("SIGTERM", "SIGHUP") if hasattr(signal, n)]


def run_with(
    work: Callable[[DatabaseManager], Awaitable[T]],
    url: str | None,
    *,
    may_create: bool = False,
) -> T:
    """Return what ``work`` returns, given the database of ``url``.

    Args:
        work: What the command does.
        url: The database.
        may_create: Whether a SQLite file that is not there is made.
    """

    async def opened() -> T:
        async with DatabaseManager(url) as db:
            if not may_create:
                await asyncio.to_thread(refuse_missing, url)
            with translated():
                return await work(db)

    return run(opened)


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Return what ``work`` returns; Ctrl-C, SIGTERM and a terminal that is gone cancel it.

    It has then ended, and cleaned up behind it, before the command does.
    """
    with asyncio.Runner() as runner:
        runner.get_loop()  # it takes a moment, in which Ctrl-C must find no coroutine
        return runner.run(_cancelled_by_signals(work))


async def _cancelled_by_signals(work: Callable[[], Awaitable[T]]) -> T:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a runner started it
    with contextlib.suppress(NotImplementedError, RuntimeError):  # not in a thread
        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await work()


def refuse_missing(url: str | None) -> None:
    """Refuse a SQLite file that is not there: SQLite would make an empty one.

    Raises:
        ConfigurationError: There is no such file.
    """
    path = missing_file(url)
    if path is not None:
        msg = f"there is no database file {path}; hqt-db init makes one"
        raise ConfigurationError(msg)


def missing_file(url: str | None) -> str | None:
    """Return the path of a SQLite file that is not there, None for any other database.

    Raises:
        ConfigurationError: The URL is none.
    """
    target = urls.resolve(url)
    if target.backend != "sqlite" or target.is_memory:
        return None
    path = path_of(str(target.url.database))
    return path if path is not None and not Path(path).exists() else None
