"""The names of backups: one for each, never another's, also with two processes at once."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from hqt_async_db.backup.files import PARTIAL

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

SQLITE: Final = "db"
DUMP: Final = "dump"
ARCHIVE: Final = "zip"
# The kinds of backup that manifests name.
SQLITE_KIND: Final = "sqlite"
DUMP_KIND: Final = "postgresql"
ARCHIVE_KIND: Final = "archive"

_STEM: Final = r"hqt_backup_\d{8}_\d{6}(?:_\d+)?"
_EXTENSION: Final = f"{SQLITE}|{DUMP}|{ARCHIVE}"
_BACKUP: Final = re.compile(rf"({_STEM})\.({_EXTENSION})")
# What belongs to a backup, and what a killed process may leave of one.
_BESIDE: Final = re.compile(rf"({_STEM}\.(?:{_EXTENSION}))\.(?:manifest|verified)\.json")
_PARTIAL: Final = re.compile(rf"\.({_STEM})\..+{re.escape(PARTIAL)}(?:-(?:journal|wal|shm))?")
_NUMBER: Final = re.compile(r"\d+")
_HOLD: Final = f".hold{PARTIAL}"


@dataclass(frozen=True, slots=True)
class BackupName:
    """The name of a backup, taken apart.

    Attributes:
        stem: All of it but the extension; unique in its directory.
        extension: ``db``, ``dump`` or ``zip``.
    """

    stem: str
    extension: str

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Return the parts of a file's name, None if it is no backup's."""
        found = _BACKUP.fullmatch(name)
        return None if found is None else cls(*found.groups())

    @property
    def order(self) -> tuple[int, ...]:
        """Return what sorts backups by age, the oldest first."""
        return tuple(int(number) for number in _NUMBER.findall(self.stem))

    def __str__(self) -> str:
        """Return the name of the file."""
        return f"{self.stem}.{self.extension}"


def backup_beside(name: str) -> str | None:
    """Return the backup that a manifest or a record belongs to, by their names."""
    found = _BESIDE.fullmatch(name)
    return None if found is None else found[1]


def stem_of_partial(name: str) -> str | None:
    """Return the stem of the backup that an unfinished file was to become."""
    found = _PARTIAL.fullmatch(name)
    return None if found is None else found[1]


def record_beside(path: Path) -> Path:
    """Return where it is written down that a backup was verified."""
    return path.with_name(f"{path.name}.verified.json")


class Hold:
    """A name that nobody else uses or cleans up, until it is let go or the process ends.

    The lock is the system's, on a hidden file beside; so a killed process
    holds nothing, whatever it left.
    """

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path

    @classmethod
    def take(cls, directory: Path, stem: str) -> Self | None:
        """Return the hold of a name, None while somebody else has it."""
        path = directory / f".{stem}{_HOLD}"
        while True:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(descriptor, path):
                    return cls(descriptor, path)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # whoever held it took the file away meanwhile

    @staticmethod
    def stems(directory: Path, prefix: str) -> list[str]:
        """Return the names that this account holds, or did when its process was killed."""
        found = directory.glob(f".{prefix}*{_HOLD}")
        return [path.name[1 : -len(_HOLD)] for path in found if _is_mine(path)]

    def release(self) -> None:
        """Let the name go; a backup that was published keeps it."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        os.close(self._descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Tell whether an open file still has its name."""
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _is_mine(path: Path) -> bool:
    """Tell whether a file is of the account that this process runs as."""
    try:
        return path.lstat().st_uid == os.geteuid()
    except FileNotFoundError:
        return False


@dataclass(frozen=True, slots=True)
class Reservation:
    """A free name for a new backup.

    Attributes:
        path: What the backup is to be called.
    """

    path: Path
    _hold: Hold

    def close(self) -> None:
        """Let go of the name, published or not."""
        self._hold.release()


def reserve(directory: Path, extension: str, now: datetime) -> Reservation:
    """Return the first free name of this second.

    Args:
        directory: Where; it must exist.
        extension: ``db``, ``dump`` or ``zip``.
        now: The time of the backup, in UTC.
    """
    stamp = f"hqt_backup_{now:%Y%m%d_%H%M%S}"
    for number in itertools.count():
        stem = f"{stamp}_{number}" if number else stamp
        if _is_taken(directory, stem):
            continue
        hold = Hold.take(directory, stem)
        if hold is None:
            continue
        if not _is_taken(directory, stem):
            return Reservation(directory / f"{stem}.{extension}", hold)
        hold.release()  # it was published between the look and the lock
    raise AssertionError  # the numbers have no end


def _is_taken(directory: Path, stem: str) -> bool:
    return any(os.path.lexists(directory / f"{stem}.{of}") for of in (SQLITE, DUMP, ARCHIVE))
