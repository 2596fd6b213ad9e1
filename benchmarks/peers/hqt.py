"""This library, as its README recommends: one-shot calls of a repository."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import text

from benchmarks.models import HqtTrade, HqtTrades
from benchmarks.peers.peer import OURS, Peer
from hqt_async_db import DatabaseManager

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.databases import Database
    from benchmarks.table import Row


class Hqt(Peer):
    """A repository bound to the manager.

    Args:
        database: Where.
        url: Another URL of the same database, for another driver.
    """

    name: ClassVar[str] = "hqt_async_db"
    kind: ClassVar[str] = OURS
    packages: ClassVar[tuple[str, ...]] = ("hqt-async-db", "SQLAlchemy", "aiosqlite", "asyncpg")
    backends: ClassVar[tuple[str, ...]] = ("SQLite", "PostgreSQL", "MariaDB")
    how: ClassVar[str] = (
        "a repository bound to the manager, each call a transaction of its own: get_by_id, "
        "create, update, get_many, rows, create_many, stream"
    )

    def __init__(self, database: Database, url: str | None = None) -> None:
        """Make the manager, which connects when it is used."""
        super().__init__(database)
        self._url = url or database.url
        # Instances to update, read before: whoever updates a row has seen it.
        self._seen: dict[int, HqtTrade] = {}

    async def open(self) -> None:
        self.db = DatabaseManager(
            self._url,
            pool_size=self.database.pool_size,
            max_overflow=self.database.max_overflow,
            lock_timeout_s=60,
            pool_timeout=60,
        )
        self.trades = HqtTrades(self.db)

    async def close(self) -> None:
        await self.db.dispose()

    async def scalar(self, sql: str) -> object:
        async with self.db.session() as session:
            value: object = await session.scalar(text(sql))
            return value

    async def get(self, key: int) -> HqtTrade | None:
        return await self.trades.get_by_id(key)

    async def insert(self, row: Row) -> HqtTrade:
        return await self.trades.create(**row)

    async def see(self, keys: Sequence[int]) -> None:
        """Read the rows that are going to be updated."""
        for start in range(0, len(keys), 500):
            found = await self.trades.get_many(id=list(keys[start : start + 500]))
            self._seen.update({trade.id: trade for trade in found})

    async def update(self, key: int, change: Row) -> None:
        await self.trades.update(self._seen[key], **change)

    async def list(self, limit: int) -> Sequence[HqtTrade]:
        return await self.trades.get_many(limit=limit)

    async def rows(self, limit: int) -> Sequence[Any]:
        return await self.trades.rows(limit=limit)

    async def bulk_insert(self, rows: Sequence[Row]) -> None:
        await self.trades.create_many(rows)

    async def stream(self) -> tuple[int, Any]:
        count, row = 0, None
        async with self.trades.stream() as found:
            async for row in found:
                count += 1
        return count, row


PEERS = (Hqt,)
