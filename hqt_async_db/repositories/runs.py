"""What backtests and optimisations share: runs with a status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from hqt_async_db.models import Backtest, Optimization, RunStatus
from hqt_async_db.models.types import utc_now
from hqt_async_db.repositories.base import BaseRepository
from hqt_async_db.repositories.queries import given

if TYPE_CHECKING:
    from hqt_async_db.repositories.queries import ReadOptions

RunT = TypeVar("RunT", bound=Backtest | Optimization)


class RunRepository(BaseRepository[RunT]):
    """Runs of a strategy, newest first, and how far they have come."""

    async def get_by_user(self, user_id: int, **options: Unpack[ReadOptions]) -> list[RunT]:
        """Return the runs of a user, newest first. One SELECT."""
        return await self._newest(options, user_id=user_id)

    async def get_by_strategy(self, strategy_id: int, **options: Unpack[ReadOptions]) -> list[RunT]:
        """Return the runs of a strategy, newest first. One SELECT."""
        return await self._newest(options, strategy_id=strategy_id)

    async def get_by_symbol(
        self, symbol: str, *, timeframe: str | None = None, **options: Unpack[ReadOptions]
    ) -> list[RunT]:
        """Return the runs on a symbol, and timeframe, newest first. One SELECT."""
        return await self._newest(options, symbol=symbol, **given(timeframe=timeframe))

    async def get_by_status(self, status: str, **options: Unpack[ReadOptions]) -> list[RunT]:
        """Return the runs of a :class:`RunStatus`, newest first. One SELECT."""
        return await self._newest(options, status=status)

    async def start(self, run: RunT) -> RunT:
        """Note that the run has begun. One UPDATE."""
        return await self.update(run, status=RunStatus.RUNNING, started_at=utc_now())

    async def complete(self, run: RunT, **results: Any) -> RunT:
        """Note that the run has ended, with its results by field name. One UPDATE."""
        ended = {"status": RunStatus.COMPLETED, "completed_at": utc_now()}
        return await self.update(run, **ended | results)

    async def fail(self, run: RunT, error_message: str) -> RunT:
        """Note that the run has failed, and why. One UPDATE."""
        return await self.update(
            run, status=RunStatus.FAILED, completed_at=utc_now(), error_message=error_message
        )

    async def cancel(self, run: RunT) -> RunT:
        """Note that the run was given up. One UPDATE."""
        return await self.update(run, status=RunStatus.CANCELLED, completed_at=utc_now())

    async def _newest(self, options: ReadOptions, **filters: Any) -> list[RunT]:
        options.setdefault("order_by", "-created_at")
        return await self.get_many(**filters, **options)
