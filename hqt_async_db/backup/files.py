"""Files that appear under their name whole, or not at all."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import secrets
import sys
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from hqt_async_db.backup.threads import WorkThread
from hqt_async_db.errors import BackupError, InvalidInputError, StorageFullError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from hqt_async_db.backup.threads import Stop

_NEW: Final = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
PARTIAL: Final = ".partial"
# Nobody still writes to a file that has not changed for so long.
_DEAD_AFTER_S: Final = 24 * 60 * 60
_BEHIND_BYTES: Final = 4 * 1024 * 1024
_LOOK_AGAIN_S: Final = 0.02


class Compressor(Protocol):
    """What zlib's and zstandard's objects have in common."""

    def compress(self, block: bytes, /) -> bytes:
        """Return what is ready after ``block``."""

    def flush(self) -> bytes:
        """Return what is left at the end."""


class WriteBehind:
    """Has the system write a file to the disk while it grows, and waits for nothing.

    Otherwise all of it is left to the sync at the end, which keeps a processor
    for milliseconds at a time and which every commit on that disk waits for.
    Linux begins with what it is told nobody needs; elsewhere this does nothing.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._begun = 0

    def go_on(self) -> None:
        """Begin with what has come up to the end of the file, if that is some MiB."""
        if sys.platform != "linux":
            return
        size = os.fstat(self._descriptor).st_size
        if size - self._begun >= _BEHIND_BYTES:
            os.posix_fadvise(
                self._descriptor, self._begun, size - self._begun, os.POSIX_FADV_DONTNEED
            )
            self._begun = size


@contextmanager
def written_behind(path: Path) -> Iterator[WriteBehind]:
    """Write a file behind whoever fills it in the block."""
    with refused(path):
        descriptor = os.open(path, os.O_RDWR)
        try:
            yield WriteBehind(descriptor)
        finally:
            os.close(descriptor)


def follow(path: Path, stop: Stop) -> None:
    """Write a file behind another process until told to stop; for a thread."""
    with written_behind(path) as behind:
        while not stop.is_set:
            behind.go_on()
            time.sleep(_LOOK_AGAIN_S)


class NewFile:
    """A file being written in its own thread; nobody sees it yet.

    Attributes:
        path: The name it will have.
        partial: The name it has until it is complete.
        size: Bytes written so far, as they are on the disk.
    """

    def __init__(self, path: Path, thread: WorkThread, compressor: Compressor | None) -> None:
        self.path = path
        self.partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")
        self.size = 0
        self._thread = thread
        self._compressor = compressor
        self._digest = hashlib.sha256()
        self._descriptor = -1
        self._exists = False

    @property
    def sha256(self) -> str:
        """Return the hash of what is on the disk, in hexadecimal digits."""
        return self._digest.hexdigest()

    async def write(self, block: bytes) -> None:
        """Append ``block``, compressed if the file is.

        Raises:
            StorageFullError: There is no space left.
        """
        with refused(self.path):
            await self._thread.run(self._write, block)

    async def finish(self) -> None:
        """Write what is left and sync all of it; only its name is then to come.

        Raises:
            StorageFullError: There is no space left.
        """
        with refused(self.path):
            await self._thread.run(self._finish)

    def open(self) -> None:
        """Make the file; for the thread, as are the two below."""
        _remove_dead(self.path)
        self._descriptor = os.open(self.partial, _NEW, 0o600)
        self._exists = True
        self._behind = WriteBehind(self._descriptor)

    def _write(self, block: bytes) -> None:
        self._put(block if self._compressor is None else self._compressor.compress(block))

    def _put(self, block: bytes) -> None:
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self._digest.update(block)
        self.size += len(block)
        self._behind.go_on()

    def _finish(self) -> None:
        if self._compressor is not None:
            self._put(self._compressor.flush())
        os.fsync(self._descriptor)
        self._close()

    def publish(self, *, overwrite: bool) -> None:
        """Finish what is not, and give it its name."""
        if self._descriptor >= 0:
            self._finish()
        publish(self.partial, self.path, overwrite=overwrite)

    def discard(self) -> None:
        """Leave no trace of it."""
        self._close()
        if self._exists:  # to look for it under a name that cannot be would fail
            self.partial.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@asynccontextmanager
async def new_file(
    path: Path, *, overwrite: bool = True, compressor: Compressor | None = None
) -> AsyncIterator[NewFile]:
    """Write a file that gets its name at the end of the block.

    It is made with mode 0600, synced to the disk with its directory, and gone
    without a trace after an exception or a cancellation. What a killed process
    left goes with the next file of that name, a day later.

    Args:
        path: Where; the directory must exist.
        overwrite: Whether a file of that name may be replaced.
        compressor: What every block goes through.

    Raises:
        BackupError: The name is taken, or the directory refuses the file.
        StorageFullError: There is no space left.
    """
    async with WorkThread("file") as thread:
        file = NewFile(path, thread, compressor)
        try:
            with refused(path):
                await thread.run(file.open)
            yield file
            with refused(path):
                await thread.run(file.publish, overwrite=overwrite)
        except BaseException:
            await thread.run(file.discard)
            raise


def path_of(path: str | os.PathLike[str]) -> Path:
    """Return a path to be used.

    Raises:
        InvalidInputError: The system would not take it for one.
    """
    try:
        name = os.fsdecode(path)
    except TypeError:
        msg = f"a path is a str or a Path, not {type(path).__name__}"
        raise InvalidInputError(msg, field="path") from None
    if "\0" in name:
        msg = "a path contains no NUL character"
        raise InvalidInputError(msg, field="path")
    return Path(name)


def _remove_dead(path: Path) -> None:
    """Remove what killed processes left on the way to the same name, a day ago or more."""
    for dead in path.parent.glob(f".{glob.escape(path.name)}.????????{PARTIAL}"):
        with suppress(OSError):  # another's, or removed meanwhile
            if time.time() - dead.lstat().st_mtime > _DEAD_AFTER_S:
                dead.unlink()


def publish(partial: Path, path: Path, *, overwrite: bool) -> None:
    """Give a complete file its name, and sync the directory.

    Raises:
        FileExistsError: The name is taken and must not be overwritten.
    """
    if overwrite:
        partial.replace(path)
    else:
        try:
            os.link(partial, path, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            os.close(os.open(path, _NEW, 0o600))
            partial.replace(path)
        else:
            partial.unlink()
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory survive a loss of power."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def refused(path: Path) -> Iterator[None]:
    """Turn what the operating system says about a file into our errors."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            msg = f"no space left for {path}"
            raise StorageFullError(msg) from error
        msg = f"{path}: {error.strerror or error}"
        raise BackupError(msg) from error
