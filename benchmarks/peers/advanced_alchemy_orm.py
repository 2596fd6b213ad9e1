"""Advanced Alchemy: its repository in a session of its configuration."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from advanced_alchemy.config import AsyncSessionConfig, SQLAlchemyAsyncConfig
from advanced_alchemy.filters import LimitOffset, OrderBy
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.types import DateTimeUTC
from sqlalchemy import text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.peers.peer import BULK, GET, INSERT, LIST, UPDATE, Peer
from benchmarks.peers.sqlalchemy_orm import make_engine
from benchmarks.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.table import Row


class Base(DeclarativeBase):
    """The declarative base of this file."""


class Trade(Base):
    """The table."""

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
    opened_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))
    note: Mapped[str | None]


class TradeRepository(SQLAlchemyAsyncRepository[Trade]):
    """The repository."""

    model_type = Trade


class AdvancedAlchemy(Peer):
    """A session and a repository for each call."""

    name: ClassVar[str] = "Advanced Alchemy"
    packages: ClassVar[tuple[str, ...]] = ("advanced-alchemy", "SQLAlchemy")
    operations: ClassVar[tuple[str, ...]] = (GET, INSERT, UPDATE, LIST, BULK)
    how: ClassVar[str] = (
        "SQLAlchemyAsyncRepository in config.get_session(), one per call: get, add and update "
        "with auto_commit and without the refresh, list with LimitOffset, add_many; it has no "
        "rows and no stream of its own"
    )

    async def open(self) -> None:
        self._config = SQLAlchemyAsyncConfig(
            engine_instance=make_engine(self.database),
            session_config=AsyncSessionConfig(expire_on_commit=False),
        )

    async def close(self) -> None:
        await self._config.get_engine().dispose()

    async def scalar(self, sql: str) -> object:
        async with self._config.get_session() as session:
            value: object = await session.scalar(text(sql))
            return value

    def _repository(self, session: Any) -> Any:
        return TradeRepository(session=session, auto_refresh=False, auto_commit=True)

    async def get(self, key: int) -> Any:
        async with self._config.get_session() as session:
            return await self._repository(session).get(key)

    async def insert(self, row: Row) -> Any:
        async with self._config.get_session() as session:
            return await self._repository(session).add(Trade(**row))

    async def update(self, key: int, change: Row) -> None:
        async with self._config.get_session() as session:
            await self._repository(session).update(Trade(id=key, **change))

    async def list(self, limit: int) -> Sequence[Any]:
        async with self._config.get_session() as session:
            filters = (LimitOffset(limit, 0), OrderBy("id"))
            trades: Sequence[Any] = await self._repository(session).list(*filters)
            return trades

    async def bulk_insert(self, rows: Sequence[Row]) -> None:
        async with self._config.get_session() as session:
            await self._repository(session).add_many([Trade(**row) for row in rows])


PEERS = (AdvancedAlchemy,)
