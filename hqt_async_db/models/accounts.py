"""The state of trading accounts over time."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from hqt_async_db.models.base import Base, IdMixin
from hqt_async_db.models.types import (
    Choice,
    ExactText,
    Int32,
    Money,
    RowId,
    UtcDateTime,
    choice_check,
    utc_now,
)
from hqt_async_db.models.vocabulary import AccountMode

if TYPE_CHECKING:
    from hqt_async_db.models.backtests import Backtest
    from hqt_async_db.models.users import User


class AccountSnapshot(IdMixin, Base):
    """What one account held at one moment; in a row they are its equity curve.

    ``balance`` is settled money, ``equity`` the same with the open positions'
    ``profit``, both in ``currency``; ``margin`` is what the positions tie up,
    ``free_margin`` what is left, ``margin_level`` equity / margin in percent,
    None without positions. Snapshots of a backtest point to it and go with it.
    """

    __tablename__ = "account_snapshots"
    __table_args__ = (
        choice_check("mode", AccountMode),
        Index(None, "account_id", "timestamp"),
        Index(None, "user_id", "timestamp"),
        Index(None, "backtest_id", "timestamp"),
    )
    __repr_fields__: ClassVar[tuple[str, ...]] = ("account_id", "timestamp")

    user_id: Mapped[int | None] = mapped_column(
        RowId(), ForeignKey("users.id", ondelete="RESTRICT")
    )
    backtest_id: Mapped[int | None] = mapped_column(
        RowId(), ForeignKey("backtests.id", ondelete="CASCADE")
    )
    account_id: Mapped[str] = mapped_column(ExactText(64))
    mode: Mapped[str] = mapped_column(Choice(AccountMode), default=AccountMode.LIVE.value)
    timestamp: Mapped[datetime] = mapped_column(UtcDateTime(), default=utc_now)
    currency: Mapped[str | None] = mapped_column(ExactText(16))
    balance: Mapped[Decimal] = mapped_column(Money())
    equity: Mapped[Decimal] = mapped_column(Money())
    margin: Mapped[Decimal | None] = mapped_column(Money())
    free_margin: Mapped[Decimal | None] = mapped_column(Money())
    margin_level: Mapped[Decimal | None] = mapped_column(Money())
    profit: Mapped[Decimal | None] = mapped_column(Money())
    open_positions: Mapped[int | None] = mapped_column(Int32())

    user: Mapped[User | None] = relationship(back_populates="account_snapshots")
    backtest: Mapped[Backtest | None] = relationship(back_populates="account_snapshots")
