"""One session per asyncio task, for code that cannot pass one along."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING

from hqt_async_db.connection import tasks
from hqt_async_db.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hqt_async_db.connection.sessions.session import Session


class ScopedSessions:
    """The sessions of the tasks that asked for one."""

    def __init__(self, make: Callable[[], Session]) -> None:
        self._make = make
        self._by_task: dict[asyncio.Task[object], Session] = {}

    def current(self) -> Session:
        """Return the running task's session, a new one at the first call."""
        task = _running_task()
        session = self._by_task.get(task)
        if session is None:
            session = self._by_task[task] = self._make()
            task.add_done_callback(self._forgotten)
        return session

    async def remove(self) -> None:
        """Close the running task's session, if it has one."""
        task = _running_task()
        session = self._by_task.pop(task, None)
        if session is not None:
            task.remove_done_callback(self._forgotten)
            await session.close()

    def _forgotten(self, task: asyncio.Task[object]) -> None:
        session = self._by_task.pop(task, None)
        if session is None:
            return
        tasks.start(session.close(), name="hqt_async_db close scoped session")
        warnings.warn(
            f"task {task.get_name()!r} ended without remove_scoped_session(); its session was "
            "rolled back",
            ResourceWarning,
            stacklevel=1,
        )


def _running_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    if task is None:
        msg = "a scoped session belongs to a task; there is none here"
        raise InvalidInputError(msg)
    return task
