"""Who uses a connection: the facts that a time-out or a misuse names."""

from __future__ import annotations

import asyncio
import sys
import time
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import FrameType

_PACKAGE: Final = str(Path(__file__).resolve().parent.parent)


class Usage:
    """One session or one-shot call: its task, its age and its call site.

    Attributes:
        task: The task that used it last; a session may be handed over.
        waited_s: How long it has waited for a connection before it queued for
            one of the pool's.
        lent_since: When its connection came out of the pool, by
            ``time.monotonic``; others may have had it since.
    """

    __slots__ = ("_code", "_line", "_since", "lent_since", "purpose", "task", "waited_s")

    def __init__(self, purpose: str) -> None:
        frame = _caller()
        self._code, self._line = frame.f_code, frame.f_lineno
        self._since = time.monotonic()
        self.purpose = purpose
        self.task = current_task()
        self.waited_s = 0.0
        self.lent_since = 0.0

    @property
    def is_stream(self) -> bool:
        """Tell whether this is a one-shot stream, which may close by itself."""
        return self.purpose.endswith("stream")

    @property
    def age_s(self) -> float:
        """Return the seconds since the use began."""
        return time.monotonic() - self._since

    @property
    def call_site(self) -> str:
        """Return ``file:line`` of the user's code that began the use."""
        return f"{self._code.co_filename}:{self._line}"

    def __str__(self) -> str:
        """Return one clause for an error message."""
        task = self.task.get_name() if self.task is not None else "no task"
        return (
            f"{self.purpose} of task {task!r}, {self.age_s:.1f} s old, opened at {self.call_site}"
        )


current_usage: ContextVar[Usage | None] = ContextVar("hqt_async_db_usage", default=None)


def usage_here() -> Usage:
    """Return the running use, or a new one for a bare engine connection."""
    return current_usage.get() or Usage("a connection of db.engine")


def current_task() -> asyncio.Task[object] | None:
    """Return the running task, or None outside of a loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def current_loop() -> asyncio.AbstractEventLoop | None:
    """Return the running loop, or None outside of one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _caller() -> FrameType:
    """Return the innermost frame outside of this package."""
    frame = sys._getframe(2)  # noqa: SLF001 - inspect.stack() costs milliseconds
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return frame
