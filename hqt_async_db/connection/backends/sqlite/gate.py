"""The fair gate that write transactions of one process pass, one at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from weakref import WeakKeyDictionary, WeakValueDictionary

from hqt_async_db.connection.usage import Usage, current_task, usage_here
from hqt_async_db.errors import DatabaseLockedError, NestedSessionError


class WriteGate:
    """First come, first served: one writer of a SQLite file at a time.

    SQLite lets writers poll a file lock, which is neither fair nor quick;
    inside one process this queue replaces the polling. Whoever leaves hands
    the turn over to the first who waits, so that it is never free meanwhile.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._holder: Usage | None = None
        self._waiting: deque[tuple[asyncio.Future[Usage | None], Usage]] = deque()

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
        if not self.enter_now(usage):
            await self._wait(usage, timeout_s, waited_s)

    def enter_now(self, usage: Usage) -> bool:
        """Take the turn if it is free, when nobody waits for it; tell whether it was."""
        if self._holder is not None:
            return False
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
        self._forget_who_left()
        if self._waiting:
            turn, self._holder = self._waiting.popleft()
            turn.set_result(None)

    def leave_from_any_thread(self) -> None:
        """Let the next writer in once the loop runs; in a closed one nobody waits."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.leave)

    async def _wait(self, usage: Usage, timeout_s: float, waited_s: float) -> None:
        turn: asyncio.Future[Usage | None] = self._loop.create_future()
        self._waiting.append((turn, usage))
        # Cheaper than asyncio.timeout, and each writer of a busy file waits.
        timer = self._loop.call_later(timeout_s - waited_s, self._be_late, turn)
        try:
            holder = await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.result() is None:
                self.leave()  # it had just been let in
            raise
        finally:
            timer.cancel()
            self._forget_who_left()
        if holder is None:
            return
        raise late(timeout_s, holder)

    def _forget_who_left(self) -> None:
        """Have one at the head of the queue who still waits."""
        while self._waiting and self._waiting[0][0].done():
            self._waiting.popleft()

    def _be_late(self, turn: asyncio.Future[Usage | None]) -> None:
        """Have one that has waited for too long hear for whom."""
        if not turn.done():
            turn.set_result(self._holder)


def late(timeout_s: float, holder: Usage) -> DatabaseLockedError:
    """Return the error of whose turn to write did not come in time."""
    return DatabaseLockedError(
        f"waited {timeout_s:g} s for the write lock, held by {holder}; keep write "
        "transactions short, or raise lock_timeout_s"
    )


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
