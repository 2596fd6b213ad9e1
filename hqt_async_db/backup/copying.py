"""A whole database into another one, of any two backends."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import exists, select

from hqt_async_db.backup.archives.contents import TableText
from hqt_async_db.backup.formats.reading import read_json_lines
from hqt_async_db.backup.layout import layout_of, refuse_older
from hqt_async_db.backup.loading.load import TableSource, load
from hqt_async_db.backup.snapshot import Snapshot, snapshot
from hqt_async_db.backup.tables import all_tables
from hqt_async_db.backup.threads import WorkThread
from hqt_async_db.connection.manager import DatabaseManager
from hqt_async_db.errors import BackupError, BackupVerificationError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy import URL, Dialect

    from hqt_async_db.backup.formats.rows import RowReader
    from hqt_async_db.backup.progress import ProgressCallback
    from hqt_async_db.backup.snapshot import TableQuery


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What was copied, and found to be the same in both databases.

    Attributes:
        tables: Rows of each table.
        sha256: Of each table's rows as JSON Lines; the same on every backend.
        left_out: Tables and columns of the source that are of no model imported here.
    """

    tables: dict[str, int]
    sha256: dict[str, str]
    left_out: list[str]

    @property
    def total_rows(self) -> int:
        """Return the rows of all tables."""
        return sum(self.tables.values())


async def copy_database(
    source: DatabaseManager | URL | str,
    target: DatabaseManager | URL | str,
    *,
    progress: ProgressCallback | None = None,
) -> CopyResult:
    """Copy every row of the models' tables into an empty database, and compare the two.

    The source is one snapshot; its writers go on meanwhile, and what they
    write is not copied. An empty target gets the schema first, which stays
    there. The rows go in by one transaction, and before it commits each table
    is read back and its rows and their SHA-256 are compared: after an error
    the target holds no row. Memory does not grow with the rows.

    Args:
        source: Manager or URL; its schema must be the newest.
        target: Manager or URL of another database, without rows.
        progress: Told how far it has come, table by table.

    Raises:
        BackupError: The target holds rows.
        BackupVerificationError: What arrived is not what was sent; names the
            tables. Nothing is committed.
        SchemaMismatchError: One of the schemas is not the newest.
        ImportDataError: The target cannot hold a value, such as NaN outside
            of PostgreSQL; names table, row and column.
    """
    async with _opened(source) as origin, _opened(target) as destination:
        if origin is destination:
            msg = "source and target are the same database"
            raise InvalidInputError(msg, field="target")
        async with snapshot(origin) as view, WorkThread("copy") as thread:
            layout = await layout_of(view)
            refuse_older(layout, "upgrade it first", whose="the source")
            await destination.create_all()
            await _require_empty(destination)
            copies = [
                _TableCopy(view, query, await view.count(query.table), thread)
                for query in layout.tables
            ]
            dialect = destination.engine.dialect
            await load(
                destination,
                [copy.source(dialect) for copy in copies],
                mode="append",
                progress=progress,
                before_commit=lambda session: _compare(copies, Snapshot(session)),
            )
    return CopyResult(
        {copy.table.name: copy.sent.rows for copy in copies},
        {copy.table.name: copy.sent.sha256 for copy in copies},
        [*layout.others, *map(str, layout.further)],
    )


@asynccontextmanager
async def _opened(database: DatabaseManager | URL | str) -> AsyncIterator[DatabaseManager]:
    """Lend a manager; one that was made for it is disposed at the end."""
    if isinstance(database, DatabaseManager):
        yield database
        return
    async with DatabaseManager(database) as db:
        yield db


async def _require_empty(db: DatabaseManager) -> None:
    async with db.session(read_only=True) as session:
        held = [
            table.name
            for table in all_tables()
            if await session.scalar(select(exists().select_from(table)))
        ]
    if held:
        msg = f"the target holds rows already, in {', '.join(held)}; copy into an empty database"
        raise BackupError(msg)


class _TableCopy:
    """One table on its way.

    Attributes:
        table: The table.
        sent: What was read of it for the target.
    """

    def __init__(self, view: Snapshot, query: TableQuery, total: int, thread: WorkThread) -> None:
        self.table = query.table
        self.sent = TableText(thread)
        self._view = view
        self._query = query
        self._total = total
        self._thread = thread

    def source(self, dialect: Dialect) -> TableSource:
        """Return the rows for the loader."""
        return TableSource(self.table, lambda: self._open(dialect), self.table.name, self._total)

    def _open(self, dialect: Dialect) -> AbstractAsyncContextManager[RowReader]:
        self.sent = TableText(self._thread)  # where the loader looks for a row, it reads again
        blocks = self.sent.blocks(self._view, self._query)
        return read_json_lines(blocks, self.table, self.table.name, dialect)

    async def difference(self, view: Snapshot) -> str | None:
        """Return in words how the table in another database differs, None if it does not."""
        found = TableText(self._thread)
        await found.read(view, self._query)
        if found.rows != self.sent.rows:
            return f"{self.table.name} has {found.rows} rows instead of {self.sent.rows}"
        if found.sha256 != self.sent.sha256:
            return f"{self.table.name} has other values"
        return None


async def _compare(copies: Sequence[_TableCopy], view: Snapshot) -> None:
    """Refuse to commit what is not the same.

    Raises:
        BackupVerificationError: Tables differ; names them all.
    """
    found = [difference for copy in copies if (difference := await copy.difference(view))]
    if found:
        msg = f"the copy is not what was sent, and was undone: {'; '.join(found)}"
        raise BackupVerificationError(msg)
