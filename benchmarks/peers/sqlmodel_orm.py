"""SQLModel on its asyncio session."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import DateTime, insert, text, update
from sqlmodel import Field, SQLModel, select
from sqlmodel.ext.asyncio.session import AsyncSession

from benchmarks.peers.peer import Peer
from benchmarks.peers.sqlalchemy_orm import make_engine
from benchmarks.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.table import Row

_CHUNK = 1000
# Otherwise every None begins a statement of its own.
_NULLS = {"render_nulls": True}


class Trade(SQLModel, table=True):
    """The table."""

    __tablename__ = TABLE

    id: int | None = Field(default=None, primary_key=True)
    account: str
    symbol: str
    direction: str
    volume: float
    entry_price: float
    exit_price: float | None = None
    profit: float | None = None
    is_open: bool
    opened_at: datetime = Field(sa_type=DateTime(timezone=True))
    updated_at: datetime = Field(sa_type=DateTime(timezone=True))
    note: str | None = None


_TABLE: Any = Trade
_COLUMNS = SQLModel.metadata.tables[TABLE].columns


class SqlModel(Peer):
    """A session for each call."""

    name: ClassVar[str] = "SQLModel"
    packages: ClassVar[tuple[str, ...]] = ("sqlmodel", "SQLAlchemy", "pydantic")
    how: ClassVar[str] = (
        "sqlmodel's AsyncSession(expire_on_commit=False), one per call: session.get, add, "
        "exec(select()), and SQLAlchemy's update(), insert() with render_nulls and stream() where "
        "it adds nothing"
    )

    async def open(self) -> None:
        self.engine = make_engine(self.database)

    async def close(self) -> None:
        await self.engine.dispose()

    def _session(self) -> Any:
        return AsyncSession(self.engine, expire_on_commit=False)

    async def scalar(self, sql: str) -> object:
        async with self._session() as session:
            value: object = await session.scalar(text(sql))
            return value

    async def get(self, key: int) -> Any:
        async with self._session() as session:
            return await session.get(Trade, key)

    async def insert(self, row: Row) -> Any:
        trade = Trade(**row)
        async with self._session() as session:
            session.add(trade)
            await session.commit()
        return trade

    async def update(self, key: int, change: Row) -> None:
        async with self._session() as session:
            await session.exec(update(Trade).where(_TABLE.id == key).values(change))
            await session.commit()

    async def list(self, limit: int) -> Sequence[Any]:
        async with self._session() as session:
            found = await session.exec(select(Trade).order_by(_TABLE.id).limit(limit))
            trades: Sequence[Any] = found.all()
            return trades

    async def rows(self, limit: int) -> Sequence[Any]:
        async with self._session() as session:
            found = await session.exec(select(*_COLUMNS).order_by(_TABLE.id).limit(limit))
            rows: Sequence[Any] = found.all()
            return rows

    async def bulk_insert(self, rows: Sequence[Row]) -> None:
        async with self._session() as session:
            await session.execute(insert(Trade), rows, execution_options=_NULLS)
            await session.commit()

    async def stream(self) -> tuple[int, Any]:
        count, row = 0, None
        statement = select(*_COLUMNS).execution_options(yield_per=_CHUNK)
        async with self._session() as session:
            async for row in await session.stream(statement):
                count += 1
        return count, row


PEERS = (SqlModel,)
