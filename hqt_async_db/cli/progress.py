"""Progress bars for people who wait."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import TaskID

    from hqt_async_db.backup import progress as backup
    from hqt_async_db.backup.progress import ProgressCallback


@contextmanager
def bars() -> Iterator[ProgressCallback]:
    """Show a bar per table or file while the block lasts; on a terminal only.

    They go to stderr, so that what a script reads stays clean.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.completed:,.0f} {task.fields[unit]}"),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as shown:

        def tell(progress: backup.Progress) -> None:
            if progress.table not in tasks:
                tasks[progress.table] = shown.add_task(
                    progress.table, total=progress.total, unit=progress.unit
                )
            shown.update(tasks[progress.table], completed=progress.rows, total=progress.total)

        yield tell
