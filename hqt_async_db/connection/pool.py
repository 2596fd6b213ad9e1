"""A pool that knows who holds its connections."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import exc as sa_exc
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.util.concurrency import await_

from hqt_async_db.connection.usage import Usage, current_task, usage_here
from hqt_async_db.errors import NestedSessionError, PoolTimeoutError

if TYPE_CHECKING:
    from sqlalchemy.pool import ConnectionPoolEntry


_STREAM_GRACE_STEPS: Final = 20
_STREAM_GRACE_STEP_S: Final = 0.005


class TrackedPool(AsyncAdaptedQueuePool):
    """SQLAlchemy's queue pool, with errors that name the holders.

    A task that already holds every connection can never be given one more;
    it is told so at once instead of waiting for itself.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.holders: dict[ConnectionPoolEntry, Usage] = {}

    def _do_get(self) -> ConnectionPoolEntry:
        usage = usage_here()
        self._refuse_to_wait_for_itself()
        try:
            record = super()._do_get()
        except sa_exc.TimeoutError:
            message = self._exhausted()
        else:
            self.holders[record] = usage
            return record
        raise PoolTimeoutError(message)

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        self.holders.pop(record, None)
        super()._do_return_conn(record)

    def _refuse_to_wait_for_itself(self) -> None:
        if self._holds_everything() and any(h.is_stream for h in self.holders.values()):
            # A stream that was left by `break` closes as soon as the loop runs.
            await_(self._wait_for_streams())
        if self._holds_everything():
            held = "; ".join(str(holder) for holder in self.holders.values())
            msg = (
                f"this task holds every connection of the pool itself ({held}); use that session, "
                "or end it first"
            )
            raise NestedSessionError(msg)

    def _holds_everything(self) -> bool:
        """Tell whether nobody but the running task could free a connection."""
        if self._max_overflow < 0 or len(self.holders) < self.size() + self._max_overflow:
            return False
        task = current_task()
        return all(holder.task is task for holder in self.holders.values())

    async def _wait_for_streams(self) -> None:
        for _ in range(_STREAM_GRACE_STEPS):
            await asyncio.sleep(_STREAM_GRACE_STEP_S)
            if not self._holds_everything():
                return

    def _exhausted(self) -> str:
        oldest = sorted(self.holders.values(), key=lambda holder: -holder.age_s)[:5]
        held = "; ".join(str(holder) for holder in oldest) or "nobody known"
        return (
            f"no connection became free within {self.timeout():g} s; {len(self.holders)} are in "
            f"use, longest by: {held}. End sessions sooner, or raise pool_size"
        )
