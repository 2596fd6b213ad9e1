"""Old backups go; nothing else does."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from typing import TYPE_CHECKING, Any, Final

from hqt_async_db.backup import names
from hqt_async_db.backup.archives.archive import SEAL, SEAL_BYTES
from hqt_async_db.backup.files import path_of, refused, sync_directory
from hqt_async_db.backup.manifest import manifest_of_file
from hqt_async_db.backup.names import BackupName, Hold
from hqt_async_db.backup.threads import WorkThread
from hqt_async_db.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hqt_async_db.backup.export import AnyPath

_RECORD_BYTES: Final = 4096


async def prune_backups(directory: AnyPath, keep: int = 7) -> list[Path]:
    """Delete all but the newest backups of a directory.

    The newest backup that was verified stays, however many newer ones there
    are. Manifests go with their backups, and so does what a killed process
    left. What is being written meanwhile, and whatever is no backup of this
    library, is not touched.

    Args:
        directory: Where the backups are.
        keep: How many to keep, at least 1.

    Returns:
        The backups that were deleted, oldest first.

    Raises:
        InvalidInputError: ``keep`` is below 1, or the directory no path.
        BackupError: The directory cannot be read, or a file not deleted.
    """
    if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
        msg = "keep must be a whole number, at least 1"
        raise InvalidInputError(msg, field="keep")
    async with WorkThread("prune") as thread:
        return await thread.run(_prune, path_of(directory), keep)


def _prune(directory: Path, keep: int) -> list[Path]:
    with refused(directory):
        backups = [path for _, path in sorted(_backups(directory))]
        newest_verified = next((path for path in reversed(backups) if is_verified(path)), None)
        spared = {*backups[-keep:], newest_verified}
        deleted = [path for path in backups if path not in spared and _delete(path)]
        _delete_leftovers(directory)
        sync_directory(directory)
    return deleted


def _backups(directory: Path) -> Iterator[tuple[tuple[int, ...], Path]]:
    """Yield the complete backups of ours, each with what sorts them by age."""
    for file in _regular_files(directory):
        name = BackupName.parse(file)
        if name is not None and _is_ours(directory / file):
            yield name.order, directory / file


def _regular_files(directory: Path) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]


def _is_ours(path: Path) -> bool:
    """Tell a backup from a file that only has the name of one."""
    if path.suffix != f".{names.ARCHIVE}":
        return manifest_of_file(path).is_file()
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - SEAL_BYTES))
        return file.read().startswith(SEAL)


def _delete(path: Path) -> bool:
    """Delete a backup with what belongs to it, unless somebody works on it."""
    hold = Hold.take(path.parent, path.stem)
    if hold is None:
        return False
    try:
        # The backup first: what is left of a deletion is then no backup any more.
        for doomed in (path, names.record_beside(path), manifest_of_file(path)):
            doomed.unlink(missing_ok=True)
    finally:
        hold.release()
    return True


def _delete_leftovers(directory: Path) -> None:
    """Delete manifests without their backup, and what was never finished."""
    for name in _regular_files(directory):
        stem = names.stem_of_partial(name)
        backup = names.backup_beside(name)
        if stem is None and backup is not None and not os.path.lexists(directory / backup):
            stem = backup.partition(".")[0]
        hold = None if stem is None else Hold.take(directory, stem)
        if hold is None:
            continue
        try:
            if backup is None or not os.path.lexists(directory / backup):
                (directory / name).unlink(missing_ok=True)
        finally:
            hold.release()


def record_of(path: Path, at: str) -> bytes:
    """Return what is written down about a backup that was verified."""
    found = path.lstat()
    facts = {"name": path.name, "size": found.st_size, "modified_ns": found.st_mtime_ns}
    return (json.dumps(facts | {"verified_at": at}) + "\n").encode()


def is_verified(path: Path) -> bool:
    """Tell whether a backup was verified and has not been written to since."""
    with contextlib.suppress(OSError, ValueError):
        found = path.lstat()
        with names.record_beside(path).open("rb") as file:
            record: Any = json.loads(file.read(_RECORD_BYTES))
        expected = {"name": path.name, "size": found.st_size, "modified_ns": found.st_mtime_ns}
        return (
            stat.S_ISREG(found.st_mode)
            and isinstance(record, dict)
            and expected.items() <= record.items()
        )
    return False
