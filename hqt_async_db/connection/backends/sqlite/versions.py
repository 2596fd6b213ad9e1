"""Versions of SQLite that can damage a file, and saying so."""

from __future__ import annotations

import logging
import sqlite3
from typing import Final

_FIXED_FROM: Final = (3, 51, 3)
_BACKPORTS: Final = {(3, 44): 6, (3, 50): 7}
_FIRST_WITH_LOG: Final = (3, 7, 0)

# A handler of its own keeps Python from printing the record where nobody has
# configured logging; whoever has, sees it.
_log = logging.getLogger("hqt_async_db.sqlite")
_log.addHandler(logging.NullHandler())
_reported: set[tuple[int, ...]] = set()


def known_bugs(version: tuple[int, ...]) -> list[str]:
    """Return one sentence for each bug of a version that can damage a file.

    The WAL-reset bug is in 3.7.0 to 3.51.2, and fixed in 3.51.3, 3.50.7 and
    3.44.6: https://sqlite.org/wal.html#walresetbug. It takes one connection
    that begins a checkpoint just when another one, of any thread or process,
    begins the log anew.

    Args:
        version: Of SQLite, three numbers.
    """
    major, minor, patch = version
    backport = _BACKPORTS.get((major, minor))
    is_fixed = version >= _FIXED_FROM or (backport is not None and patch >= backport)
    if is_fixed or version < _FIRST_WITH_LOG:
        return []
    sentence = (
        f"SQLite {major}.{minor}.{patch} has the WAL-reset bug (sqlite.org/wal.html#walresetbug): "
        "two processes that write one file at the same moment can damage it; one event loop cannot "
        "through sqlite:///, as its writers and checkpoints take turns. Where several processes "
        "write, use SQLite 3.51.3, 3.50.7 or 3.44.6"
    )
    return [sentence]


def report_known_bugs(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> None:
    """Log the bugs of a version, once per process."""
    if version not in _reported:
        _reported.add(version)
        for sentence in known_bugs(version):
            _log.warning(sentence)
