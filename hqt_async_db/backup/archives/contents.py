"""What a snapshot holds, table by table: how many rows, and the hash of their text."""

from __future__ import annotations

import hashlib
from contextlib import aclosing
from typing import TYPE_CHECKING

from hqt_async_db.backup.formats.encode import has_text
from hqt_async_db.backup.manifest import TableEntry
from hqt_async_db.backup.progress import Progress
from hqt_async_db.backup.tables import text_of
from hqt_async_db.backup.threads import WorkThread
from hqt_async_db.errors import BackupVerificationError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping

    from hqt_async_db.backup.layout import Layout
    from hqt_async_db.backup.progress import ProgressCallback
    from hqt_async_db.backup.snapshot import Snapshot, TableQuery


class TableText:
    """The rows of a table as they are read, counted and hashed in a thread.

    Attributes:
        rows: How many were read.
    """

    def __init__(self, thread: WorkThread) -> None:
        self.rows = 0
        self._digest = hashlib.sha256()
        self._thread = thread

    @property
    def sha256(self) -> str:
        """Return the hash of all that was read."""
        return self._digest.hexdigest()

    async def blocks(self, view: Snapshot, query: TableQuery) -> AsyncGenerator[bytes, None]:
        """Yield the rows of a table as canonical JSON Lines."""
        async with aclosing(view.blocks(query, "jsonl")) as found:
            async for block in found:
                await self._thread.run(self._digest.update, block.content)
                self.rows += block.rows
                yield block.content

    async def read(
        self, view: Snapshot, query: TableQuery, progress: ProgressCallback | None = None
    ) -> None:
        """Read all rows of a table for the figures alone."""
        async with aclosing(self.blocks(view, query)) as blocks:
            async for _ in blocks:
                if progress is not None:
                    progress(Progress(query.table.name, self.rows, None))


async def entries_of(
    view: Snapshot,
    layout: Layout,
    progress: ProgressCallback | None = None,
    *,
    promised: Iterable[TableEntry] | None = None,
) -> tuple[TableEntry, ...]:
    """Count the rows of every table and, at the newest revision, hash them.

    A table of one's own is only counted where its values have no text, or where
    it has no key and its rows thus no order that is the same on every backend.

    Args:
        view: What to read.
        layout: Its schema.
        progress: Told how far it has come.
        promised: What it will be compared with: a table of one's own is only
            counted, too, where other columns of it were written.
    """
    texts = None if promised is None else {entry.table: entry.columns for entry in promised}
    async with WorkThread("hash") as thread:
        return tuple(
            [
                await _hashed(view, query, thread, progress)
                if layout.is_newest and _has_text(query, texts)
                else TableEntry(table=query.table.name, rows=await view.count(query.table))
                for query in layout.tables
            ]
        )


def _has_text(query: TableQuery, texts: Mapping[str, str | None] | None) -> bool:
    """Tell whether rows have a text, and the one that something else may have."""
    table, columns = query.table, query.columns
    if texts is not None and texts.get(table.name) != text_of(table, columns):
        return False
    return bool(table.primary_key.columns) and has_text(columns)


async def _hashed(
    view: Snapshot, query: TableQuery, thread: WorkThread, progress: ProgressCallback | None
) -> TableEntry:
    found = TableText(thread)
    await found.read(view, query, progress)
    columns = text_of(query.table, query.columns)
    return TableEntry(table=query.table.name, rows=found.rows, sha256=found.sha256, columns=columns)


def compare(found: Iterable[TableEntry], promised: Iterable[TableEntry], source: str) -> None:
    """Refuse contents that are not those of the manifest.

    Raises:
        BackupVerificationError: A table is missing, or has other rows.
    """
    by_name = {entry.table: entry for entry in found}
    for entry in promised:
        name, there = entry.table, by_name.pop(entry.table, None)
        if there is None or there.rows != entry.rows:
            count = "no such table" if there is None else f"{there.rows} rows"
            msg = f"{source}: {name} should have {entry.rows} rows; there is {count}"
            raise BackupVerificationError(msg)
        if entry.sha256 is not None and there.sha256 not in (None, entry.sha256):
            msg = f"{source}: the rows of {name} are not those that were written"
            raise BackupVerificationError(msg)
    # One without rows may be of a model that came later.
    if unnamed := sorted(name for name, there in by_name.items() if there.rows):
        msg = f"{source}: the manifest does not name {', '.join(unnamed)}"
        raise BackupVerificationError(msg)
