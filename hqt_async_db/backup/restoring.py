"""A backup restored into scratch: the one way in which its content is believed."""

from __future__ import annotations

import functools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from sqlalchemy import table

from hqt_async_db import migrations
from hqt_async_db.backup import names
from hqt_async_db.backup.archives.archive_reader import open_archive
from hqt_async_db.backup.archives.contents import compare, entries_of
from hqt_async_db.backup.formats.rows import UnfitForBackendError
from hqt_async_db.backup.layout import layout_of
from hqt_async_db.backup.loading.load import load
from hqt_async_db.backup.manifest import TableEntry
from hqt_async_db.backup.native.pg_dump import restore_dump, schema_of, server_version
from hqt_async_db.backup.native.pg_tools import find_tools
from hqt_async_db.backup.native.scratch import (
    SCRATCH_FILE,
    scratch_database,
    scratch_directory,
    scratch_file,
)
from hqt_async_db.backup.native.sqlite_hostile import refuse_unfit
from hqt_async_db.backup.native.sqlite_schema import make_schema, refuse_other_schema
from hqt_async_db.backup.snapshot import Snapshot, snapshot
from hqt_async_db.backup.tables import is_own
from hqt_async_db.backup.threads import Stop, WorkThread
from hqt_async_db.backup.untrusted import copy_verified, read_manifest
from hqt_async_db.connection.translation.translate import translated
from hqt_async_db.errors import (
    BackupError,
    BackupVerificationError,
    ImportDataError,
    IntegrityViolationError,
    SchemaMismatchError,
)
from hqt_async_db.migrations.scripts import head_of, load_scripts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from hqt_async_db.backup.export import AnyPath
    from hqt_async_db.backup.layout import Layout
    from hqt_async_db.backup.loading.load import TableSource
    from hqt_async_db.backup.manifest import Manifest
    from hqt_async_db.backup.progress import ProgressCallback
    from hqt_async_db.connection.manager import DatabaseManager


class Restored:
    """What a backup holds, in a database of its own.

    Attributes:
        path: The backup.
        manifest: What it promises to hold.
        db: The manager of the database.
        directory: The scratch directory.
    """

    def __init__(
        self, path: Path, manifest: Manifest, db: DatabaseManager, directory: Path
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.db = db
        self.directory = directory

    async def verify(self, progress: ProgressCallback | None = None) -> tuple[TableEntry, ...]:
        """Read every row, compare it with the manifest, and return what there is.

        Of a table of one's own that had other columns when it was written the
        rows are counted: the file is the one that was written, or an archive's
        lines were those that were.

        Raises:
            BackupVerificationError: It is not what was written.
        """
        async with snapshot(self.db) as view:
            layout = await layout_of(view)
            tables = self.manifest.tables
            entries = await entries_of(view, layout, progress, promised=tables)
            entries += await self._further_entries(view, layout)
        if layout.revision != self.manifest.revision:
            msg = f"{self.path}: the schema is not at the revision of the manifest"
            raise BackupVerificationError(msg)
        compare(entries, tables, str(self.path))
        return entries

    async def _further_entries(self, view: Snapshot, layout: Layout) -> tuple[TableEntry, ...]:
        """Count the rows of tables that the manifest names and no model here."""
        promised = {one.table for one in self.manifest.tables}
        names = [name for name in layout.others if name in promised]
        return tuple([TableEntry(table=name, rows=await view.count(table(name))) for name in names])

    async def upgrade(self) -> None:
        """Bring it to the newest schema; a SQLite file must then have exactly ours.

        Raises:
            BackupVerificationError: It is of a newer version, of no revision
                at all, or has other tables.
        """
        reason = ""
        try:
            await migrations.upgrade(self.db)
        except SchemaMismatchError as error:
            reason = str(error)
        if reason:
            msg = f"{self.path}: {reason}"
            raise BackupVerificationError(msg)
        if self.db.dialect_name == "sqlite":
            async with WorkThread("schema") as thread:
                file = self.directory / SCRATCH_FILE
                await thread.run(refuse_other_schema, file, self.path)


async def manifest_for(path: Path) -> Manifest | None:
    """Return the manifest beside a backup, None for an archive, which holds its own.

    Raises:
        BackupError: There is none.
    """
    async with WorkThread("manifest") as thread:
        if await thread.run(_is_archive, path):
            return None
        return await thread.run(read_manifest, path)


def _is_archive(path: Path) -> bool:
    return path.suffix == f".{names.ARCHIVE}"


@asynccontextmanager
async def restored(
    path: Path,
    db: DatabaseManager | None,
    *,
    tools_dir: AnyPath | None = None,
    progress: ProgressCallback | None = None,
) -> AsyncIterator[Restored]:
    """Restore a backup into a scratch database and lend it.

    Args:
        path: The backup.
        db: Its server takes what PostgreSQL dumped.
        tools_dir: Where pg_restore is.
        progress: Told of the rows of an archive.

    Raises:
        BackupVerificationError: It is damaged, or not what it promises.
        BackupError: It is no backup of ours, or cannot be restored here.
    """
    manifest = await manifest_for(path)
    async with scratch_directory() as directory:
        if manifest is None:
            way = _from_archive(path, directory, progress)
        elif manifest.kind == names.SQLITE_KIND:
            way = _from_file(path, manifest, directory)
        elif manifest.kind == names.DUMP_KIND:
            way = _from_dump(path, manifest, directory, db, tools_dir)
        else:
            msg = f"{path} is no backup, but {manifest.kind!r}; import it instead"
            raise BackupError(msg)
        async with way as found:
            yield found


@asynccontextmanager
async def _from_file(path: Path, manifest: Manifest, directory: Path) -> AsyncIterator[Restored]:
    copy, stop = directory / SCRATCH_FILE, Stop()
    async with WorkThread("restore", gives_way=True) as thread:
        await thread.run_until(stop, copy_verified, path, copy, manifest, stop)
        with translated():
            look = functools.partial(refuse_unfit, copy, path, manifest, stop)
            await thread.run_until(stop, look)
    async with scratch_file(directory) as scratch:
        yield Restored(path, manifest, scratch, directory)


@asynccontextmanager
async def _from_archive(
    path: Path, directory: Path, progress: ProgressCallback | None
) -> AsyncIterator[Restored]:
    revision = head_of(await load_scripts())
    async with WorkThread("schema") as thread:
        await thread.run(make_schema, directory / SCRATCH_FILE, revision)
    async with scratch_file(directory) as scratch:
        async with open_archive(path, directory) as archive:
            refuse_other_revision(archive.manifest, revision, path)
            sources = archive.sources(scratch.engine.dialect)
            try:
                await load(scratch, sources, mode="restore", progress=progress)
            except UnfitForBackendError as error:
                msg = f"{path}: it cannot be restored into SQLite: {error}"
                raise UnfitForSQLiteError(msg) from None
            except (ImportDataError, IntegrityViolationError) as error:
                if _is_of_own(error, sources):
                    msg = f"{path}: its rows do not fit a model that is imported here: {error}"
                    raise UnfitForModelError(msg) from None
                msg = f"{path}: its rows cannot be restored: {error}"
                raise BackupVerificationError(msg) from None
        yield Restored(path, archive.manifest, scratch, directory)


class UnfitForSQLiteError(BackupVerificationError):
    """An archive holds values that only another backend can hold."""


class UnfitForModelError(ImportDataError):
    """An archive holds rows that a model of the application's own does not take any more."""


def _is_of_own(
    error: ImportDataError | IntegrityViolationError, sources: Sequence[TableSource]
) -> bool:
    """Tell whether it was rows of a model of the application's own that were refused.

    They are those that were written. The model may be another one since then.
    """
    own = [source for source in sources if is_own(source.table)]
    if isinstance(error, ImportDataError):
        return error.source in {source.name for source in own}
    return error.table in {source.table.name for source in own}


def refuse_other_revision(manifest: Manifest, revision: str | None, path: Path) -> None:
    """Refuse an archive of another schema than that of this version.

    Raises:
        BackupError: It is of another.
    """
    if manifest.revision != revision:
        msg = (
            f"{path} is of revision {manifest.revision}, this version works with {revision}; "
            "restore it with the version that wrote it, into an empty database, and upgrade that"
        )
        raise BackupError(msg)


@asynccontextmanager
async def _from_dump(
    path: Path,
    manifest: Manifest,
    directory: Path,
    db: DatabaseManager | None,
    tools_dir: AnyPath | None,
) -> AsyncIterator[Restored]:
    if db is None or db.dialect_name != "postgresql":
        msg = f"{path} was made by pg_dump; it needs a manager of a PostgreSQL database"
        raise BackupError(msg)
    copy, stop = directory / "scratch.dump", Stop()
    async with WorkThread("restore", gives_way=True) as thread:
        await thread.run_until(stop, copy_verified, path, copy, manifest, stop)
    async with snapshot(db) as view:
        tools = await find_tools(db, await server_version(view), tools_dir)
        schema = await schema_of(view)
    async with scratch_database(db, schema) as scratch:
        await restore_dump(copy, path, tools, scratch, schema)
        yield Restored(path, manifest, scratch, directory)
