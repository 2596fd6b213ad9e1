"""The end of a manager, for which everybody waits who asks for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hqt_async_db.connection import tasks
from hqt_async_db.connection.sessions.session import Session
from hqt_async_db.connection.usage import current_loop

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hqt_async_db.connection.engines import Engines
    from hqt_async_db.connection.ownership import Ownership


class Disposal:
    """Closes what a manager has opened, once.

    Args:
        ownership: What refuses every use from then on.
        engines: What is closed.
        sessions: What is rolled back before; some of them may have ended.
    """

    def __init__(self, ownership: Ownership, engines: Engines, sessions: Iterable[Session]) -> None:
        self._ownership = ownership
        self._engines = engines
        self._sessions = sessions
        self._closing: asyncio.Task[None] | None = None

    async def finish(self) -> None:
        """Close everything, or wait for the end of that; a cancellation goes on after it."""
        if self._ownership.end():
            if self._ownership.is_of_another_loop and not self._engines.outlive_loops:
                await self._engines.dispose(close=False)
                return
            self._closing = tasks.start(self._close_all(), name="hqt_async_db dispose")
        closing = self._closing
        if closing is None or closing.get_loop() is not current_loop():
            return
        cancelled = await tasks.wait(closing, None)
        if cancelled is not None:
            tasks.retrieve(closing)
            raise cancelled
        closing.result()

    async def _close_all(self) -> None:
        ended = await asyncio.gather(*map(Session.abandon, self._sessions), return_exceptions=True)
        await self._engines.dispose()
        for failure in filter(None, ended):
            raise failure
