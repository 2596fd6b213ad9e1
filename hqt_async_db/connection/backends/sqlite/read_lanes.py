"""The lanes of one-shot reads."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from hqt_async_db.connection import tasks
from hqt_async_db.connection.backends.direct import NoWayError
from hqt_async_db.connection.backends.sqlite.lanes import LONG_S, Deliveries, LaneMaker
from hqt_async_db.connection.backends.sqlite.shots import ReadShot
from hqt_async_db.connection.backends.sqlite.worker import interrupted
from hqt_async_db.connection.ownership import disposed_meanwhile
from hqt_async_db.errors import DatabaseClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

    from hqt_async_db.connection.backends.direct import Parameters
    from hqt_async_db.connection.backends.sqlite.lanes import Lane


class ReadLanes:
    """One lane; more of them while statements take long.

    Args:
        engine: Whose pool tells how to make the connections.
        most: How many there may be.
        patience_s: How long to wait for another process to recover the log.
        timeout_s: When to interrupt a statement, None for never.
    """

    def __init__(
        self, engine: AsyncEngine, *, most: int, patience_s: float, timeout_s: float | None
    ) -> None:
        self._maker = LaneMaker(engine, self._take)
        self._most = most
        self._patience_s = patience_s
        self._timeout_s = timeout_s
        self._deliveries = Deliveries()
        self._waiting: dict[Lane, dict[ReadShot, None]] = {}
        self._busy_with: dict[Lane, object] = {}
        self._is_watching = False

    async def open(self) -> None:
        """Open the first lane, if there is none."""
        if not self._waiting:
            await self._maker.lane()

    async def read(self, sql: str, parameters: Parameters) -> Sequence[Any]:
        """Return all rows of a statement, in one hop."""
        while not self._waiting:
            await self._maker.lane()
        loop = asyncio.get_running_loop()
        shot = ReadShot(sql, parameters)
        shot.future = loop.create_future()
        self._send(shot, self._pick())
        if self._timeout_s is not None:
            self._look_at_the_clock(shot, self._timeout_s)
        try:
            await shot.future
        except asyncio.CancelledError:
            self._stop(shot)
            raise
        finally:
            if shot.timer is not None:
                shot.timer.cancel()
        if shot.failure is not None:
            raise shot.failure
        return shot.rows

    def deliver(self, deliver: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        """Have the loop call ``deliver``, with what reads return if they are about to.

        For the threads of others: to wake the loop up would hold up the reads.
        """
        self._deliveries.put(deliver, loop, lambda: not self._is_about_to_return())

    def _is_about_to_return(self) -> bool:
        return any(lane.is_about_to_return for lane in list(self._waiting))

    async def close(self) -> None:
        """End; reads on their way fail."""
        await self._maker.close()
        lanes, self._waiting = self._waiting, {}
        self._busy_with.clear()
        for lane, shots in lanes.items():
            for shot in list(shots):
                shot.claim()
                lane.interrupt(shot)
                self._answer(shot, disposed_meanwhile())
        await asyncio.gather(*(lane.close() for lane in lanes))

    def _take(self, lane: Lane) -> None:
        self._waiting[lane] = {}

    def _pick(self) -> Lane:
        """Return the first lane that is not on a long statement."""
        for lane in self._waiting:
            if lane not in self._busy_with:
                return lane
        return min(self._waiting, key=lambda lane: len(self._waiting[lane]))

    def _send(self, shot: ReadShot, lane: Lane) -> None:
        shot.lane = lane
        self._waiting[lane][shot] = None
        if not self._is_watching:
            self._watch()
        connection = lane.sqlite

        def work() -> None:
            if shot.claim():
                shot.run(connection, self._patience_s)

        lane.send(shot, work, partial(self._returned, shot, lane), self._deliveries)

    def _returned(self, shot: ReadShot, lane: Lane) -> None:
        """Take back a shot that a thread has run, or passed over."""
        self._busy_with.pop(lane, None)
        self._waiting.get(lane, {}).pop(shot, None)
        if shot.error is not None:
            lane.note(shot.error)
            if lane.is_broken and self._waiting.pop(lane, None) is not None:
                tasks.start(lane.close(), name="hqt_async_db close SQLite lane")
        if shot.done:  # else another lane has taken it
            self._answer(shot, shot.error)

    def _answer(self, shot: ReadShot, error: BaseException | None) -> None:
        future = shot.future
        if future is not None and not future.done() and not future.get_loop().is_closed():
            shot.failure = error  # its own error may change, as long as the thread is on it
            future.set_result(None)

    def _stop(self, shot: ReadShot) -> None:
        if shot.claim():  # no thread has come to it
            self._answer(shot, interrupted())
        if shot.lane is not None:
            shot.lane.interrupt(shot)

    def _look_at_the_clock(self, shot: ReadShot, timeout_s: float) -> None:
        """Stop a shot that has run for too long; what it waited before does not count."""
        ran_s = 0.0 if shot.since is None else time.monotonic() - shot.since
        if ran_s >= timeout_s:
            self._stop(shot)
            return
        shot.timer = asyncio.get_running_loop().call_later(
            timeout_s - ran_s, self._look_at_the_clock, shot, timeout_s
        )

    # -- when a statement takes long ---------------------------------------

    def _watch(self) -> None:
        self._is_watching = True
        asyncio.get_running_loop().call_later(LONG_S, self._look, self._jobs())

    def _jobs(self) -> dict[Lane, object]:
        return {lane: lane.current for lane in self._waiting if lane.current is not None}

    def _look(self, before: dict[Lane, object]) -> None:
        """Find lanes that are on the same statement as before, and pass them by."""
        self._is_watching = False
        self._deliveries.deliver()
        for lane, job in self._jobs().items():
            if before.get(lane) is job:
                self._busy_with[lane] = job
        if any(len(self._waiting[lane]) > 1 for lane in self._busy_with):
            self._relieve()
        if self._is_watching:  # already again, for what was sent to another lane
            return
        # Behind what runs may be something to deliver, by others, too.
        if self._is_about_to_return() or any(len(shots) > 1 for shots in self._waiting.values()):
            self._watch()

    def _relieve(self) -> None:
        """Let other lanes have what waits behind long statements."""
        free = self._pick()
        if free in self._busy_with:
            if self._has_room:
                tasks.start(self._add_quietly(), name="hqt_async_db open SQLite lane")
            return
        for lane in self._busy_with:
            shots = self._waiting[lane]
            for shot in [shot for shot in shots if shot is not lane.current]:
                del shots[shot]
                self._send(shot, free)

    @property
    def _has_room(self) -> bool:
        """Tell whether there may be one more lane."""
        return len(self._waiting) < self._most

    async def _add_quietly(self) -> None:
        """Open one more lane, if there may be one; where that fails, the others go on."""
        if not self._has_room:  # one has been opened since
            return
        with suppress(NoWayError, DatabaseClosedError):
            await self._maker.lane()
            self._relieve()
