"""Backtests and the trades they simulated."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from hqt_async_db.models.base import Base, IdMixin, TimestampMixin
from hqt_async_db.models.types import (
    Choice,
    Double,
    ExactText,
    Int32,
    JsonDict,
    RowId,
    UtcDateTime,
    choice_check,
)
from hqt_async_db.models.vocabulary import Direction, RunStatus

if TYPE_CHECKING:
    from hqt_async_db.models.accounts import AccountSnapshot
    from hqt_async_db.models.research import EdgeResult, FinanceMetric
    from hqt_async_db.models.strategies import Strategy
    from hqt_async_db.models.users import User


class Backtest(IdMixin, TimestampMixin, Base):
    """One run of a strategy over past prices, and what came of it.

    ``start_date`` and ``end_date`` bound the prices; ``started_at`` and
    ``completed_at`` say when the run took place. Capital and commission are in
    the account's currency. Returns, drawdowns (negative), volatility,
    ``win_rate``, ``exposure``, ``alpha`` and the ``*_pct`` columns are in
    percent; durations in seconds; the ratios have no unit. A metric is None
    where it is undefined, such as a profit factor without losing trades.
    """

    __tablename__ = "backtests"
    __table_args__ = (
        choice_check("status", RunStatus),
        Index(None, "user_id", "created_at"),
        Index(None, "strategy_id", "created_at"),
        Index(None, "symbol", "timeframe"),
        Index(None, "status"),
    )
    __repr_fields__: ClassVar[tuple[str, ...]] = ("name", "symbol", "timeframe", "status")

    user_id: Mapped[int] = mapped_column(RowId(), ForeignKey("users.id", ondelete="CASCADE"))
    strategy_id: Mapped[int] = mapped_column(
        RowId(), ForeignKey("strategies.id", ondelete="CASCADE")
    )
    name: Mapped[str] = mapped_column(ExactText(200))
    symbol: Mapped[str] = mapped_column(ExactText(64))
    timeframe: Mapped[str] = mapped_column(ExactText(16))
    start_date: Mapped[datetime] = mapped_column(UtcDateTime())
    end_date: Mapped[datetime] = mapped_column(UtcDateTime())
    parameters: Mapped[dict[str, Any]] = mapped_column(JsonDict(), default=dict)
    status: Mapped[str] = mapped_column(Choice(RunStatus), default=RunStatus.PENDING.value)
    error_message: Mapped[str | None] = mapped_column(ExactText())
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    completed_at: Mapped[datetime | None] = mapped_column(UtcDateTime())

    initial_capital: Mapped[float] = mapped_column(Double())
    final_capital: Mapped[float | None] = mapped_column(Double())
    peak_capital: Mapped[float | None] = mapped_column(Double())
    commission: Mapped[float | None] = mapped_column(Double())

    total_return: Mapped[float | None] = mapped_column(Double())
    annual_return: Mapped[float | None] = mapped_column(Double())
    buy_hold_return: Mapped[float | None] = mapped_column(Double())
    cagr: Mapped[float | None] = mapped_column(Double())
    sharpe_ratio: Mapped[float | None] = mapped_column(Double())
    sortino_ratio: Mapped[float | None] = mapped_column(Double())
    calmar_ratio: Mapped[float | None] = mapped_column(Double())
    alpha: Mapped[float | None] = mapped_column(Double())
    beta: Mapped[float | None] = mapped_column(Double())

    max_drawdown: Mapped[float | None] = mapped_column(Double())
    avg_drawdown: Mapped[float | None] = mapped_column(Double())
    max_drawdown_duration_s: Mapped[float | None] = mapped_column(Double())
    avg_drawdown_duration_s: Mapped[float | None] = mapped_column(Double())
    volatility: Mapped[float | None] = mapped_column(Double())
    exposure: Mapped[float | None] = mapped_column(Double())

    total_trades: Mapped[int | None] = mapped_column(Int32())
    winning_trades: Mapped[int | None] = mapped_column(Int32())
    losing_trades: Mapped[int | None] = mapped_column(Int32())
    win_rate: Mapped[float | None] = mapped_column(Double())
    profit_factor: Mapped[float | None] = mapped_column(Double())
    expectancy: Mapped[float | None] = mapped_column(Double())
    avg_win: Mapped[float | None] = mapped_column(Double())
    avg_loss: Mapped[float | None] = mapped_column(Double())
    best_trade_pct: Mapped[float | None] = mapped_column(Double())
    worst_trade_pct: Mapped[float | None] = mapped_column(Double())
    avg_trade_pct: Mapped[float | None] = mapped_column(Double())
    max_trade_duration_s: Mapped[float | None] = mapped_column(Double())
    avg_trade_duration_s: Mapped[float | None] = mapped_column(Double())
    sqn: Mapped[float | None] = mapped_column(Double())
    kelly_criterion: Mapped[float | None] = mapped_column(Double())

    user: Mapped[User] = relationship(back_populates="backtests")
    strategy: Mapped[Strategy] = relationship(back_populates="backtests")
    trades: Mapped[list[BacktestTrade]] = relationship(
        back_populates="backtest",
        cascade="all, delete-orphan",
        passive_deletes=True,
        order_by="BacktestTrade.entry_time, BacktestTrade.id",
    )
    account_snapshots: Mapped[list[AccountSnapshot]] = relationship(
        back_populates="backtest",
        cascade="all",
        passive_deletes=True,
        order_by="AccountSnapshot.timestamp, AccountSnapshot.id",
    )
    finance_metrics: Mapped[list[FinanceMetric]] = relationship(
        back_populates="backtest", cascade="all", passive_deletes=True, order_by="FinanceMetric.id"
    )
    edge_results: Mapped[list[EdgeResult]] = relationship(
        back_populates="backtest", cascade="all", passive_deletes=True, order_by="EdgeResult.id"
    )


class BacktestTrade(IdMixin, Base):
    """One simulated position of a backtest, from entry to exit.

    ``profit``, ``commission`` (what was paid) and ``swap`` (negative where it
    was paid) are in the account's currency, ``profit_pct`` in percent of the
    entry's value. ``mae`` and ``mfe`` are the worst and the best open profit.
    A position still open at the backtest's end has no exit.
    """

    __tablename__ = "backtest_trades"
    __table_args__ = (
        choice_check("direction", Direction),
        Index(None, "backtest_id", "entry_time"),
        Index(None, "symbol", "entry_time"),
    )
    __repr_fields__: ClassVar[tuple[str, ...]] = ("backtest_id", "symbol", "direction")

    backtest_id: Mapped[int] = mapped_column(
        RowId(), ForeignKey("backtests.id", ondelete="CASCADE")
    )
    symbol: Mapped[str] = mapped_column(ExactText(64))
    direction: Mapped[str] = mapped_column(Choice(Direction))
    volume: Mapped[float] = mapped_column(Double())
    entry_time: Mapped[datetime] = mapped_column(UtcDateTime())
    entry_price: Mapped[float] = mapped_column(Double())
    exit_time: Mapped[datetime | None] = mapped_column(UtcDateTime())
    exit_price: Mapped[float | None] = mapped_column(Double())
    exit_reason: Mapped[str | None] = mapped_column(ExactText(64))
    stop_loss: Mapped[float | None] = mapped_column(Double())
    take_profit: Mapped[float | None] = mapped_column(Double())
    commission: Mapped[float] = mapped_column(Double(), default=0.0)
    swap: Mapped[float] = mapped_column(Double(), default=0.0)
    profit: Mapped[float | None] = mapped_column(Double())
    profit_pct: Mapped[float | None] = mapped_column(Double())
    mae: Mapped[float | None] = mapped_column(Double())
    mfe: Mapped[float | None] = mapped_column(Double())

    backtest: Mapped[Backtest] = relationship(back_populates="trades")
