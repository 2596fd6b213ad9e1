"""A pool that knows who holds its connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import exc as sa_exc
from sqlalchemy.pool import AsyncAdaptedQueuePool

from hqt_async_db.connection.usage import Usage, current_task, usage_here
from hqt_async_db.errors import NestedSessionError, PoolTimeoutError

if TYPE_CHECKING:
    from sqlalchemy.pool import ConnectionPoolEntry


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
        self._refuse_to_wait_for_oneself()
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

    def _refuse_to_wait_for_oneself(self) -> None:
        limit = self.size() + self._max_overflow
        if self._max_overflow < 0 or len(self.holders) < limit:
            return
        task = current_task()
        if all(holder.task is task for holder in self.holders.values()):
            held = "; ".join(str(holder) for holder in self.holders.values())
            msg = (
                f"this task holds all {limit} connections of the pool itself ({held}); use that "
                "session, or end it first"
            )
            raise NestedSessionError(msg)

    def _exhausted(self) -> str:
        oldest = sorted(self.holders.values(), key=lambda holder: -holder.age_s)[:5]
        held = "; ".join(str(holder) for holder in oldest) or "nobody known"
        return (
            f"no connection became free within {self.timeout():g} s; {len(self.holders)} are in "
            f"use, longest by: {held}. End sessions sooner, or raise pool_size"
        )
