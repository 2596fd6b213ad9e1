"""What a snapshot holds, table by table: how many rows, and the hash of their text."""

from __future__ import annotations

import hashlib
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hqt_async_db.backup.formats.encode import has_text
from hqt_async_db.backup.manifest import TableEntry
from hqt_async_db.backup.progress import Progress
from hqt_async_db.backup.tables import all_tables, stored_columns
from hqt_async_db.backup.threads import WorkThread
from hqt_async_db.connection.translation.translate import translated
from hqt_async_db.errors import BackupVerificationError, SchemaMismatchError
from hqt_async_db.migrations.environment import VERSION_TABLE
from hqt_async_db.migrations.schema import read_state
from hqt_async_db.migrations.scripts import head_of, load_scripts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

    from sqlalchemy import Table

    from hqt_async_db.backup.progress import ProgressCallback
    from hqt_async_db.backup.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Layout:
    """The schema that a snapshot sees.

    Attributes:
        revision: What it was stamped with, None if it was not.
        tables: Those of the models that exist, those referenced first.
        is_newest: Whether its rows are what the models of this version say.
        others: Names of the tables that are of no model.
    """

    revision: str | None
    tables: Sequence[Table]
    is_newest: bool
    others: Sequence[str]


async def layout_of(view: Snapshot) -> Layout:
    """Return the schema that a snapshot sees."""
    scripts = await load_scripts()
    connection = await view.session.connection()
    with translated():
        state = await connection.run_sync(read_state)
    tables = [table for table in all_tables() if table.name in state.tables]
    others = state.tables - {table.name for table in tables} - {VERSION_TABLE}
    is_newest = state.revision == head_of(scripts)
    return Layout(state.revision, tables, is_newest, sorted(others))


def refuse_older(layout: Layout, way_out: str, *, whose: str = "the database") -> None:
    """Refuse a schema whose rows this version cannot name.

    Args:
        layout: The schema.
        way_out: What to do instead, for the error.
        whose: What to call it there.

    Raises:
        SchemaMismatchError: It is not the newest.
    """
    if not layout.is_newest:
        msg = f"{whose} is at revision {layout.revision or 'base'}, not at the newest; "
        raise SchemaMismatchError(msg + way_out)


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

    async def blocks(self, view: Snapshot, table: Table) -> AsyncGenerator[bytes, None]:
        """Yield the rows of a table as canonical JSON Lines."""
        async with aclosing(view.lines(table)) as found:
            async for block in found:
                await self._thread.run(self._digest.update, block.content)
                self.rows += block.rows
                yield block.content

    async def read(
        self, view: Snapshot, table: Table, progress: ProgressCallback | None = None
    ) -> None:
        """Read all rows of a table for the figures alone."""
        async with aclosing(self.blocks(view, table)) as blocks:
            async for _ in blocks:
                if progress is not None:
                    progress(Progress(table.name, self.rows, None))


async def entries_of(
    view: Snapshot, layout: Layout, progress: ProgressCallback | None = None
) -> tuple[TableEntry, ...]:
    """Count the rows of every table and, at the newest revision, hash them.

    A table of one's own is only counted where its values have no text, or where
    it has no key and its rows thus no order that is the same on every backend.
    """
    if not layout.is_newest:
        return tuple(
            [TableEntry(table=table.name, rows=await view.count(table)) for table in layout.tables]
        )
    async with WorkThread("hash") as thread:
        return tuple([await _entry(view, table, thread, progress) for table in layout.tables])


async def _entry(
    view: Snapshot, table: Table, thread: WorkThread, progress: ProgressCallback | None
) -> TableEntry:
    if not (table.primary_key.columns and has_text(stored_columns(table))):
        return TableEntry(table=table.name, rows=await view.count(table))
    found = TableText(thread)
    await found.read(view, table, progress)
    return TableEntry(table=table.name, rows=found.rows, sha256=found.sha256)


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
