"""Searches for good parameters."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from hqt_async_db.models.base import Base, CreatedMixin, IdMixin, TimestampMixin
from hqt_async_db.models.types import (
    Choice,
    Double,
    ExactText,
    Flag,
    Int32,
    Int64,
    JsonDict,
    RowId,
    UtcDateTime,
    choice_check,
)
from hqt_async_db.models.vocabulary import RunStatus

if TYPE_CHECKING:
    from hqt_async_db.models.strategies import Strategy
    from hqt_async_db.models.users import User


class Optimization(IdMixin, TimestampMixin, Base):
    """One search through a strategy's parameter space.

    ``objective`` names the metric that is optimised (``sharpe_ratio``),
    upwards where ``maximize`` is set; ``method`` the search (``grid``,
    ``random``, ``genetic``). ``parameter_space`` maps each parameter to the
    values or the range that is searched.
    """

    __tablename__ = "optimizations"
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
    start_date: Mapped[datetime | None] = mapped_column(UtcDateTime())
    end_date: Mapped[datetime | None] = mapped_column(UtcDateTime())
    method: Mapped[str] = mapped_column(ExactText(32), default="grid")
    objective: Mapped[str] = mapped_column(ExactText(64), default="sharpe_ratio")
    maximize: Mapped[bool] = mapped_column(Flag(), default=True)
    parameter_space: Mapped[dict[str, Any]] = mapped_column(JsonDict(), default=dict)
    status: Mapped[str] = mapped_column(Choice(RunStatus), default=RunStatus.PENDING.value)
    error_message: Mapped[str | None] = mapped_column(ExactText())
    total_combinations: Mapped[int | None] = mapped_column(Int64())
    completed_combinations: Mapped[int] = mapped_column(Int64(), default=0)
    best_score: Mapped[float | None] = mapped_column(Double())
    best_parameters: Mapped[dict[str, Any] | None] = mapped_column(JsonDict())
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    completed_at: Mapped[datetime | None] = mapped_column(UtcDateTime())

    user: Mapped[User] = relationship(back_populates="optimizations")
    strategy: Mapped[Strategy] = relationship(back_populates="optimizations")
    results: Mapped[list[OptimizationResult]] = relationship(
        back_populates="optimization",
        cascade="all, delete-orphan",
        passive_deletes=True,
        order_by="OptimizationResult.id",
    )


class OptimizationResult(IdMixin, CreatedMixin, Base):
    """One combination of parameters that was tried, and how it did.

    ``score`` is the value of the optimisation's objective, None where the run
    gave none. ``metrics`` holds every other figure; returns, drawdown and
    ``win_rate`` are in percent.
    """

    __tablename__ = "optimization_results"
    __table_args__ = (Index(None, "optimization_id", "score"),)
    __repr_fields__: ClassVar[tuple[str, ...]] = ("optimization_id", "score")

    optimization_id: Mapped[int] = mapped_column(
        RowId(), ForeignKey("optimizations.id", ondelete="CASCADE")
    )
    parameters: Mapped[dict[str, Any]] = mapped_column(JsonDict())
    score: Mapped[float | None] = mapped_column(Double())
    total_return: Mapped[float | None] = mapped_column(Double())
    sharpe_ratio: Mapped[float | None] = mapped_column(Double())
    max_drawdown: Mapped[float | None] = mapped_column(Double())
    profit_factor: Mapped[float | None] = mapped_column(Double())
    win_rate: Mapped[float | None] = mapped_column(Double())
    total_trades: Mapped[int | None] = mapped_column(Int32())
    metrics: Mapped[dict[str, Any]] = mapped_column(JsonDict(), default=dict)

    optimization: Mapped[Optimization] = relationship(back_populates="results")
