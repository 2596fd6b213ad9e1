"""Show that a backup can be restored, by restoring it into scratch."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hqt_async_db.backup import names
from hqt_async_db.backup.archives.archive_reader import open_archive
from hqt_async_db.backup.files import new_file, path_of, refused
from hqt_async_db.backup.prune import record_of
from hqt_async_db.backup.restoring import UnfitForModelError, UnfitForSQLiteError, restored
from hqt_async_db.backup.threads import WorkThread
from hqt_async_db.errors import BackupError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hqt_async_db.backup.export import AnyPath
    from hqt_async_db.backup.manifest import Manifest
    from hqt_async_db.backup.progress import ProgressCallback
    from hqt_async_db.connection.manager import DatabaseManager


@dataclass(frozen=True, slots=True)
class VerifiedBackup:
    """A backup that was restored into scratch and found to be what was written.

    Attributes:
        path: The backup.
        created_at: When its snapshot was taken.
        backend: The kind of database it is of.
        revision: The revision of its schema.
        rows: The number of rows by table.
        restored_into: ``sqlite`` or ``postgresql``; None where an archive
            holds what SQLite cannot, or what a model of the application's own
            does not take any more, so that its rows were read and compared
            but put into no database.
    """

    path: Path
    created_at: datetime
    backend: str
    revision: str | None
    rows: Mapping[str, int]
    restored_into: str | None


async def verify_backup(
    path: AnyPath,
    *,
    db: DatabaseManager | None = None,
    tools_dir: AnyPath | None = None,
    progress: ProgressCallback | None = None,
) -> VerifiedBackup:
    """Restore a backup into scratch, compare every row with its manifest, and upgrade it.

    What this takes, a restore takes, unless ``restored_into`` is None or a
    model of the application's own has other columns by now, which the restore
    then names.

    SQLite files and archives are restored into a temporary SQLite file, what
    pg_dump wrote into a temporary database on the server, for which the
    account needs CREATEDB, and where the SQL in it runs with all rights of the
    account: verify only what nobody else can have written to, or an archive.
    That it was verified is written down beside the backup, where
    :func:`prune_backups` looks, unless it was restored into no database.

    Args:
        path: The backup.
        db: A manager on the server; needed for what pg_dump wrote.
        tools_dir: Where pg_restore is.
        progress: Told how far it has come.

    Raises:
        InvalidInputError: The path is none.
        BackupVerificationError: It is damaged, or not what was written.
        BackupError: It is no backup of ours, or cannot be verified here.
    """
    path = path_of(path)
    try:
        async with restored(path, db, tools_dir=tools_dir, progress=progress) as found:
            tables = await found.verify(progress)
            await found.upgrade()
            into: str | None = found.db.dialect_name
            manifest = found.manifest
    except (UnfitForModelError, UnfitForSQLiteError) as error:
        into, manifest = None, await _read_only(path)
        if isinstance(error, UnfitForSQLiteError) and manifest.backend == "sqlite":
            raise
        tables = manifest.tables
    result = VerifiedBackup(
        path=path,
        created_at=manifest.created_at,
        backend=manifest.backend,
        revision=manifest.revision,
        rows={entry.table: entry.rows for entry in tables},
        restored_into=into,
    )
    if into is not None:  # figures alone do not show that the rows go together
        await _write_down(path)
    return result


async def _read_only(path: Path) -> Manifest:
    """Read every row of an archive and compare it with the manifest."""
    async with open_archive(path) as archive:
        for entry in archive.manifest.tables:
            async with contextlib.aclosing(archive.blocks(entry)) as blocks:
                async for _ in blocks:
                    pass
    return archive.manifest


async def _write_down(path: Path) -> None:
    """Write beside a backup that it was verified, if that is possible."""
    if names.BackupName.parse(path.name) is None:
        return
    # The directory may be one that is only read, and the backup deleted meanwhile.
    with contextlib.suppress(BackupError):
        async with WorkThread("record") as thread:
            with refused(path):
                record = await thread.run(record_of, path, datetime.now(UTC).isoformat())
        async with new_file(names.record_beside(path)) as file:
            await file.write(record)
