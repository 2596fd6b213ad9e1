"""Rows of the 13 tables, and of tables that are not ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, func, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from hqt_async_db import (
    BacktestRepository,
    BaseRepository,
    DatabaseManager,
    OptimizationRepository,
    Session,
    StrategyRepository,
    UserRepository,
)

if TYPE_CHECKING:
    from hqt_async_db import Backtest, Optimization, Strategy, User

Bind = Session | DatabaseManager
# A database in memory has one connection, which an open session keeps.
OTHER_CONNECTIONS = pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
START = datetime(2024, 1, 1, tzinfo=UTC)
RUN = {"name": "run", "symbol": "EURUSD", "timeframe": "H1"}
ORDER: dict[str, Any] = {"symbol": "EURUSD", "direction": "long", "volume": "0.1"}
SPAN: dict[str, Any] = {"start_date": START, "end_date": START + timedelta(days=30)}


def at(hours: float) -> datetime:
    """Return a moment so many hours after the start."""
    return START + timedelta(hours=hours)


def user_row(name: object, **values: Any) -> dict[str, Any]:
    """Return a complete row of ``users``."""
    return {"username": f"{name}", "email": f"{name}@x", "password_hash": "h", **values}


def user_rows(count: int) -> list[dict[str, Any]]:
    """Return complete rows of ``users``, in the order of their names."""
    return [user_row(f"u{number:05}") for number in range(count)]


async def add_user(bind: Bind, name: str = "trader", **values: Any) -> User:
    """Store one user."""
    return await UserRepository(bind).create(**user_row(name, **values))


async def add_strategy(bind: Bind, user: User, name: str = "MA", **values: Any) -> Strategy:
    """Store one strategy of a user."""
    return await StrategyRepository(bind).create(user_id=user.id, name=name, **values)


def owned(strategy: Strategy) -> dict[str, Any]:
    """Return the foreign keys of what belongs to a strategy."""
    return {"user_id": strategy.user_id, "strategy_id": strategy.id}


async def add_backtest(bind: Bind, strategy: Strategy, **values: Any) -> Backtest:
    """Store one backtest of a strategy."""
    row = {**owned(strategy), **RUN, **SPAN, "initial_capital": 1000.0, **values}
    return await BacktestRepository(bind).create(**row)


async def add_optimization(bind: Bind, strategy: Strategy, **values: Any) -> Optimization:
    """Store one optimisation of a strategy."""
    return await OptimizationRepository(bind).create(**{**owned(strategy), **RUN, **values})


def trade_row(backtest: Backtest, hour: int, profit: float | None, **values: Any) -> dict[str, Any]:
    """Return a complete row of ``backtest_trades``."""
    entry = {"entry_time": at(hour), "entry_price": 1.1, "volume": 1.0, "direction": "long"}
    return {"backtest_id": backtest.id, "symbol": "EURUSD", "profit": profit, **entry, **values}


class OwnBase(DeclarativeBase):
    """Somebody else's tables: stock column types, nothing of this library."""


class Desk(OwnBase):
    """A table whose attributes are not called like its columns."""

    __tablename__ = "desks"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column("desk_title", String(50), unique=True)
    opened_at: Mapped[datetime] = mapped_column("opened", server_default=func.current_timestamp())
    rank: Mapped[int] = mapped_column(server_default=text("7"), onupdate=text("8"))
    note: Mapped[str | None] = mapped_column(String(50))

    limits: Mapped[list[Limit]] = relationship(back_populates="desk")


class Limit(OwnBase):
    """A table with a key of two columns."""

    __tablename__ = "limits"
    __table_args__ = (
        UniqueConstraint("desk_id", "label"),
        Index("ix_limits_partial", "label", unique=True, sqlite_where=text("size > 5"),
              postgresql_where=text("size > 5"), mysql_length=50).ddl_if(dialect="sqlite"),
    )  # fmt: skip

    desk_id: Mapped[int] = mapped_column(ForeignKey("desks.id"), primary_key=True)
    symbol: Mapped[str] = mapped_column(String(20), primary_key=True)
    label: Mapped[str | None] = mapped_column(String(50))
    size: Mapped[float] = mapped_column(default=1.0)

    desk: Mapped[Desk] = relationship(back_populates="limits")


class Token(OwnBase):
    """A table whose key is made here, in no order."""

    __tablename__ = "tokens"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    kind: Mapped[str] = mapped_column(String(20))
    number: Mapped[int | None]

    __mapper_args__: Any = {"polymorphic_on": "kind", "polymorphic_identity": "plain"}  # noqa: RUF012 - read once


class Badge(Token):
    """A kind of token, in the same table."""

    __mapper_args__: Any = {"polymorphic_identity": "badge"}  # noqa: RUF012 - read once


class DeskRepository(BaseRepository[Desk]):
    """Three lines are enough for a model of one's own."""


class LimitRepository(BaseRepository[Limit]):
    """The same for a key of two columns."""
