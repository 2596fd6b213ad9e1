"""The lane of one-shot writes: those that wait together share a commit."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

from hqt_async_db.connection import tasks
from hqt_async_db.connection.backends.direct import NoWayError
from hqt_async_db.connection.backends.sqlite.gate import late
from hqt_async_db.connection.backends.sqlite.lanes import LaneMaker
from hqt_async_db.connection.backends.sqlite.shots import Batch
from hqt_async_db.connection.ownership import disposed_meanwhile
from hqt_async_db.connection.sessions.transaction import (
    Outcome,
    Receipt,
    unknown_outcome,
)
from hqt_async_db.errors import CommitOutcomeUnknownError, DatabaseLockedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

    from hqt_async_db.connection.backends.sqlite.lanes import Lane
    from hqt_async_db.connection.backends.sqlite.shots import WriteShot
    from hqt_async_db.connection.options import Options

# So many short statements take about a millisecond.
_MOST_PER_COMMIT: Final = 100


class WriteLane:
    """One connection through which one-shot writes go, first come, first served.

    It waits for the turn to write, among the sessions, at the gate of the
    file; what has come up to then is one transaction.

    Args:
        engine: Whose pool tells how to make the connection.
        options: How long to wait for the turn, for other processes and for a
            COMMIT, and when to interrupt statements.
        record: Takes the receipt of each write.
        deliver: Has the loop call something, from a thread.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        options: Options,
        record: Callable[[Receipt], None],
        deliver: Callable[[Callable[[], None], asyncio.AbstractEventLoop], None],
    ) -> None:
        self._maker = LaneMaker(engine, self._take)
        self._options = options
        self._record = record
        self._deliver = deliver
        self._lane: Lane | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pending: deque[WriteShot] = deque()
        self._batch: Batch | None = None
        self._batch_lane: Lane | None = None
        # Looks whether a COMMIT takes too long; one for all batches, which are many.
        self._timer: asyncio.TimerHandle | None = None
        # Looks whether one waits too long behind a batch; one for all, as well.
        self._patience: asyncio.TimerHandle | None = None
        self._turn: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._is_closed = False

    async def open(self) -> None:
        """Open the connection, if it is not."""
        if self._lane is None:
            await self._maker.lane()

    async def write(self, shot: WriteShot) -> None:
        """Run a statement and commit; cancelled, what became of it is known first.

        Raises:
            NoWayError: There is no connection; nothing was run.
            NestedSessionError: The running task has the turn itself.
            DatabaseLockedError: The turn did not come in time.
            CommitOutcomeUnknownError: The commit may have taken effect.
            sqlite3.Error: What the statement or its commit raised.
        """
        lane = self._lane or await self._maker.lane()
        if lane.gate is not None:
            lane.gate.refuse_nested()
        self._loop = asyncio.get_running_loop()
        shot.future = self._loop.create_future()
        self._pending.append(shot)
        self._go_on()
        try:
            await shot.future
        except asyncio.CancelledError as cancelled:
            await self._withdraw(shot)
            doubt = shot.error if isinstance(shot.error, CommitOutcomeUnknownError) else None
            raise cancelled from doubt
        if shot.error is not None:
            raise shot.error

    async def close(self) -> None:
        """End: what waits fails, what runs is waited for."""
        self._is_closed = True
        if self._loop is not None and self._loop.is_closed():
            self._forget()
        await self._stop()
        for timer in (self._timer, self._patience):
            if timer is not None:
                timer.cancel()
        await self._maker.close()
        if self._lane is not None:
            await self._lane.close()

    async def _stop(self) -> None:
        for shot in self._pending:
            if shot.claim():
                self._answer(shot, disposed_meanwhile())
        if self._batch is not None:
            for shot in self._batch.shots:
                shot.is_unwanted = True
            self._stop_if_unwanted(self._batch)
        if self._turn is not None:
            self._turn.cancel()
            await asyncio.wait((self._turn,))
        if self._batch is not None:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    def _forget(self) -> None:
        """Forget what nobody waits for any more, as its loop is closed."""
        self._pending.clear()
        self._batch = self._turn = self._timer = self._patience = None

    def _take(self, lane: Lane) -> None:
        self._lane = lane

    # -- taking turns ------------------------------------------------------

    def _go_on(self) -> None:
        """Send what waits, now or when the turn comes."""
        while self._pending and self._pending[0].answered:  # its task was cancelled
            self._pending.popleft()
        if not self._pending or self._turn is not None:
            return
        if self._batch is not None:
            if self._patience is None:
                self._wait_for_batch()
            return
        lane = self._lane
        if lane is not None and (lane.gate is None or lane.gate.enter_now(self._pending[0].usage)):
            self._send(lane)
        else:
            self._turn = tasks.start(self._take_turn(), name="hqt_async_db one-shot writes")

    async def _take_turn(self) -> None:
        """Wait for the turn to write, and send what has come up to then."""
        try:
            lane = self._lane or await self._maker.lane()
            if lane.gate is not None:
                usage = self._pending[0].usage
                await lane.gate.enter(self._options.lock_timeout_s, usage, waited_s=usage.age_s)
        except asyncio.CancelledError:  # the loop ends; who waits must not wait for ever
            while self._pending:
                self._answer(self._pending.popleft(), disposed_meanwhile())
            raise
        except Exception as error:  # noqa: BLE001 - raised in the tasks that wait
            self._give_up_waiting(error)
        else:
            self._send(lane)
        finally:
            self._turn = None
            self._go_on()

    def _send(self, lane: Lane) -> None:
        """Have the thread run the next batch; the turn has come."""
        batch = self._next_batch()
        if not batch.shots:  # all were cancelled meanwhile
            if lane.gate is not None:
                lane.gate.leave()
            return
        self._batch, self._batch_lane = batch, lane
        if self._timer is None:
            self._look_in(self._options.commit_timeout_s)
        lane.thread.start(
            batch.run,
            lane.thread.connection,
            self._options.lock_timeout_s,
            then=partial(self._returned, lane, batch),
            deliver=self._deliver,
            timeout_s=self._options.statement_timeout_s,
        )

    def _returned(self, lane: Lane, batch: Batch, error: BaseException | None) -> None:
        """Take back a batch, let the next writer in, and tell each task its fate."""
        if self._batch is batch:  # else it was given up
            self._batch = None
        if lane.gate is not None:
            lane.gate.leave()
        if error is not None:  # it was stopped before its turn on the thread came
            for shot in batch.shots:
                shot.error = shot.error or error
        if batch.is_to_be_split:
            self._split(batch)
        else:
            for shot in batch.shots:
                self._settle(shot, lane)
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._go_on()

    def _next_batch(self) -> Batch:
        shots: list[WriteShot] = []
        while self._pending and len(shots) < _MOST_PER_COMMIT:
            if shots and not (shots[0].joins and self._pending[0].joins):
                break
            shot = self._pending.popleft()
            if not shot.answered:  # else its task was cancelled
                shots.append(shot)
        return Batch(shots)

    def _give_up_waiting(self, error: Exception) -> None:
        """Tell those that have waited as long as they may, or all if it is hopeless."""
        is_late = isinstance(error, DatabaseLockedError)
        for shot in list(self._pending):
            if is_late and shot.usage.age_s < self._options.lock_timeout_s:
                break
            self._pending.popleft()
            if shot.claim():
                self._answer(shot, DatabaseLockedError(str(error)) if is_late else error)

    def _wait_for_batch(self) -> None:
        """Look once the first one has waited for as long as it may."""
        left_s = self._options.lock_timeout_s - self._pending[0].usage.age_s
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(max(0.0, left_s), self._lose_patience)

    def _lose_patience(self) -> None:
        """Tell those that have waited too long behind a batch, unless it has returned."""
        self._patience = None
        if self._batch is not None and self._pending:
            self._give_up_waiting(late(self._options.lock_timeout_s, self._batch.shots[0].usage))
            self._go_on()

    def _look_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        """Wait no longer for a COMMIT that does not come back."""
        self._timer, batch = None, self._batch
        if batch is None:
            return
        since = batch.committing_since
        waited_s = 0.0 if since is None else time.monotonic() - since
        left_s = self._options.commit_timeout_s - waited_s
        if left_s > 0:
            self._look_in(left_s)
            return
        for shot in batch.shots:
            # What was withdrawn, or refused by its statement, is not in that COMMIT.
            error = shot.error
            is_unknown = error is None or shot.is_in_doubt
            self._answer(shot, unknown_outcome(error) if is_unknown else error)
        self._batch = None
        if self._lane is not None and self._lane is self._batch_lane:
            tasks.start(self._lane.close(), name="hqt_async_db close SQLite lane")
            self._lane = None
        # The turn is not over before the thread is; who waits for it is told so.
        self._go_on()

    def _split(self, batch: Batch) -> None:
        """Have each of the writes, which failed together, run alone."""
        for shot in reversed(batch.shots):
            if shot.is_unwanted:
                self._answer(
                    shot, disposed_meanwhile() if self._is_closed else asyncio.CancelledError()
                )
            elif not shot.answered:
                shot.begin_again_alone()
                self._pending.appendleft(shot)

    # -- what became of it -------------------------------------------------

    def _settle(self, shot: WriteShot, lane: Lane) -> None:
        error = shot.error
        if error is not None:
            lane.note(error)
            if lane.is_broken and self._lane is lane:
                self._lane = None
                tasks.start(lane.close(), name="hqt_async_db close SQLite lane")
            if shot.is_in_doubt:
                error = unknown_outcome(error)
            elif self._is_closed:
                error = disposed_meanwhile()
        self._answer(shot, error)

    def _answer(self, shot: WriteShot, error: BaseException | None) -> None:
        if shot.answered:
            return
        shot.answered = True
        shot.error = error
        shot.usage.task = None  # which is not inside of this write any more
        if shot.future is not None and not shot.future.done():
            shot.future.set_result(None)
        if isinstance(error, NoWayError):
            return  # it goes another way
        is_unknown = isinstance(error, CommitOutcomeUnknownError)
        outcome: Outcome = "unknown" if is_unknown else "rolled_back" if error else "committed"
        self._record(Receipt(outcome, shot.tables))

    async def _withdraw(self, shot: WriteShot) -> None:
        """Keep a shot from running; if it runs, or was sent alone, wait for the end of that."""
        shot.is_unwanted = True
        batch = self._batch
        if shot.claim():
            shot.error = asyncio.CancelledError()
            if batch is None or shot not in batch.shots or not batch.is_unwanted:
                self._answer(shot, shot.error)
        if batch is not None:
            self._stop_if_unwanted(batch)
        if not shot.answered:  # by then its turn is over, too
            shot.future = asyncio.get_running_loop().create_future()
            await tasks.wait(shot.future, None)

    def _stop_if_unwanted(self, batch: Batch) -> None:
        """Interrupt what runs, unless a task waits for it or it is being committed."""
        if batch.is_unwanted and batch.can_be_stopped and self._lane is not None:
            self._lane.thread.interrupt()
