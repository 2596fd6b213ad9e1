"""Who may use a manager: one process, one event loop, until it is disposed."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from hqt_async_db.errors import DatabaseClosedError


class _Process:
    """How often this process came about by a fork; asking for its id costs a system call."""

    generation = 0

    def forked(self) -> None:
        """Count one more."""
        self.generation += 1


_process: Final = _Process()
if hasattr(os, "register_at_fork"):  # where there is a fork
    os.register_at_fork(after_in_child=_process.forked)


class Ownership:
    """The process and the loop that a manager belongs to.

    The process is the one that made it, the loop the one that used it first.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._generation = _process.generation
        self._is_over = False

    def end(self) -> bool:
        """Refuse every later use; tell whether there is anything to close here."""
        if self._is_over or self._generation != _process.generation:
            return False
        self._is_over = True
        return True

    @property
    def is_over(self) -> bool:
        """Tell whether it was disposed."""
        return self._is_over

    @property
    def is_of_another_loop(self) -> bool:
        """Tell whether another loop than the running one has used it."""
        return self._loop not in (None, asyncio.get_running_loop())

    def check(self) -> None:
        """Refuse a use that could only hang or corrupt.

        Raises:
            DatabaseClosedError: The manager was disposed, this is a child
                process, or another event loop is running.
        """
        if self._is_over:
            msg = "this DatabaseManager was disposed; make a new one"
            raise DatabaseClosedError(msg)
        if self._generation != _process.generation:
            msg = "this DatabaseManager was made before a fork; make one in the child process"
            raise DatabaseClosedError(msg)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            msg = "this DatabaseManager belongs to another event loop; make one per loop"
            raise DatabaseClosedError(msg)


def disposed_meanwhile() -> DatabaseClosedError:
    """Return the error of a call that met the end of the manager."""
    return DatabaseClosedError(
        "the DatabaseManager was disposed while this was running; make a new one"
    )
