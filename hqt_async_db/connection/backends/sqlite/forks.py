"""Files that a forked child must not open, because its parent had them open.

SQLite keeps the locks of a process in the process itself. A child inherits
that note but none of the locks, so it would write without any, and whoever
closes the file last takes away the log that it writes to: commits are lost
without an error. https://www.sqlite.org/howtocorrupt.html, 2.6
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from hqt_async_db.errors import ConfigurationError

if TYPE_CHECKING:
    from hqt_async_db.connection.backends.sqlite.thread import ConnectionThread

_threads: Final[WeakSet[ConnectionThread]] = WeakSet()
_inherited: Final[set[str]] = set()


def note(thread: ConnectionThread) -> None:
    """Remember a connection that was opened."""
    _threads.add(thread)


def refuse_inherited(path: str) -> None:
    """Refuse a file that was open when this process was forked.

    Raises:
        ConfigurationError: It was.
    """
    if _inherited and os.path.realpath(path) in _inherited:
        msg = (
            f"{path} was open when this process was forked, and SQLite would lose what it writes; "
            "start the process with multiprocessing's spawn, or before the file is opened"
        )
        raise ConfigurationError(msg)


def _forked() -> None:
    _inherited.update(thread.file for thread in _threads if thread.file and not thread.is_closed)
    _threads.clear()


if hasattr(os, "register_at_fork"):  # where there is a fork
    os.register_at_fork(after_in_child=_forked)
