"""Backtests and their trades."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from sqlalchemy import inspect

from hqt_async_db.errors import InvalidInputError
from hqt_async_db.models import Backtest, BacktestTrade, Double, RunStatus
from hqt_async_db.repositories.base import BaseRepository
from hqt_async_db.repositories.queries import given
from hqt_async_db.repositories.runs import RunRepository
from hqt_async_db.repositories.statistics import (
    TradeStatistics,
    is_above_zero,
    is_known,
    statistics_of,
    statistics_row,
)

if TYPE_CHECKING:
    from hqt_async_db.repositories.queries import ReadOptions


class BacktestRepository(RunRepository[Backtest]):
    """Backtests and their metrics."""

    async def leaderboard(
        self, metric: str = "sharpe_ratio", *, limit: int = 10, ascending: bool = False,
        **filters: Any,
    ) -> list[Backtest]:  # fmt: skip
        """Return the completed backtests with the best value of a metric.

        Backtests without a value are left out, and those whose value is NaN,
        which PostgreSQL keeps. One SELECT.

        Args:
            metric: Name of a metric column, such as ``profit_factor``.
            limit: Backtests at most.
            ascending: Whether less is better, as for ``volatility``.
            filters: Keyword equality, such as ``symbol="EURUSD"``.

        Raises:
            InvalidInputError: ``metric`` is no metric column.
        """
        _require_metric(metric)
        filters.setdefault("status", RunStatus.COMPLETED)
        order_by = metric if ascending else f"-{metric}"
        valued = is_known(getattr(Backtest, metric))
        return await self.get_many(valued, order_by=order_by, limit=limit, **filters)


class TradeRepository(BaseRepository[BacktestTrade]):
    """Simulated trades."""

    async def get_by_backtest(
        self, backtest_id: int, *, symbol: str | None = None, **options: Unpack[ReadOptions]
    ) -> list[BacktestTrade]:
        """Return the trades of a backtest, by entry time. One SELECT."""
        options.setdefault("order_by", "entry_time")
        return await self.get_many(backtest_id=backtest_id, **given(symbol=symbol), **options)

    async def get_by_symbol(
        self, symbol: str, **options: Unpack[ReadOptions]
    ) -> list[BacktestTrade]:
        """Return the trades on a symbol in all backtests, by entry time. One SELECT."""
        options.setdefault("order_by", "entry_time")
        return await self.get_many(symbol=symbol, **options)

    async def get_winning_trades(
        self, backtest_id: int, **options: Unpack[ReadOptions]
    ) -> list[BacktestTrade]:
        """Return the trades with a profit above zero, by entry time. One SELECT."""
        options.setdefault("order_by", "entry_time")
        return await self.get_many(
            is_above_zero(BacktestTrade.profit), backtest_id=backtest_id, **options
        )

    async def get_losing_trades(
        self, backtest_id: int, **options: Unpack[ReadOptions]
    ) -> list[BacktestTrade]:
        """Return the trades with a profit below zero, by entry time. One SELECT."""
        options.setdefault("order_by", "entry_time")
        return await self.get_many(BacktestTrade.profit < 0, backtest_id=backtest_id, **options)

    async def get_open_trades(
        self, backtest_id: int, **options: Unpack[ReadOptions]
    ) -> list[BacktestTrade]:
        """Return the trades that the backtest left open, by entry time. One SELECT."""
        options.setdefault("order_by", "entry_time")
        return await self.get_many(backtest_id=backtest_id, exit_time=None, **options)

    async def statistics(self, backtest_id: int) -> TradeStatistics:
        """Return counts, profit factor and the like of a backtest. One SELECT."""
        columns = statistics_of(BacktestTrade.profit)
        found = await self.rows(*columns, backtest_id=backtest_id)
        return statistics_row(found[0])


def _require_metric(name: str) -> None:
    known = [
        prop.key
        for prop in inspect(Backtest).column_attrs
        if isinstance(prop.columns[0].type, Double) and prop.columns[0].nullable
    ]
    if name not in known:
        msg = f"metric must be one of {', '.join(sorted(known))}"
        raise InvalidInputError(msg, field="metric")
