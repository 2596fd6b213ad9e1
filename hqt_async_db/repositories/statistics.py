"""Figures over trades, computed by the database in one SELECT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, func, or_
from sqlalchemy.sql.expression import case

if TYPE_CHECKING:
    from sqlalchemy.orm import InstrumentedAttribute


@dataclass(frozen=True, slots=True)
class TradeStatistics:
    """What trades came to, in the account's currency; None where undefined.

    A trade whose profit is NaN, which PostgreSQL keeps, counts as one without
    a profit: among all trades and nowhere else.

    Attributes:
        total_trades: All trades, open ones too.
        winning_trades: Trades with a profit above zero.
        losing_trades: Trades with a profit below zero.
        net_profit: The sum of all profits.
        gross_profit: The sum of the profits above zero.
        gross_loss: The sum of the profits below zero; not above zero.
        best_trade: The largest profit.
        worst_trade: The smallest profit.
    """

    total_trades: int
    winning_trades: int
    losing_trades: int
    net_profit: float
    gross_profit: float
    gross_loss: float
    best_trade: float | None
    worst_trade: float | None

    @property
    def win_rate(self) -> float | None:
        """Return winners in percent of winners and losers."""
        decided = self.winning_trades + self.losing_trades
        return 100 * self.winning_trades / decided if decided else None

    @property
    def profit_factor(self) -> float | None:
        """Return gross profit over gross loss; None without a loss."""
        return self.gross_profit / -self.gross_loss if self.gross_loss else None

    @property
    def avg_win(self) -> float | None:
        """Return the mean profit of the winners."""
        return self.gross_profit / self.winning_trades if self.winning_trades else None

    @property
    def avg_loss(self) -> float | None:
        """Return the mean profit of the losers, below zero."""
        return self.gross_loss / self.losing_trades if self.losing_trades else None


def is_above_zero(number: InstrumentedAttribute[Any]) -> ColumnElement[bool]:
    """Return the criterion ``number > 0``, but for NaN, which PostgreSQL holds for the largest."""
    return -number < 0


def is_known(number: InstrumentedAttribute[Any]) -> ColumnElement[bool]:
    """Return the criterion that there is a number: neither NULL nor NaN."""
    # By the first one the rows without a number are passed over in an index.
    return and_(number.is_not(None), or_(is_above_zero(number), number <= 0))


def statistics_of(profit: InstrumentedAttribute[Any]) -> list[ColumnElement[Any]]:
    """Return the aggregates that :func:`statistics_row` takes."""
    won, lost = case((is_above_zero(profit), profit)), case((profit < 0, profit))
    known = case((is_known(profit), profit))
    return [
        func.count().label("total_trades"),
        func.count(won).label("winning_trades"),
        func.count(lost).label("losing_trades"),
        func.coalesce(func.sum(known), 0.0).label("net_profit"),
        func.coalesce(func.sum(won), 0.0).label("gross_profit"),
        func.coalesce(func.sum(lost), 0.0).label("gross_loss"),
        func.max(known).label("best_trade"),
        func.min(known).label("worst_trade"),
    ]


def statistics_row(row: Any) -> TradeStatistics:
    """Return the statistics of one row of aggregates."""
    return TradeStatistics(*row)
