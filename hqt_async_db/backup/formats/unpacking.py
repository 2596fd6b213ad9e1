"""Files in blocks of bytes, decompressed by their name's ending, in a thread."""

from __future__ import annotations

import os
import stat
import zlib
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

from hqt_async_db.backup.formats.packing import SUFFIXES
from hqt_async_db.backup.threads import WorkThread
from hqt_async_db.errors import ConfigurationError, ImportDataError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

BLOCK_BYTES: Final = 131_072
_GZIP: Final = 16 + zlib.MAX_WBITS
# What comes after a member is copied for each that is in the way.
_GZIP_SLICE: Final = 16_384
# What so little of a hostile file can become at once is bounded, 32 MB at most.
_ZSTD_SLICE: Final = 1024
# Even if each is a member without content, they keep the thread for a millisecond only.
_PIECES_AT_ONCE: Final = 256
# Every level of the tool up to 19 keeps to it.
_ZSTD_WINDOW: Final = 1 << 23


class Unpacker(Protocol):
    """Decompresses a file block by block."""

    def unpack(self, block: bytes) -> Iterator[bytes]:
        """Yield what comes out, in pieces of bounded size."""

    @property
    def is_complete(self) -> bool:
        """Tell whether the file may end here."""


class _Plain:
    """A file that is not compressed."""

    is_complete = True

    def unpack(self, block: bytes) -> Iterator[bytes]:
        """Yield it as it is."""
        yield block


class _Gzip:
    """A file of one or several gzip members."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._has_begun = False

    def unpack(self, block: bytes) -> Iterator[bytes]:
        """Yield what comes out."""
        for start in range(0, len(block), _GZIP_SLICE):
            rest = block[start : start + _GZIP_SLICE]
            while rest:
                if self._member.eof:
                    self._member = zlib.decompressobj(_GZIP)
                self._has_begun = True
                yield self._member.decompress(rest, BLOCK_BYTES)
                rest = self._member.unconsumed_tail or self._member.unused_data

    @property
    def is_complete(self) -> bool:
        """Tell whether the last member is complete, its checksum compared."""
        return self._has_begun and self._member.eof


class _Zstd:
    """A file of one or several zstd frames."""

    def __init__(self) -> None:
        try:
            import zstandard  # noqa: PLC0415 - an extra
        except ModuleNotFoundError:
            msg = "zstd needs an extra: pip install 'hqt-async-db[zstd]'"
            raise ConfigurationError(msg) from None
        self._decompressor: Any = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._frame: Any = None

    def unpack(self, block: bytes) -> Iterator[bytes]:
        """Yield what comes out."""
        for start in range(0, len(block), _ZSTD_SLICE):
            rest = block[start : start + _ZSTD_SLICE]
            while rest:
                if self._frame is None or self._frame.eof:
                    self._frame = self._decompressor.decompressobj()
                yield self._frame.decompress(rest)
                rest = self._frame.unused_data

    @property
    def is_complete(self) -> bool:
        """Tell whether the last frame is complete."""
        return self._frame is not None and bool(self._frame.eof)


def unpacker_of(path: Path) -> Unpacker:
    """Return what decompresses a file of this name.

    Raises:
        ConfigurationError: An extra is not installed; names it.
    """
    if path.suffix == SUFFIXES["gzip"]:
        return _Gzip()
    return _Zstd() if path.suffix == SUFFIXES["zstd"] else _Plain()


def open_file(path: Path, *, follows_links: bool = True) -> IO[bytes]:
    """Open a file to read it, and nothing that is no file: for a thread.

    Args:
        path: The file.
        follows_links: Whether it may be a symbolic link.

    Raises:
        ImportDataError: It is missing, unreadable or no regular file.
    """
    # A FIFO that nobody writes to would be waited for.
    flags = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0)
    if not follows_links:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    try:
        file = os.fdopen(os.open(path, flags), "rb", buffering=0)
    except OSError as error:
        msg = f"{path.name}: {error.strerror or error}"
        raise ImportDataError(msg, source=path.name) from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        msg = f"{path.name}: is no regular file"
        raise ImportDataError(msg, source=path.name)
    return file


async def file_blocks(path: Path, *, follows_links: bool = True) -> AsyncGenerator[bytes, None]:
    """Yield what is in a file, decompressed, in blocks of 128 KB or so.

    Args:
        path: The file.
        follows_links: Whether it may be a symbolic link.

    Raises:
        ImportDataError: It cannot be read, or is damaged or cut off.
        ConfigurationError: An extra is not installed; names it.
    """
    async with WorkThread("file") as thread:
        blocks = _Blocks(path, follows_links=follows_links)
        try:
            while (block := await thread.run(blocks.next)) is not None:
                if block:
                    yield block
        finally:
            await thread.run(blocks.close)


class _Blocks:
    """What :func:`file_blocks` does in its thread."""

    def __init__(self, path: Path, *, follows_links: bool) -> None:
        self._path = path
        self._follows_links = follows_links
        self._unpacker = unpacker_of(path)
        self._file: IO[bytes] | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._gathered: list[bytes] = []
        self._size = 0

    def next(self) -> bytes | None:
        """Return the next block, nothing if there is more to unpack, None at the end."""
        if self._file is None:
            self._file = open_file(self._path, follows_links=self._follows_links)
        for _ in range(_PIECES_AT_ONCE):
            piece = self._next_piece()
            if piece:
                self._gathered.append(piece)
                self._size += len(piece)
            if piece is None or self._size >= BLOCK_BYTES:
                block = b"".join(self._gathered)
                self._gathered, self._size = [], 0
                return block or None
        return b""

    def _next_piece(self) -> bytes | None:
        reason = "cannot be read"
        try:
            while (piece := next(self._pieces, None)) is None:
                block = self._file.read(BLOCK_BYTES) if self._file else b""
                if block:
                    self._pieces = self._unpacker.unpack(block)
                    continue
                if self._unpacker.is_complete:
                    return None
                reason = "is cut off"
                break
        except Exception as error:
            if isinstance(error, OSError) or not _is_of_compression(error):
                raise
            reason, piece = "is damaged, or not compressed as its name says", None
        if piece is None:
            msg = f"{self._path.name}: {reason}"
            raise ImportDataError(msg, source=self._path.name)
        return piece

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _is_of_compression(error: Exception) -> bool:
    return isinstance(error, zlib.error) or type(error).__name__ == "ZstdError"
