"""Who uses the system, and what they prefer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from hqt_async_db.models.base import Base, IdMixin, TimestampMixin, VersionMixin
from hqt_async_db.models.types import (
    Choice,
    Double,
    ExactText,
    Flag,
    JsonDict,
    RowId,
    choice_check,
)
from hqt_async_db.models.vocabulary import Theme

if TYPE_CHECKING:
    from hqt_async_db.models.accounts import AccountSnapshot
    from hqt_async_db.models.backtests import Backtest
    from hqt_async_db.models.notifications import Notification
    from hqt_async_db.models.optimizations import Optimization
    from hqt_async_db.models.strategies import Strategy
    from hqt_async_db.models.trades import LiveTrade, PaperTrade


class User(IdMixin, TimestampMixin, Base):
    """A person, or a program, that owns strategies and trades.

    ``password_hash`` is what a password hasher returned; no repr shows it.
    Deleting a user deletes the strategies, the research and the notifications
    along; it is refused while there are live or paper trades or account
    snapshots of the user.
    """

    __tablename__ = "users"
    __repr_fields__: ClassVar[tuple[str, ...]] = ("username",)

    username: Mapped[str] = mapped_column(ExactText(50), unique=True)
    email: Mapped[str] = mapped_column(ExactText(254), unique=True)
    password_hash: Mapped[str] = mapped_column(ExactText(255), info={"secret": True})
    full_name: Mapped[str | None] = mapped_column(ExactText(100))
    is_active: Mapped[bool] = mapped_column(Flag(), default=True, index=True)
    is_superuser: Mapped[bool] = mapped_column(Flag(), default=False)

    settings: Mapped[UserSetting | None] = relationship(
        back_populates="user", cascade="all, delete-orphan", passive_deletes=True
    )
    strategies: Mapped[list[Strategy]] = relationship(
        back_populates="user", cascade="all", passive_deletes=True, order_by="Strategy.id"
    )
    backtests: Mapped[list[Backtest]] = relationship(
        back_populates="user", cascade="all", passive_deletes=True, order_by="Backtest.id"
    )
    optimizations: Mapped[list[Optimization]] = relationship(
        back_populates="user", cascade="all", passive_deletes=True, order_by="Optimization.id"
    )
    notifications: Mapped[list[Notification]] = relationship(
        back_populates="user", cascade="all", passive_deletes=True, order_by="Notification.id"
    )
    live_trades: Mapped[list[LiveTrade]] = relationship(
        back_populates="user", passive_deletes="all", order_by="LiveTrade.id"
    )
    paper_trades: Mapped[list[PaperTrade]] = relationship(
        back_populates="user", passive_deletes="all", order_by="PaperTrade.id"
    )
    account_snapshots: Mapped[list[AccountSnapshot]] = relationship(
        back_populates="user", passive_deletes="all", order_by="AccountSnapshot.id"
    )


class UserSetting(IdMixin, TimestampMixin, VersionMixin, Base):
    """The preferences of one user; there is at most one row per user.

    ``risk_per_trade`` is in percent of the account's equity. ``settings``
    holds whatever a user interface wants to remember.
    """

    __tablename__ = "user_settings"
    __table_args__ = (choice_check("theme", Theme),)
    __repr_fields__: ClassVar[tuple[str, ...]] = ("user_id",)

    user_id: Mapped[int] = mapped_column(
        RowId(), ForeignKey("users.id", ondelete="CASCADE"), unique=True
    )
    theme: Mapped[str] = mapped_column(Choice(Theme), default=Theme.SYSTEM.value)
    language: Mapped[str] = mapped_column(ExactText(16), default="en")
    timezone: Mapped[str] = mapped_column(ExactText(64), default="UTC")
    base_currency: Mapped[str] = mapped_column(ExactText(16), default="USD")
    default_symbol: Mapped[str | None] = mapped_column(ExactText(64))
    default_timeframe: Mapped[str | None] = mapped_column(ExactText(16))
    risk_per_trade: Mapped[float | None] = mapped_column(Double())
    email_notifications: Mapped[bool] = mapped_column(Flag(), default=True)
    settings: Mapped[dict[str, Any]] = mapped_column(JsonDict(), default=dict)

    user: Mapped[User] = relationship(back_populates="settings")
