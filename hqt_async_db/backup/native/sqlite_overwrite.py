"""A SQLite file in place of another one that is in use."""

from __future__ import annotations

import functools
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hqt_async_db.backup.progress import FileReport
from hqt_async_db.backup.threads import Stop, WorkThread
from hqt_async_db.connection.translation.translate import translated
from hqt_async_db.errors import DatabaseLockedError

if TYPE_CHECKING:
    from hqt_async_db.backup.progress import ProgressCallback

_PAGES: Final = 2000
_BUSY_S: Final = 0.02


async def overwrite(
    scratch: Path, live: str, timeout_s: float, progress: ProgressCallback | None = None
) -> None:
    """Put a SQLite file in place of a live one, in one transaction of the live one.

    Args:
        scratch: The file, which is of no use afterwards.
        live: The live one, made where it is missing.
        timeout_s: How long to wait for other processes that write to it.
        progress: Told of the pages that are copied, but for the last.

    Raises:
        DatabaseLockedError: One of them did not end in time.
    """
    stop, report = Stop(), FileReport(Path(live).name, progress)
    async with WorkThread("restore") as thread:
        with translated():
            work = functools.partial(_copy, scratch, live, timeout_s, report, stop)
            await thread.run_until(stop, work)


def _copy(scratch: Path, live: str, timeout_s: float, report: FileReport, stop: Stop) -> None:
    deadline = time.monotonic() + timeout_s

    def go_on(status: int, left: int, total: int) -> None:
        if status == sqlite3.SQLITE_DONE:
            return  # it is committed; nobody can end it any more
        stop.check()
        report.at(total - left, total)
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > deadline:
            msg = f"another process has been writing to {live} for {timeout_s:g} s; try again"
            raise DatabaseLockedError(msg)

    with closing(_open(live)) as target, stop.interrupting(target):
        _have_same_pages(scratch, target)
        with closing(sqlite3.connect(scratch, isolation_level=None)) as source:
            source.backup(target, pages=_PAGES, progress=go_on, sleep=_BUSY_S)
        # Best effort: who still reads the old state keeps the log as long as he does.
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()


def _open(live: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        live, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
    )
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "mmap_size=0", "wal_autocheckpoint=0"):
        connection.execute(f"PRAGMA {pragma}").close()
    return connection


def _have_same_pages(scratch: Path, target: sqlite3.Connection) -> None:
    """Rewrite the scratch file if its pages have another size: a log has only one."""
    wanted = _pragma(target, "page_size")
    with closing(sqlite3.connect(scratch, isolation_level=None)) as source:
        source.execute("PRAGMA journal_mode=DELETE").close()
        if _pragma(source, "page_size") != wanted:
            source.execute(f"PRAGMA page_size={int(wanted)}").close()
            source.execute("VACUUM").close()


def _pragma(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]
