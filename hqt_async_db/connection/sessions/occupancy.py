"""Which task is inside a session: one at a time, and how to get it out."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from hqt_async_db.connection.ownership import disposed_meanwhile
from hqt_async_db.connection.usage import Usage, current_task, current_usage
from hqt_async_db.errors import SessionInUseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from contextvars import Token
    from types import TracebackType

_INTERRUPT_TIMEOUT_S = 5.0


class Occupancy:
    """A context manager around every use of a session, which translates what fails in it.

    A task may enter again what it has entered; handing a session over from
    task to task is legal, meeting another task inside is not.

    Args:
        usage: Facts for messages; it learns which task is inside.
        boundary: What translates.
    """

    def __init__(self, usage: Usage, boundary: AbstractContextManager[None]) -> None:
        self._usage = usage
        self._boundary = boundary
        self._task: asyncio.Task[object] | None = None
        self._depth = 0
        self._token: Token[Usage | None] | None = None
        self._is_interruptible = True
        self._cancelling: int | None = None
        self._left: asyncio.Event | None = None
        self._when_left: Callable[[], object] | None = None

    def __enter__(self) -> None:
        """Enter, or refuse to meet another task inside.

        Raises:
            SessionInUseError: Another task is inside.
        """
        task = current_task()
        if self._depth and self._task is not task:
            raise SessionInUseError(self._refusal())
        if not self._depth:
            self._task = self._usage.task = task
            self._token = current_usage.set(self._usage)
        self._depth += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave; an interruption goes on as the reason for it."""
        self._depth -= 1
        task = self._task
        try:
            if error is not None:
                self._boundary.__exit__(kind, error, traceback)
        finally:
            if not self._depth:
                self._leave()
        if self._depth or not isinstance(error, asyncio.CancelledError):
            return
        if self._was_interrupted(task):
            raise disposed_meanwhile() from None

    def _leave(self) -> None:
        self._task = None
        if self._token is not None:
            # The collector ends a forgotten coroutine in another context.
            with contextlib.suppress(ValueError):
                current_usage.reset(self._token)
        if self._left is not None:
            self._left.set()
        if self._when_left is not None:
            self._when_left()
            self._when_left = None

    @property
    def is_free(self) -> bool:
        """Tell whether the running task could enter."""
        return not self._depth or self._task is current_task()

    @property
    def is_stranded(self) -> bool:
        """Tell whether the task that is inside can never leave, as its loop is closed."""
        return self._task is not None and self._task.get_loop().is_closed()

    def when_left(self, do: Callable[[], object]) -> None:
        """Call ``do`` once the task that is inside has left."""
        self._when_left = do

    def hold(self) -> None:
        """Let no :meth:`interrupt` in any more."""
        self._is_interruptible = False

    @contextlib.contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Let no :meth:`interrupt` in: the transaction is being ended."""
        self._is_interruptible = False
        try:
            yield
        finally:
            self._is_interruptible = True

    async def interrupt(self) -> None:
        """Get the task that is inside out: it sees a DatabaseClosedError."""
        if self._task is None:
            return
        self._left = asyncio.Event()
        if self._is_interruptible:
            self._cancelling = self._task.cancelling()
            self._task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_INTERRUPT_TIMEOUT_S):
                await self._left.wait()

    def _was_interrupted(self, task: asyncio.Task[object] | None) -> bool:
        """Tell whether the cancellation was ours alone, as asyncio.timeout does."""
        if self._cancelling is None or task is None:
            return False
        return task.uncancel() <= self._cancelling

    def _refusal(self) -> str:
        name = self._task.get_name() if self._task is not None else "of no name"
        return (
            f"this session is in use by task {name!r} ({self._usage}); give each task a "
            "session of its own"
        )
