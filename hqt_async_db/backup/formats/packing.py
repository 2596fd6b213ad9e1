"""What blocks of rows go through on their way into a file, in the file's thread."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from hqt_async_db.errors import ConfigurationError, InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path

    from hqt_async_db.backup.files import Compressor

_GZIP: Final = 16 + zlib.MAX_WBITS
SUFFIXES: Final = {"gzip": ".gz", "zstd": ".zst"}


class JsonArray:
    """Makes one array of JSON Lines."""

    def __init__(self) -> None:
        self._before = b"[\n"

    def compress(self, block: bytes) -> bytes:
        """Return some lines as elements."""
        elements = self._before + block[:-1].replace(b"\n", b",\n")
        self._before = b",\n"
        return elements

    def flush(self) -> bytes:
        """Return the end of the array."""
        return b"[\n]\n" if self._before == b"[\n" else b"\n]\n"


class Chain:
    """Sends blocks through one after the other."""

    def __init__(self, *links: Compressor) -> None:
        self._links = links

    def compress(self, block: bytes) -> bytes:
        """Return what is ready after ``block``."""
        for link in self._links:
            block = link.compress(block)
        return block

    def flush(self) -> bytes:
        """Return what is left at the end."""
        rest = b""
        for link in self._links:
            rest = link.compress(rest) + link.flush() if rest else link.flush()
        return rest


def compressor(path: Path) -> Compressor | None:
    """Return what compresses a file of this name: ``.gz``, ``.zst`` or nothing.

    The same blocks always make the same bytes.

    Raises:
        ConfigurationError: An extra is not installed; names it.
    """
    if path.suffix == SUFFIXES["gzip"]:
        return zlib.compressobj(level=6, wbits=_GZIP)
    if path.suffix != SUFFIXES["zstd"]:
        return None
    try:
        import zstandard  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        msg = "zstd needs an extra: pip install 'hqt-async-db[zstd]'"
        raise ConfigurationError(msg) from None
    return zstandard.ZstdCompressor().compressobj()


def suffix_of(compression: str | None) -> str:
    """Return what the name of a compressed file ends with.

    Raises:
        InvalidInputError: There is no such compression.
    """
    if compression is None:
        return ""
    if compression not in SUFFIXES:
        msg = f"compression is None or one of {', '.join(SUFFIXES)}"
        raise InvalidInputError(msg, field="compression")
    return SUFFIXES[compression]
