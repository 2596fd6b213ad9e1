"""Trading strategies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from hqt_async_db.models.base import Base, IdMixin, TimestampMixin
from hqt_async_db.models.types import ExactText, Flag, JsonDict, RowId

if TYPE_CHECKING:
    from hqt_async_db.models.backtests import Backtest
    from hqt_async_db.models.optimizations import Optimization
    from hqt_async_db.models.trades import LiveTrade, PaperTrade
    from hqt_async_db.models.users import User


class Strategy(IdMixin, TimestampMixin, Base):
    """A trading strategy: the code that runs and the parameters it runs with.

    ``class_name`` is the dotted path of the Python class. Deleting a strategy
    deletes its backtests and optimisations along; it is refused while live or
    paper trades of it exist: deactivate it instead.
    """

    __tablename__ = "strategies"
    __table_args__ = (
        Index(None, "user_id", "name"),
        Index(None, "name"),
        Index(None, "is_active"),
    )
    __repr_fields__: ClassVar[tuple[str, ...]] = ("user_id", "name")

    user_id: Mapped[int] = mapped_column(RowId(), ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(ExactText(100))
    description: Mapped[str | None] = mapped_column(ExactText())
    class_name: Mapped[str | None] = mapped_column(ExactText(255))
    parameters: Mapped[dict[str, Any]] = mapped_column(JsonDict(), default=dict)
    is_active: Mapped[bool] = mapped_column(Flag(), default=True)

    user: Mapped[User] = relationship(back_populates="strategies")
    backtests: Mapped[list[Backtest]] = relationship(
        back_populates="strategy", cascade="all", passive_deletes=True, order_by="Backtest.id"
    )
    optimizations: Mapped[list[Optimization]] = relationship(
        back_populates="strategy", cascade="all", passive_deletes=True, order_by="Optimization.id"
    )
    live_trades: Mapped[list[LiveTrade]] = relationship(
        back_populates="strategy", passive_deletes="all", order_by="LiveTrade.id"
    )
    paper_trades: Mapped[list[PaperTrade]] = relationship(
        back_populates="strategy", passive_deletes="all", order_by="PaperTrade.id"
    )
