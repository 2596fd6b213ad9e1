"""Positions in the market: with real money, and on paper."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, declared_attr, mapped_column, relationship

from hqt_async_db.models.base import Base, IdMixin, TimestampMixin, VersionMixin
from hqt_async_db.models.types import Choice, ExactText, Money, RowId, UtcDateTime, choice_check
from hqt_async_db.models.vocabulary import Direction, TradeStatus

if TYPE_CHECKING:
    from hqt_async_db.models.strategies import Strategy
    from hqt_async_db.models.users import User


class _PositionMixin:
    """The columns of a position, live or on paper."""

    __repr_fields__: ClassVar[tuple[str, ...]] = (
        "account_id",
        "client_order_id",
        "symbol",
        "direction",
        "status",
    )

    user_id: Mapped[int | None] = mapped_column(
        RowId(), ForeignKey("users.id", ondelete="RESTRICT")
    )
    strategy_id: Mapped[int | None] = mapped_column(
        RowId(), ForeignKey("strategies.id", ondelete="RESTRICT")
    )
    account_id: Mapped[str] = mapped_column(ExactText(64))
    client_order_id: Mapped[str] = mapped_column(ExactText(64))
    venue: Mapped[str | None] = mapped_column(ExactText(64))
    venue_order_id: Mapped[str | None] = mapped_column(ExactText(128))
    venue_trade_id: Mapped[str | None] = mapped_column(ExactText(128))
    symbol: Mapped[str] = mapped_column(ExactText(64))
    direction: Mapped[str] = mapped_column(Choice(Direction))
    status: Mapped[str] = mapped_column(Choice(TradeStatus), default=TradeStatus.PENDING.value)
    volume: Mapped[Decimal] = mapped_column(Money())
    entry_price: Mapped[Decimal | None] = mapped_column(Money())
    entry_time: Mapped[datetime | None] = mapped_column(UtcDateTime())
    exit_price: Mapped[Decimal | None] = mapped_column(Money())
    exit_time: Mapped[datetime | None] = mapped_column(UtcDateTime())
    stop_loss: Mapped[Decimal | None] = mapped_column(Money())
    take_profit: Mapped[Decimal | None] = mapped_column(Money())
    commission: Mapped[Decimal] = mapped_column(Money(), default=Decimal(0))
    swap: Mapped[Decimal] = mapped_column(Money(), default=Decimal(0))
    profit: Mapped[Decimal | None] = mapped_column(Money())
    exit_reason: Mapped[str | None] = mapped_column(ExactText(64))

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:  # noqa: N805 - a class-level directive
        """Allow one row per order, and index what bots and pages ask for."""
        return (
            UniqueConstraint("account_id", "client_order_id"),
            choice_check("direction", Direction),
            choice_check("status", TradeStatus),
            Index(None, "account_id", "status"),
            Index(None, "account_id", "exit_time"),
            Index(None, "user_id", "status"),
            Index(None, "strategy_id", "entry_time"),
            Index(None, "symbol", "entry_time"),
            Index(None, "status"),
            Index(None, "venue_order_id"),
            Index(None, "venue_trade_id"),
        )


class LiveTrade(IdMixin, TimestampMixin, VersionMixin, _PositionMixin, Base):
    """One position with real money, from its opening order to its exit.

    The row is written before the order is sent (status ``pending``) and moves
    on with the position. ``account_id`` and ``client_order_id`` together are
    unique, so recording an order twice is impossible. ``volume`` is in the
    venue's units (lots, contracts, coins) and positive for both directions;
    prices are per unit in the quote currency; ``commission`` (what was paid),
    ``swap`` (negative where it was paid) and ``profit`` (after both) are in
    the account's currency. Entry and exit stay None until they happen.

    ``version`` counts the changes: saving a row that another session changed
    meanwhile raises StaleRecordError.
    """

    __tablename__ = "live_trades"

    user: Mapped[User | None] = relationship(back_populates="live_trades")
    strategy: Mapped[Strategy | None] = relationship(back_populates="live_trades")


class PaperTrade(IdMixin, TimestampMixin, VersionMixin, _PositionMixin, Base):
    """One simulated position on live prices, from its opening order to its exit.

    Columns, units and rules are those of :class:`LiveTrade`, so that a bot
    moves from paper to real money without a change.
    """

    __tablename__ = "paper_trades"

    user: Mapped[User | None] = relationship(back_populates="paper_trades")
    strategy: Mapped[Strategy | None] = relationship(back_populates="paper_trades")
