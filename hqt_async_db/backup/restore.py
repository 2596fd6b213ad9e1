"""Restore a backup: the old data or the new, whole, whatever happens meanwhile."""

from __future__ import annotations

import logging
import math
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import column, table

from hqt_async_db import migrations
from hqt_async_db.backup.archives.archive_reader import open_archive
from hqt_async_db.backup.backups import backup_database, backup_memory
from hqt_async_db.backup.files import path_of
from hqt_async_db.backup.formats.reading import read_json_lines
from hqt_async_db.backup.layout import layout_of
from hqt_async_db.backup.loading.load import TableSource, load
from hqt_async_db.backup.native import sqlite_files
from hqt_async_db.backup.native.scratch import SCRATCH_FILE
from hqt_async_db.backup.native.sqlite_overwrite import overwrite
from hqt_async_db.backup.restoring import manifest_for, refuse_other_revision, restored
from hqt_async_db.backup.snapshot import Snapshot, snapshot
from hqt_async_db.backup.tables import refuse_unknown
from hqt_async_db.connection.backends.sqlite.gate import gate_of
from hqt_async_db.errors import (
    BackupError,
    BackupVerificationError,
    HqtDbError,
    ImportDataError,
    InvalidInputError,
    NotADatabaseError,
    SchemaMismatchError,
)

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Callable,
        Iterator,
        Mapping,
        Sequence,
    )
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from sqlalchemy import Dialect

    from hqt_async_db.backup.backups import BackupFormat
    from hqt_async_db.backup.export import AnyPath
    from hqt_async_db.backup.formats.rows import RowReader
    from hqt_async_db.backup.layout import Layout
    from hqt_async_db.backup.progress import ProgressCallback
    from hqt_async_db.backup.restoring import Restored
    from hqt_async_db.backup.snapshot import TableQuery
    from hqt_async_db.connection.manager import DatabaseManager
    from hqt_async_db.connection.sessions.session import Session

_SHOWN: Final = 200  # letters of names in an error

_log = logging.getLogger("hqt_async_db")


@dataclass(frozen=True, slots=True)
class RestoredBackup:
    """What a restore did.

    Attributes:
        path: The backup whose data the database holds now.
        safety_backup: What it held before; None if it was empty.
        rows: The number of rows by table.
    """

    path: Path
    safety_backup: Path | None
    rows: Mapping[str, int]


async def restore_database(  # noqa: PLR0913 - every option is offered by name
    db: DatabaseManager,
    path: AnyPath,
    *,
    confirm: bool = False,
    timeout_s: float = 30.0,
    tools_dir: AnyPath | None = None,
    progress: ProgressCallback | None = None,
) -> RestoredBackup:
    """Replace all rows of the database with those of a backup.

    The backup is verified, writers are waited for and kept out, what the database
    holds is backed up beside the backup, and everything is replaced in one
    transaction: readers keep what they see until they read anew, and after a crash
    the database is the old one or the new one. Other processes are kept out of a
    SQLite file by the transaction only: stop them, or what they write after the
    backup of it is lost.

    A SQLite file is replaced as a whole; the log names the tables that are in the
    backup of what was replaced alone. Elsewhere the rows of the models' tables are,
    if no rows of other tables refer to them.

    The application's own models may have had other columns then. The copy of a
    SQLite file brings its tables back into a file as they were, to be migrated
    again, as the log says. Else come the columns that both have. Those that the
    backup lacks get their defaults; those that no model has any more may hold
    nothing but NULL, in the backup and, unless it is SQLite, in the database.

    A SQLite file or an archive may come from anybody. What pg_dump wrote is
    code, which pg_restore runs in a scratch database with all rights of the
    account: restore only what nobody else can have written to.

    Args:
        db: The database; an empty one gets its schema.
        path: The backup: a SQLite file or an archive for any database, what
            pg_dump wrote for PostgreSQL.
        confirm: Must be True.
        timeout_s: How long to wait for writers of a SQLite file.
        tools_dir: Where pg_restore is; None looks in ``HQT_PG_BIN`` and on PATH.
        progress: Told how far it has come.

    Raises:
        InvalidInputError: ``confirm`` was not given, or the path or the timeout
            cannot be used.
        BackupVerificationError: The backup is damaged, or holds what no
            backup of ours does; nothing was changed.
        BackupError: It is no backup of ours or of a newer version, or the
            SQLite file to be replaced is damaged, so that it cannot be backed
            up first; says what to do then. Or rows of tables that are of no
            model refer to what would be replaced.
        ImportDataError: The database cannot hold a value, such as NaN outside
            of PostgreSQL, or a model of one's own does not take a row any
            more; names table, row and column.
        SchemaMismatchError: The database is at another revision, lacks columns
            of one's own models, or has values in columns of none.
        DatabaseLockedError: A writer did not end in time.
    """
    if confirm is not True:
        msg = "restore_database replaces all rows; pass confirm=True if you mean it"
        raise InvalidInputError(msg, field="confirm")
    _require_seconds(timeout_s)
    path = path_of(path)
    live = sqlite_files.file_of(db) if db.engine.dialect.driver == "hqt" else None
    manifest = await manifest_for(path)
    if manifest is None and live is None:
        return await _from_archive(db, path, progress)
    async with restored(path, db, tools_dir=tools_dir, progress=progress) as found:
        await found.verify(progress)
        await found.upgrade()
        if live is None:
            return await _from_scratch(db, found, progress)
        return await _into_file(db, found, live, timeout_s, progress)


def _require_seconds(timeout_s: Any) -> None:
    """Refuse what no deadline can be made of; 0 is not to wait."""
    is_number = isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool)
    if not is_number or not math.isfinite(timeout_s) or timeout_s < 0:
        msg = "timeout_s must be a number of seconds, at least 0"
        raise InvalidInputError(msg, field="timeout_s")


async def _make_ready(db: DatabaseManager) -> None:
    """Give an empty database its schema.

    Raises:
        SchemaMismatchError: Its schema is not the newest, or lacks columns.
    """
    async with db.session() as session:
        layout = await layout_of(Snapshot(session))
    if layout.revision is None and not layout.tables:
        await db.create_all()
    elif not layout.is_newest:
        msg = f"the database is at revision {layout.revision}; upgrade it before the restore"
        raise SchemaMismatchError(msg)
    elif layout.missing:
        missing = ", ".join(layout.missing)[:_SHOWN]
        msg = f"the database lacks what its models have: {missing}; migrate it before the restore"
        raise SchemaMismatchError(msg)


async def _is_worth_a_backup(session: Session) -> bool:
    """Tell whether a database holds what a restore replaces.

    Raises:
        SchemaMismatchError: It is a file of another application.
    """
    view = Snapshot(session)
    layout = await layout_of(view)
    is_empty = not any([await view.count(query.table) for query in layout.tables])
    # Of a file nothing stays, of a server's database all but the models' rows.
    is_replaced_whole = session.get_bind().dialect.name == "sqlite"
    if is_replaced_whole and layout.others and layout.revision is None and not layout.tables:
        names = ", ".join(layout.others)[:_SHOWN]
        msg = f"it has tables of something else ({names}); is it the right file"
        raise SchemaMismatchError(msg)
    return not is_empty or (is_replaced_whole and bool(layout.others))


async def _back_up(db: DatabaseManager, path: Path, *, snapshot: bool = True) -> Path | None:
    """Back up what is about to be replaced, beside the backup; None if it is empty."""
    async with db.session(snapshot=snapshot) as session:
        is_worth_it = await _is_worth_a_backup(session)
    # On PostgreSQL an archive needs no tool, and so nothing that may be missing now.
    form: BackupFormat = "native" if db.dialect_name == "sqlite" else "archive"
    return await backup_database(db, path.parent, format=form) if is_worth_it else None


async def _back_up_memory(db: DatabaseManager, path: Path, session: Session) -> Path | None:
    """Do the same for a database in memory, by the session that has its one connection."""
    is_worth_it = await _is_worth_a_backup(session)
    return await backup_memory(db, path.parent, session) if is_worth_it else None


async def _back_up_file(db: DatabaseManager, path: Path, live: str) -> Path | None:
    """Do the same for a SQLite file, which may be what the restore is to mend.

    Raises:
        BackupError: It cannot be read as a whole; says what to do.
    """
    try:
        # A reader would find no file where none is to be replaced.
        return await _back_up(db, path, snapshot=False)
    except (NotADatabaseError, BackupVerificationError, SchemaMismatchError) as error:
        msg = (
            f"the database that is to be replaced cannot be backed up first: {error}. The backup "
            f"to be restored is whole. End every program that uses {live}, move it away together "
            f"with {live}-wal and {live}-shm, which keeps what they hold, and restore again"
        )
        raise BackupError(msg) from error


@contextmanager
def _told_of(safety: Callable[[], Path | None]) -> Iterator[None]:
    """Note on an error that there is a safety backup, and where."""
    try:
        yield
    except HqtDbError as error:
        if (path := safety()) is not None:
            error.add_note(f"the backup of what the database holds stays, too: {path}")
        raise


async def _load(
    db: DatabaseManager,
    path: Path,
    sources: Sequence[TableSource],
    progress: ProgressCallback | None,
) -> RestoredBackup:
    """Replace all rows in one transaction; those that are there are backed up in it first."""
    safety: Path | None = None
    is_in_memory = db.dialect_name == "sqlite" and sqlite_files.file_of(db) is None

    async def keep(session: Session) -> None:
        nonlocal safety
        if is_in_memory:
            safety = await _back_up_memory(db, path, session)
        else:
            if db.dialect_name != "sqlite":  # where the file is backed up as a whole
                await _refuse_unkept(session)
            safety = await _back_up(db, path)

    with _told_of(lambda: safety):
        rows = await load(db, sources, mode="restore", progress=progress, when_locked=keep)
    return RestoredBackup(path, safety, rows)


async def _from_archive(
    db: DatabaseManager, path: Path, progress: ProgressCallback | None
) -> RestoredBackup:
    """Load an archive whose every byte was looked at; each table is compared once more."""
    async with open_archive(path) as archive:
        await _make_ready(db)
        refuse_other_revision(archive.manifest, await migrations.current(db), path)
        return await _load(db, path, archive.sources(db.engine.dialect), progress)


async def _from_scratch(
    db: DatabaseManager, found: Restored, progress: ProgressCallback | None
) -> RestoredBackup:
    """Load the rows of the scratch database, so that nothing else of it comes along."""
    refuse_unknown(found.manifest, found.path)
    await _make_ready(db)
    async with snapshot(found.db) as view:
        layout = await layout_of(view)
        await _refuse_loss(view, layout, found.path)
        dialect = db.engine.dialect
        sources = [
            _source(view, query, dialect, await view.count(query.table)) for query in layout.tables
        ]
        return await _load(db, found.path, sources, progress)


async def _refuse_loss(view: Snapshot, layout: Layout, path: Path) -> None:
    """Refuse values of a backup in columns that no model has any more.

    Raises:
        ImportDataError: There are some; names the columns.
    """
    if lost := await _columns_with_values(view, layout):
        msg = (
            f"{path} has values in columns that no model here has: {lost}; "
            "restore it with a version of the application that has the columns"
        )
        raise ImportDataError(msg, source=path.name)


async def _refuse_unkept(session: Session) -> None:
    """Refuse to delete values that the archive of what is replaced would not hold.

    Raises:
        SchemaMismatchError: There are some; names the columns.
    """
    view = Snapshot(session)
    if lost := await _columns_with_values(view, await layout_of(view)):
        msg = (
            f"the database has values in columns that no model here has: {lost}; they would be "
            "deleted, and the backup that is taken before cannot hold them. Drop the columns, or "
            "restore with a version of the application that has them"
        )
        raise SchemaMismatchError(msg)


async def _columns_with_values(view: Snapshot, layout: Layout) -> str:
    """Return the names of columns that are not in the models and hold more than NULL."""
    found = []
    for one in layout.further:
        has_value = column(one.name).is_not(None)
        if await view.count(table(one.table), [has_value]):
            found.append(str(one))
    return ", ".join(found)[:_SHOWN]


async def _into_file(
    db: DatabaseManager,
    found: Restored,
    live: str,
    timeout_s: float,
    progress: ProgressCallback | None,
) -> RestoredBackup:
    """Overwrite a SQLite file with the scratch database, once no writer is at work."""
    async with snapshot(found.db) as view:
        layout = await layout_of(view)
    await found.db.dispose()
    async with _alone(live, timeout_s):
        safety = await _back_up_file(db, found.path, live)
        with _told_of(lambda: safety):
            others = [] if safety is None else await _others_in(db)
            await overwrite(found.directory / SCRATCH_FILE, live, timeout_s, progress)
    if unlike := [*layout.missing, *map(str, layout.further)]:
        what = ", ".join(unlike)
        _log.warning("tables came back as they were, and have to be migrated again: %s", what)
    if gone := [name for name in others if name not in layout.others]:
        what = ", ".join(gone)
        _log.warning("tables that the backup has not are in %s alone by now: %s", safety, what)
    rows = {entry.table: entry.rows for entry in found.manifest.tables}
    return RestoredBackup(found.path, safety, rows)


async def _others_in(db: DatabaseManager) -> Sequence[str]:
    """Return the names of the tables that are of no model."""
    async with db.session(read_only=True) as session:
        return (await layout_of(Snapshot(session))).others


def _source(view: Snapshot, query: TableQuery, dialect: Dialect, total: int) -> TableSource:
    target = query.table

    def rows() -> AbstractAsyncContextManager[RowReader]:
        return read_json_lines(_lines(view, query), target, target.name, dialect)

    return TableSource(target, rows, target.name, total)


async def _lines(view: Snapshot, query: TableQuery) -> AsyncGenerator[bytes, None]:
    async with aclosing(view.blocks(query, "jsonl")) as blocks:
        async for block in blocks:
            yield block.content


@asynccontextmanager
async def _alone(live: str, timeout_s: float) -> AsyncIterator[None]:
    """Let no other writer of this process in: what it wrote would be in neither backup."""
    gate = gate_of(live)
    await gate.enter(timeout_s)
    try:
        yield
    finally:
        gate.leave()
