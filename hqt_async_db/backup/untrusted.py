"""Backups on their way back: opened as files that somebody else may have written."""

from __future__ import annotations

import hashlib
import os
import stat
from io import FileIO
from typing import TYPE_CHECKING, Final

from hqt_async_db.backup.files import refused
from hqt_async_db.backup.manifest import MOST_BYTES, Manifest, manifest_of_file
from hqt_async_db.backup.names import BackupName
from hqt_async_db.backup.native import sqlite_files
from hqt_async_db.errors import BackupError, BackupVerificationError

if TYPE_CHECKING:
    from pathlib import Path

    from hqt_async_db.backup.threads import Stop

_BLOCK_BYTES: Final = 256 * 1024
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_regular(path: Path) -> FileIO:
    """Open a file for reading, if it is one: no link, no pipe, no device.

    Raises:
        BackupError: It is something else, or cannot be read.
    """
    with refused(path):
        descriptor = os.open(path, _OPEN)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        msg = f"{path} is no regular file"
        raise BackupError(msg)
    return FileIO(descriptor, "rb")


def read_manifest(path: Path) -> Manifest:
    """Return the manifest beside a backup.

    A database that is in use is never opened: closing it would drop the locks
    that this process may have on it.

    Raises:
        BackupError: There is none or no such file, or it is a database in use.
        BackupVerificationError: It is damaged, or another file's.
    """
    beside = manifest_of_file(path)
    if sqlite_files.is_in_use(path):
        msg = f"{path} is a database in use and no backup: a log lies beside it"
        raise BackupError(msg)
    with refused(path):
        try:
            path.lstat()
        except FileNotFoundError:
            msg = f"{path}: there is no such file"
            raise BackupError(msg) from None
    if not beside.exists():
        msg = (
            f"{path} has no manifest beside it ({beside.name}), so that nothing tells whether it "
            "is whole, or a backup at all; to take the rows of a SQLite file over nevertheless, "
            "copy the database"
        )
        raise BackupError(msg)
    with open_regular(beside) as file:
        content = file.read(MOST_BYTES + 1)
    return parse_manifest(content, path, beside)


def parse_manifest(content: bytes, path: Path, source: Path) -> Manifest:
    """Return the manifest of a backup; it must be about this file.

    A backup may be given another name, but not that of another backup.

    Args:
        content: Text of the manifest.
        path: The backup.
        source: The file that the manifest is from.

    Raises:
        BackupVerificationError: It is damaged, or another backup's.
    """
    try:
        manifest = Manifest.parse(content)
    except BackupVerificationError as error:
        msg = f"{source}: {error}"
        raise BackupVerificationError(msg) from None
    if BackupName.parse(path.name) is not None and manifest.file != path.name:
        msg = f"{path} holds another backup, which was written as {manifest.file}"
        raise BackupVerificationError(msg)
    return manifest


def copy_hashed(source: FileIO, target: FileIO, stop: Stop) -> str:
    """Copy a file to its end and return its SHA-256."""
    digest, block = hashlib.sha256(), bytearray(_BLOCK_BYTES)
    view = memoryview(block)
    while count := source.readinto(view):
        stop.check()
        digest.update(view[:count])
        target.write(view[:count])
    return digest.hexdigest()


def copy_verified(path: Path, copy: Path, manifest: Manifest, stop: Stop) -> None:
    """Copy a backup into a scratch directory; it must be the file of its manifest.

    Everything after this looks at the copy, which nobody else can change.

    Raises:
        BackupVerificationError: Some byte is not what was written.
    """
    with open_regular(path) as source, refused(copy), copy.open("xb", buffering=0) as target:
        sha256 = copy_hashed(source, target, stop)
    if manifest.sha256 is None or sha256 != manifest.sha256:
        msg = f"{path}: the file is not the one that was written (its SHA-256 differs)"
        raise BackupVerificationError(msg)
