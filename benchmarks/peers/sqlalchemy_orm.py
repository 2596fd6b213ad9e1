"""SQLAlchemy's ORM on its own asyncio extension, as its documentation shows it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import DateTime, event, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.peers.peer import Peer
from benchmarks.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.databases import Database
    from benchmarks.table import Row

_DRIVERS = {"SQLite": "aiosqlite", "PostgreSQL": "asyncpg", "MariaDB": "asyncmy"}
_PATIENCE_S = 60.0
_CHUNK = 1000
# Otherwise every None begins a statement of its own.
_NULLS = {"render_nulls": True}


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
    opened_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    note: Mapped[str | None]


def make_engine(database: Database) -> AsyncEngine:
    """Return an engine that waits for locks, and is as durable as the others."""
    is_sqlite = database.backend == "SQLite"
    engine = create_async_engine(
        database.url_for(_DRIVERS[database.backend]),
        pool_size=database.pool_size,
        max_overflow=database.max_overflow,
        pool_timeout=_PATIENCE_S,
        connect_args={"timeout": _PATIENCE_S} if is_sqlite else {},
    )
    if is_sqlite:
        event.listen(engine.sync_engine, "connect", set_durability)
    return engine


def set_durability(connection: Any, _record: object) -> None:
    """Set the pragmas of a new SQLite connection."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


class SqlalchemyOrm(Peer):
    """A session for each call."""

    name: ClassVar[str] = "SQLAlchemy ORM"
    packages: ClassVar[tuple[str, ...]] = ("SQLAlchemy",)
    how: ClassVar[str] = (
        "async_sessionmaker(expire_on_commit=False), a session per call: session.get, add, "
        "update(), scalars(select()), execute(insert(), rows) with render_nulls, stream() with "
        "yield_per"
    )

    async def open(self) -> None:
        self.engine = make_engine(self.database)
        self.sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    async def close(self) -> None:
        await self.engine.dispose()

    async def scalar(self, sql: str) -> object:
        async with self.sessions() as session:
            value: object = await session.scalar(text(sql))
            return value

    async def get(self, key: int) -> Any:
        async with self.sessions() as session:
            return await session.get(Trade, key)

    async def insert(self, row: Row) -> Any:
        trade = Trade(**row)
        async with self.sessions.begin() as session:
            session.add(trade)
        return trade

    async def update(self, key: int, change: Row) -> None:
        async with self.sessions.begin() as session:
            await session.execute(update(Trade).where(Trade.id == key).values(change))

    async def list(self, limit: int) -> Sequence[Any]:
        async with self.sessions() as session:
            return (await session.scalars(select(Trade).order_by(Trade.id).limit(limit))).all()

    async def rows(self, limit: int) -> Sequence[Any]:
        columns = Trade.__table__.columns
        async with self.sessions() as session:
            return (await session.execute(select(*columns).order_by(Trade.id).limit(limit))).all()

    async def bulk_insert(self, rows: Sequence[Row]) -> None:
        async with self.sessions.begin() as session:
            await session.execute(insert(Trade), rows, execution_options=_NULLS)

    async def stream(self) -> tuple[int, Any]:
        count, row = 0, None
        statement = select(*Trade.__table__.columns).execution_options(yield_per=_CHUNK)
        async with self.sessions() as session:
            async for row in await session.stream(statement):
                count += 1
        return count, row


PEERS = (SqlalchemyOrm,)
