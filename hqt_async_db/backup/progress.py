"""How far a long piece of work has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_BETWEEN_REPORTS_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Progress:
    """What a progress callback is told, a few times a second at most.

    Attributes:
        table: The table at hand.
        rows: Rows of it that are done.
        total: Rows of it in all, None where that is not known.
    """

    table: str
    rows: int
    total: int | None


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
