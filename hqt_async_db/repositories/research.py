"""Figures that research derives from trades."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from hqt_async_db.models import EdgeResult, FinanceMetric
from hqt_async_db.repositories.base import BaseRepository
from hqt_async_db.repositories.queries import given

if TYPE_CHECKING:
    from hqt_async_db.repositories.queries import ReadOptions

ResearchT = TypeVar("ResearchT", bound=FinanceMetric | EdgeResult)


class ResearchRepository(BaseRepository[ResearchT]):
    """Research results, newest first."""

    async def get_by_user(self, user_id: int, **options: Unpack[ReadOptions]) -> list[ResearchT]:
        """Return the results of a user, newest first. One SELECT."""
        return await self._newest(options, user_id=user_id)

    async def get_by_strategy(
        self, strategy_id: int, **options: Unpack[ReadOptions]
    ) -> list[ResearchT]:
        """Return the results about a strategy, newest first. One SELECT."""
        return await self._newest(options, strategy_id=strategy_id)

    async def get_by_backtest(
        self, backtest_id: int, **options: Unpack[ReadOptions]
    ) -> list[ResearchT]:
        """Return the results about a backtest, newest first. One SELECT."""
        return await self._newest(options, backtest_id=backtest_id)

    async def get_by_symbol(
        self, symbol: str, *, timeframe: str | None = None, **options: Unpack[ReadOptions]
    ) -> list[ResearchT]:
        """Return the results about a symbol, and timeframe, newest first. One SELECT."""
        return await self._newest(options, symbol=symbol, **given(timeframe=timeframe))

    async def get_latest(self, backtest_id: int) -> ResearchT | None:
        """Return the newest result about a backtest, or None. One SELECT."""
        found = await self.get_by_backtest(backtest_id, limit=1)
        return found[0] if found else None

    async def _newest(self, options: ReadOptions, **filters: Any) -> list[ResearchT]:
        options.setdefault("order_by", "-created_at")
        return await self.get_many(**filters, **options)


class FinanceMetricRepository(ResearchRepository[FinanceMetric]):
    """Performance figures."""

    async def get_by_account(
        self, account_id: str, **options: Unpack[ReadOptions]
    ) -> list[FinanceMetric]:
        """Return the figures of an account, newest first. One SELECT."""
        return await self._newest(options, account_id=account_id)


class EdgeResultRepository(ResearchRepository[EdgeResult]):
    """Analyses of a trading edge."""

    async def get_significant(
        self, strategy_id: int, **options: Unpack[ReadOptions]
    ) -> list[EdgeResult]:
        """Return the significant edges of a strategy, newest first. One SELECT."""
        return await self._newest(options, strategy_id=strategy_id, is_significant=True)
