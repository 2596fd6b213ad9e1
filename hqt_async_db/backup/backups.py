"""Backups: of a SQLite file, a PostgreSQL dump, or the portable archive."""

from __future__ import annotations

import logging
import secrets
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

from hqt_async_db.backup import names
from hqt_async_db.backup.archives.archive import write_archive
from hqt_async_db.backup.archives.contents import entries_of
from hqt_async_db.backup.files import PARTIAL, follow, new_file, path_of, publish, refused
from hqt_async_db.backup.formats.encode import Encoder
from hqt_async_db.backup.layout import layout_of, refuse_incomplete, refuse_older
from hqt_async_db.backup.manifest import Manifest, TableEntry, manifest_of_file
from hqt_async_db.backup.native.pg_dump import (
    export_snapshot,
    refuse_foreign_entries,
    server_version,
    write_dump,
)
from hqt_async_db.backup.native.pg_tools import find_tools
from hqt_async_db.backup.native.sqlite_files import remove_file
from hqt_async_db.backup.native.sqlite_snapshot import (
    copy_database_file,
    create,
    hash_synced,
    together,
)
from hqt_async_db.backup.snapshot import snapshot
from hqt_async_db.backup.threads import Stop, WorkThread
from hqt_async_db.connection.manager import DatabaseManager
from hqt_async_db.errors import InvalidInputError
from hqt_async_db.migrations.schema import State, refuse_predecessor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterable
    from pathlib import Path

    from sqlalchemy import URL

    from hqt_async_db.backup.export import AnyPath
    from hqt_async_db.backup.layout import ColumnName, Layout
    from hqt_async_db.backup.progress import ProgressCallback
    from hqt_async_db.connection.sessions.session import Session

BackupFormat = Literal["native", "archive"]

_log = logging.getLogger("hqt_async_db")

_EXTENSIONS: Final = {"sqlite": names.SQLITE, "postgresql": names.DUMP}


async def create_backup(
    url: str | URL | None,
    directory: AnyPath,
    *,
    format: BackupFormat | None = None,  # noqa: A002 - as in DatabaseBackup
    tools_dir: AnyPath | None = None,
    progress: ProgressCallback | None = None,
) -> Path:
    """Back up the database of a URL as :func:`backup_database` does."""
    async with DatabaseManager(url) as db:
        return await backup_database(
            db, directory, format=format, tools_dir=tools_dir, progress=progress
        )


async def backup_database(
    db: DatabaseManager,
    directory: AnyPath,
    *,
    format: BackupFormat | None = None,  # noqa: A002 - the word that users expect
    tools_dir: AnyPath | None = None,
    progress: ProgressCallback | None = None,
) -> Path:
    """Write everything the models' tables hold to a new file, while others go on writing.

    The backup is one snapshot. It appears under its name whole or not at all,
    with mode 0600, and replaces no file. ``native`` is a SQLite file, or what
    pg_dump writes, with a manifest beside it; the copy of a SQLite file also
    holds tables that are not ours, of which the others leave a warning in the
    log. ``archive`` is one file that any backend can be restored from.

    Args:
        db: The database.
        directory: Where; made with mode 0700 if it is missing.
        format: ``native``, ``archive``, or None: native where there is one
            (not on MySQL and MariaDB).
        tools_dir: Where pg_dump is; None looks in ``HQT_PG_BIN`` and on PATH.
        progress: Told how far it has come.

    Returns:
        ``hqt_backup_YYYYMMDD_HHMMSS[_N].db``, ``.dump`` or ``.zip``.

    Raises:
        InvalidInputError: ``format`` or ``directory`` cannot be used, or a
            column of one's own model has values without a text, which only
            the copy of a SQLite file can hold; names it.
        ConfigurationError: There is no pg_dump that fits the server.
        SchemaMismatchError: An archive is asked for, and the schema is not
            the newest. Or another one, and the database holds what no restore
            takes, such as a trigger or tables without a revision; names it.
        BackupVerificationError: The SQLite database is damaged, or a row of
            it refers to one that does not exist.
        StorageFullError: There is no space left.
        BackupError: The directory refuses the file, or pg_dump failed.
    """
    extension = _extension(db, format)
    at = datetime.now(UTC)
    async with _reserved(path_of(directory), extension, at) as path:
        if extension == names.ARCHIVE:
            await _archive(db, path, at, progress)
        elif extension == names.SQLITE:
            await _sqlite(db, path, at, progress=progress)
        else:
            await _dump(db, path, at, tools_dir, progress)
    return path


async def backup_memory(db: DatabaseManager, directory: Path, session: Session) -> Path:
    """Back up a SQLite database in memory by a session that has its one connection.

    The session must not have written to it yet.
    Raises what :func:`backup_database` does.
    """
    at = datetime.now(UTC)
    async with _reserved(directory, names.SQLITE, at) as path:
        await _sqlite(db, path, at, session)
    return path


def _extension(db: DatabaseManager, form: str | None) -> str:
    native = _EXTENSIONS.get(db.dialect_name)
    if form not in (None, "native", "archive"):
        msg = "format is native, archive, or None for what suits the database"
        raise InvalidInputError(msg, field="format")
    if form == "native" and native is None:
        msg = f"there is no native backup of {db.dialect_name}; use the portable archive"
        raise InvalidInputError(msg, field="format")
    return names.ARCHIVE if form == "archive" or native is None else native


@asynccontextmanager
async def _reserved(directory: Path, extension: str, at: datetime) -> AsyncIterator[Path]:
    """Lend a free name, which nobody else takes meanwhile."""
    async with (
        WorkThread("names") as thread,
        thread.lending(_make_and_reserve, directory, extension, at) as reservation,
    ):
        yield reservation.path


def _make_and_reserve(directory: Path, extension: str, at: datetime) -> names.Reservation:
    with refused(directory):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return names.reserve(directory, extension, at)


async def _archive(
    db: DatabaseManager, path: Path, at: datetime, progress: ProgressCallback | None
) -> None:
    async with snapshot(db) as view:
        layout = await layout_of(view)
        refuse_older(layout, "upgrade before an archive, or use the backup of the backend itself")
        _warn_of_others(layout, layout.further)

        def describe(tables: tuple[TableEntry, ...]) -> bytes:
            return Manifest(
                kind=names.ARCHIVE_KIND,
                backend=db.dialect_name,
                revision=layout.revision,
                tables=tables,
                file=path.name,
                created_at=at,
            ).to_bytes()

        async with new_file(path, overwrite=False) as file:
            await write_archive(view, layout.tables, file, describe=describe, progress=progress)


async def _sqlite(
    db: DatabaseManager,
    path: Path,
    at: datetime,
    session: Session | None = None,
    progress: ProgressCallback | None = None,
) -> None:
    async with _partial(path) as partial:
        copy = await copy_database_file(db, partial, session, progress)
        _refuse_unstamped(db, copy.contents.revision, [one.table for one in copy.contents.tables])
        manifest = Manifest(
            kind=names.SQLITE_KIND,
            backend=db.dialect_name,
            revision=copy.contents.revision,
            tables=copy.contents.tables,
            file=path.name,
            sha256=copy.sha256,
            created_at=at,
        )
        await _publish(partial, path, manifest)


async def _dump(
    db: DatabaseManager,
    path: Path,
    at: datetime,
    tools_dir: AnyPath | None,
    progress: ProgressCallback | None,
) -> None:
    async with snapshot(db) as view, _partial(path) as partial:
        tools = await find_tools(db, await server_version(view), tools_dir)
        layout = await layout_of(view)
        refuse_incomplete(layout)
        for query in layout.tables:
            Encoder(query.columns, "jsonl")  # a restore reads the rows as text
        _warn_of_others(layout)
        tables = [query.table.name for query in layout.tables]
        _refuse_unstamped(db, layout.revision, tables)
        identifier, schema = await export_snapshot(view)
        stop = Stop()
        async with WorkThread("dump") as thread:
            await thread.run(create, partial)
            entries, *_ = await together(
                entries_of(view, layout, progress),
                _and_stop(stop, write_dump(schema, identifier, partial, tables, tools)),
                thread.run_until(stop, follow, partial, stop),
            )
        await refuse_foreign_entries(partial, tools)
        manifest = Manifest(
            kind=names.DUMP_KIND,
            backend=db.dialect_name,
            revision=layout.revision,
            tables=entries,
            file=path.name,
            sha256=await hash_synced(partial),
            created_at=at,
        )
        await _publish(partial, path, manifest)


async def _and_stop(stop: Stop, work: Awaitable[None]) -> None:
    """Do a work, and end what goes on beside it as long."""
    try:
        await work
    finally:
        stop.set()


def _warn_of_others(layout: Layout, columns: Iterable[ColumnName] = ()) -> None:
    """Say in the log which tables and columns will not be in the backup."""
    if others := [*layout.others, *map(str, columns)]:
        what = ", ".join(others)
        _log.warning("the backup leaves out what is of no model imported here: %s", what)


def _refuse_unstamped(db: DatabaseManager, revision: str | None, tables: Iterable[str]) -> None:
    """Refuse what no restore knows how to upgrade.

    Raises:
        SchemaMismatchError: There are tables of ours, and no revision.
    """
    refuse_predecessor(State(revision, frozenset(tables)), db.dialect_name)


@asynccontextmanager
async def _partial(path: Path) -> AsyncIterator[Path]:
    """Lend the name of a file on its way, of which nothing stays behind."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    async with WorkThread("partial") as thread:
        try:
            yield partial
        finally:
            await thread.run(remove_file, partial)


async def _publish(partial: Path, path: Path, manifest: Manifest) -> None:
    """Give a synced file its name; its manifest has one before."""
    beside = manifest_of_file(path)
    async with WorkThread("publish") as thread:
        try:
            # Overwritten is only that of a backup that was deleted by hand.
            async with new_file(beside, overwrite=True) as file:
                await file.write(manifest.to_bytes())
            with refused(path):
                await thread.run(publish, partial, path, overwrite=False)
        except BaseException:
            await thread.run(_unless_published, path, beside)
            raise


def _unless_published(path: Path, manifest: Path) -> None:
    """Delete the manifest of a backup that did not come to be."""
    if not path.exists():
        manifest.unlink(missing_ok=True)
