"""Piccolo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from piccolo.columns import (
    BigSerial,
    Boolean,
    DoublePrecision,
    Timestamptz,
    Varchar,
)
from piccolo.engine.postgres import PostgresEngine
from piccolo.engine.sqlite import SQLiteEngine
from piccolo.table import Table
from sqlalchemy import make_url

from benchmarks.peers.peer import Peer
from benchmarks.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.table import Row

_PATIENCE_S = 60.0
_CHUNK = 1000
# A statement takes 32,767 values at most.
_BATCH = 1000


class Trade(Table, tablename=TABLE):
    """The table."""

    id = BigSerial(primary_key=True)
    account = Varchar(length=32)
    symbol = Varchar(length=16)
    direction = Varchar(length=8)
    volume = DoublePrecision()
    entry_price = DoublePrecision()
    exit_price = DoublePrecision(null=True, default=None)
    profit = DoublePrecision(null=True, default=None)
    is_open = Boolean()
    opened_at = Timestamptz()
    updated_at = Timestamptz()
    note = Varchar(length=200, null=True, default=None)


class Piccolo(Peer):
    """Its table knows its engine."""

    name: ClassVar[str] = "Piccolo"
    packages: ClassVar[tuple[str, ...]] = ("piccolo",)
    time_suffix: ClassVar[str] = "+00:00"
    how: ClassVar[str] = (
        "Table.objects().get, insert, update().where, objects().limit, select(), insert in "
        "batches of 1,000 within a transaction, select().batch; on SQLite it connects anew for "
        "every call, it has no pool there"
    )

    async def open(self) -> None:
        self._engine: Any
        if self.database.backend == "SQLite":
            self._engine = SQLiteEngine(path=self.database.path, timeout=_PATIENCE_S)
        else:
            url = make_url(self.database.url)
            config = {
                "host": url.host,
                "port": url.port or 5432,
                "user": url.username,
                "password": url.password,
                "database": url.database,
            }
            self._engine = PostgresEngine(config=config)
            size = self.database.pool_size
            await self._engine.start_connection_pool(min_size=size, max_size=size)
        Trade._meta.db = self._engine  # noqa: SLF001 - Piccolo's documented place for it

    async def close(self) -> None:
        if self.database.backend != "SQLite":
            await self._engine.close_connection_pool()

    async def scalar(self, sql: str) -> object:
        rows = await Trade.raw(sql)
        value: object = next(iter(rows[0].values()))
        return value

    async def get(self, key: int) -> Any:
        return await Trade.objects().get(Trade.id == key)

    async def insert(self, row: Row) -> Any:
        return (await Trade.insert(Trade(**row)))[0]["id"]

    async def update(self, key: int, change: Row) -> None:
        await Trade.update(change).where(Trade.id == key)

    async def list(self, limit: int) -> Sequence[Any]:
        trades: Sequence[Any] = await Trade.objects().order_by(Trade.id).limit(limit)
        return trades

    async def rows(self, limit: int) -> Sequence[Any]:
        rows: Sequence[Any] = await Trade.select().order_by(Trade.id).limit(limit)
        return rows

    async def bulk_insert(self, rows: Sequence[Row]) -> None:
        async with self._engine.transaction():
            for start in range(0, len(rows), _BATCH):
                await Trade.insert(*(Trade(**row) for row in rows[start : start + _BATCH]))

    async def stream(self) -> tuple[int, Any]:
        count, row = 0, None
        async with await Trade.select().batch(batch_size=_CHUNK) as batches:
            async for batch in batches:
                for row in batch:
                    count += 1
        return count, row


PEERS = (Piccolo,)
