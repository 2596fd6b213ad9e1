"""Figures that research derives from trades."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, declared_attr, mapped_column, relationship

from hqt_async_db.models.base import Base, CreatedMixin, IdMixin
from hqt_async_db.models.types import Double, ExactText, Flag, Int32, JsonDict, RowId, UtcDateTime

if TYPE_CHECKING:
    from hqt_async_db.models.backtests import Backtest
    from hqt_async_db.models.strategies import Strategy
    from hqt_async_db.models.users import User


class _ResearchMixin:
    """What a research result is about: any of these, and a span of time."""

    user_id: Mapped[int | None] = mapped_column(RowId(), ForeignKey("users.id", ondelete="CASCADE"))
    strategy_id: Mapped[int | None] = mapped_column(
        RowId(), ForeignKey("strategies.id", ondelete="CASCADE")
    )
    backtest_id: Mapped[int | None] = mapped_column(
        RowId(), ForeignKey("backtests.id", ondelete="CASCADE")
    )
    symbol: Mapped[str | None] = mapped_column(ExactText(64))
    timeframe: Mapped[str | None] = mapped_column(ExactText(16))
    period_start: Mapped[datetime | None] = mapped_column(UtcDateTime())
    period_end: Mapped[datetime | None] = mapped_column(UtcDateTime())

    @declared_attr
    def user(cls) -> Mapped[User | None]:  # noqa: N805 - a class-level attribute
        """Whose result it is."""
        return relationship()

    @declared_attr
    def strategy(cls) -> Mapped[Strategy | None]:  # noqa: N805 - a class-level attribute
        """Which strategy it describes."""
        return relationship()

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:  # noqa: N805 - a class-level directive
        """Index what a page or a notebook asks for."""
        return (
            Index(None, "user_id", "created_at"),
            Index(None, "strategy_id", "created_at"),
            Index(None, "backtest_id", "created_at"),
            Index(None, "symbol", "timeframe"),
        )


class FinanceMetric(IdMixin, CreatedMixin, _ResearchMixin, Base):
    """The performance of a backtest, a strategy or an account over a period.

    Returns, volatility, drawdown (negative), the values at risk (negative,
    95 % unless ``metrics`` says otherwise) and ``win_rate`` are in percent;
    ``expectancy``, ``avg_win`` and ``avg_loss`` in the account's currency per
    trade. None where a figure is undefined; ``metrics`` takes any other.
    """

    __tablename__ = "finance_metrics"
    __repr_fields__: ClassVar[tuple[str, ...]] = ("backtest_id", "strategy_id", "account_id")

    account_id: Mapped[str | None] = mapped_column(ExactText(64), index=True)
    total_return: Mapped[float | None] = mapped_column(Double())
    annual_return: Mapped[float | None] = mapped_column(Double())
    volatility: Mapped[float | None] = mapped_column(Double())
    sharpe_ratio: Mapped[float | None] = mapped_column(Double())
    sortino_ratio: Mapped[float | None] = mapped_column(Double())
    calmar_ratio: Mapped[float | None] = mapped_column(Double())
    omega_ratio: Mapped[float | None] = mapped_column(Double())
    max_drawdown: Mapped[float | None] = mapped_column(Double())
    recovery_factor: Mapped[float | None] = mapped_column(Double())
    ulcer_index: Mapped[float | None] = mapped_column(Double())
    value_at_risk: Mapped[float | None] = mapped_column(Double())
    conditional_value_at_risk: Mapped[float | None] = mapped_column(Double())
    skewness: Mapped[float | None] = mapped_column(Double())
    kurtosis: Mapped[float | None] = mapped_column(Double())
    alpha: Mapped[float | None] = mapped_column(Double())
    beta: Mapped[float | None] = mapped_column(Double())
    total_trades: Mapped[int | None] = mapped_column(Int32())
    win_rate: Mapped[float | None] = mapped_column(Double())
    profit_factor: Mapped[float | None] = mapped_column(Double())
    expectancy: Mapped[float | None] = mapped_column(Double())
    avg_win: Mapped[float | None] = mapped_column(Double())
    avg_loss: Mapped[float | None] = mapped_column(Double())
    kelly_criterion: Mapped[float | None] = mapped_column(Double())
    sqn: Mapped[float | None] = mapped_column(Double())
    metrics: Mapped[dict[str, Any]] = mapped_column(JsonDict(), default=dict)

    backtest: Mapped[Backtest | None] = relationship(back_populates="finance_metrics")


class EdgeResult(IdMixin, CreatedMixin, _ResearchMixin, Base):
    """Whether trades had an edge, and how sure that is.

    ``expectancy``, ``avg_win`` and ``avg_loss`` are in the account's currency
    per trade, ``win_rate`` in percent; ``edge_ratio`` is the mean best open
    profit over the mean worst one; the confidence bounds are those of the
    expectancy. None where a figure is undefined; ``metrics`` takes any other.
    """

    __tablename__ = "edge_results"
    __repr_fields__: ClassVar[tuple[str, ...]] = ("backtest_id", "strategy_id", "name")

    name: Mapped[str | None] = mapped_column(ExactText(100))
    sample_size: Mapped[int | None] = mapped_column(Int32())
    expectancy: Mapped[float | None] = mapped_column(Double())
    win_rate: Mapped[float | None] = mapped_column(Double())
    avg_win: Mapped[float | None] = mapped_column(Double())
    avg_loss: Mapped[float | None] = mapped_column(Double())
    payoff_ratio: Mapped[float | None] = mapped_column(Double())
    profit_factor: Mapped[float | None] = mapped_column(Double())
    edge_ratio: Mapped[float | None] = mapped_column(Double())
    kelly_criterion: Mapped[float | None] = mapped_column(Double())
    sqn: Mapped[float | None] = mapped_column(Double())
    t_statistic: Mapped[float | None] = mapped_column(Double())
    p_value: Mapped[float | None] = mapped_column(Double())
    confidence_low: Mapped[float | None] = mapped_column(Double())
    confidence_high: Mapped[float | None] = mapped_column(Double())
    is_significant: Mapped[bool | None] = mapped_column(Flag())
    metrics: Mapped[dict[str, Any]] = mapped_column(JsonDict(), default=dict)

    backtest: Mapped[Backtest | None] = relationship(back_populates="edge_results")
