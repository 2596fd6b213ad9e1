"""What is looked at before SQLite opens a file; runs on the connection's thread.

SQLite itself deletes a log that it cannot read, and mixes a log that belongs
to another file into this one, both without a word.
"""

from __future__ import annotations

import os
import stat
import struct
import time
from typing import Final

from hqt_async_db.errors import ConnectionFailedError, NotADatabaseError

# https://sqlite.org/fileformat2.html#walformat
_HEADER: Final = struct.Struct(">8I")
_HEADER_BYTES: Final = 32
_FRAME_HEADER_BYTES: Final = 24
_LEAST_PAGE_BYTES: Final = 512
_BYTE_ORDERS: Final = {0x377F0682: "<", 0x377F0683: ">"}
_PAGE_SIZE_AT: Final = slice(16, 18)
# A writer may be rewriting the header at this moment.
_LOOKS: Final = 4
_LOOK_AGAIN_S: Final = 0.005


def refuse_unusable(path: str) -> None:
    """Refuse what is no file, and a log that is none or another file's.

    The end of a log may be torn, by a crash or a power loss: SQLite takes
    what is whole, which is every acknowledged commit. A log too short for a
    commit, or of zeros, holds none and is left to SQLite as well.

    Args:
        path: Of the database; nothing need be there.

    Raises:
        ConnectionFailedError: It is a directory, a pipe or a device.
        NotADatabaseError: SQLite would lose what the log beside it holds, or
            damage the file with it.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - strings throughout
    except OSError:
        return  # SQLite makes it, or says why it cannot
    if not stat.S_ISREG(mode):
        what = "a directory" if stat.S_ISDIR(mode) else "no regular file"
        msg = f"{path}: this is {what}; put the path of the database file into the URL"
        raise ConnectionFailedError(msg, retryable=False)
    real = os.path.realpath(path)
    for look in range(_LOOKS):
        fault = _fault_of(real)
        if fault is None:
            return
        if look < _LOOKS - 1:
            time.sleep(_LOOK_AGAIN_S)
    msg = (
        f"{real}-wal: the log beside the database file {fault}, and opening the file would lose or "
        "mix in what it holds; neither was touched. Keep a copy of both, then move the log away "
        "if its last commits are not needed, or restore a backup"
    )
    raise NotADatabaseError(msg)


def _fault_of(path: str) -> str | None:
    """Return what is wrong with the log of a file, None if nothing is."""
    start = _read(f"{path}-wal", _HEADER_BYTES + _FRAME_HEADER_BYTES + _LEAST_PAGE_BYTES)
    if len(start) < _HEADER_BYTES + _FRAME_HEADER_BYTES + _LEAST_PAGE_BYTES or not any(start):
        return None
    words = _HEADER.unpack_from(start)
    if not _is_header(words, start):
        return "is damaged or no log of SQLite"
    size = _page_size_of(path)
    if size is not None and size != words[2]:
        return f"belongs to another one (pages of {words[2]} bytes in place of {size})"
    return None


def _is_header(words: tuple[int, ...], start: bytes) -> bool:
    order = _BYTE_ORDERS.get(words[0])
    if order is None:
        return False
    first = second = 0
    for one, other in struct.iter_unpack(f"{order}2I", start[:24]):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return (first, second) == words[6:]


def _page_size_of(path: str) -> int | None:
    """Return the page size in the file's header, None where it must not be read.

    Closing a file drops every lock that this process has on it; so it is
    opened here only if there is no index of its log: then nobody uses it.
    """
    if os.path.exists(f"{path}-shm"):  # noqa: PTH110 - as above
        return None
    size = int.from_bytes(_read(path, 18)[_PAGE_SIZE_AT], "big")
    return 65536 if size == 1 else size or None


def _read(path: str, count: int) -> bytes:
    """Return how a regular file begins, nothing where it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return os.read(descriptor, count)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
