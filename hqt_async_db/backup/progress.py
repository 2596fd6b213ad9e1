"""How far a long piece of work has come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

_BETWEEN_REPORTS_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Progress:
    """What a progress callback is told, a few times a second at most.

    Attributes:
        table: The table at hand, or the SQLite file that is copied as a whole.
        rows: Rows of it that are done; pages of a file.
        total: Rows of it in all, None where that is not known.
        unit: What is counted, ``rows`` or ``pages``.
    """

    table: str
    rows: int
    total: int | None
    unit: Literal["rows", "pages"] = "rows"


# Called on the event loop, so it must be quick; what it raises ends the work.
ProgressCallback = Callable[[Progress], object]


class Report:
    """Counts the rows of a table, and tells of them now and then.

    Args:
        table: Name of the table.
        total: Rows of it in all, if that is known.
        progress: Who is told, if anybody.

    Attributes:
        rows: Rows so far.
    """

    def __init__(self, table: str, total: int | None, progress: ProgressCallback | None) -> None:
        self.rows = 0
        self._table = table
        self._total = total
        self._progress = progress
        self._due = 0.0

    def add(self, rows: int) -> None:
        """Count some more rows."""
        self.rows += rows
        if self._progress is not None and (now := asyncio.get_running_loop().time()) >= self._due:
            self._due = now + _BETWEEN_REPORTS_S
            self._tell()

    def end(self) -> None:
        """Tell of all rows."""
        if self._progress is not None:
            self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(Progress(self._table, self.rows, self._total))


class FileReport:
    """Tells from a thread how many pages of a SQLite file are copied.

    Args:
        name: Name of the file.
        progress: Who is told on the running loop, if anybody.
    """

    def __init__(self, name: str, progress: ProgressCallback | None) -> None:
        self._name = name
        self._progress = progress
        self._loop = asyncio.get_running_loop()
        self._due = 0.0

    def at(self, pages: int, total: int) -> None:
        """Tell now and then, and of the last page; what the callback raises is raised here."""
        is_due = pages == total or time.monotonic() >= self._due
        if self._progress is None or not is_due or not total:  # none while it waits for a lock
            return
        told = asyncio.run_coroutine_threadsafe(self._tell(pages, total), self._loop)
        told.result()
        self._due = time.monotonic() + _BETWEEN_REPORTS_S

    async def _tell(self, pages: int, total: int) -> None:
        if self._progress is not None:
            self._progress(Progress(self._name, pages, total, "pages"))
