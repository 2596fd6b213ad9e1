"""The fair gate that write transactions of one process pass, one at a time."""

from __future__ import annotations

import asyncio
import contextlib
from weakref import WeakKeyDictionary, WeakValueDictionary

from hqt_async_db.connection.usage import Usage, current_task, usage_here
from hqt_async_db.errors import DatabaseLockedError, NestedSessionError


class WriteGate:
    """First come, first served: one writer of a SQLite file at a time.

    SQLite lets writers poll a file lock, which is neither fair nor quick;
    inside one process this queue replaces the polling.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(1)
        self._loop = asyncio.get_running_loop()
        self._holder: Usage | None = None

    @property
    def holder(self) -> Usage | None:
        """Return who is writing now, or None."""
        return self._holder

    async def enter(
        self, timeout_s: float, usage: Usage | None = None, *, waited_s: float = 0.0
    ) -> None:
        """Wait for the turn to write; end it with :meth:`leave`.

        Args:
            timeout_s: How long to wait.
            usage: Whose turn it will be, for messages; None is the running use.
            waited_s: How much of ``timeout_s`` is over already.

        Raises:
            NestedSessionError: The running task has the turn itself.
            DatabaseLockedError: The turn did not come within ``timeout_s``.
        """
        usage = usage or usage_here()
        self.refuse_nested()
        if not self._turn.locked():  # nor does anybody wait: no timer is needed
            await self._turn.acquire()
        else:
            await self._wait(timeout_s, waited_s)
        self._holder = usage

    def enter_now(self, usage: Usage) -> bool:
        """Take the turn if it is free and nobody waits for it; tell whether it was."""
        if self._turn.locked():
            return False
        with contextlib.suppress(StopIteration):
            self._turn.acquire().send(None)  # ends at once: it is free
        self._holder = usage
        return True

    def refuse_nested(self) -> None:
        """Refuse to let the running task wait for itself.

        Raises:
            NestedSessionError: It has the turn.
        """
        if self._holder is not None and self._holder.task is current_task():
            msg = (
                f"this task already holds the write lock ({self._holder}); "
                "use that session, or end it before writing through another one"
            )
            raise NestedSessionError(msg)

    def leave(self) -> None:
        """Let the next writer in."""
        self._holder = None
        self._turn.release()

    def leave_from_any_thread(self) -> None:
        """Let the next writer in once the loop runs; in a closed one nobody waits."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.leave)

    async def _wait(self, timeout_s: float, waited_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s - waited_s):
                await self._turn.acquire()
        except TimeoutError:
            holder = self._holder
        else:
            return
        msg = (
            f"waited {timeout_s:g} s for the write lock, held by {holder}; keep write "
            "transactions short, or raise lock_timeout_s"
        )
        raise DatabaseLockedError(msg)


_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[str, WriteGate]] = (
    WeakKeyDictionary()
)


def gate_of(path: str) -> WriteGate:
    """Return the gate that all managers of one event loop share for a file.

    Args:
        path: Absolute path; asking the file system would block the loop, so
            a second name of one file (a link) has a gate of its own, and its
            writers meet at SQLite's file lock instead.
    """
    gates = _gates.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    gate = gates.get(path)
    if gate is None:
        gate = gates[path] = WriteGate()
    return gate
