"""The table as a model of this library."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import MetaData
from sqlalchemy.orm import Mapped, mapped_column

from benchmarks.table import TABLE
from hqt_async_db import Base, BaseRepository


class OwnBase(Base):
    """Keeps the table of the benchmarks apart from the library's schema."""

    __abstract__ = True
    metadata = MetaData()


class HqtTrade(OwnBase):
    """One trade."""

    __tablename__ = TABLE

    id: Mapped[int] = mapped_column(primary_key=True)
    account: Mapped[str]
    symbol: Mapped[str]
    direction: Mapped[str]
    volume: Mapped[float]
    entry_price: Mapped[float]
    exit_price: Mapped[float | None]
    profit: Mapped[float | None]
    is_open: Mapped[bool]
    opened_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    note: Mapped[str | None]


class HqtTrades(BaseRepository[HqtTrade]):
    """The trades."""
