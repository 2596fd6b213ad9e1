"""asyncpg by itself, from its pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import asyncpg

from benchmarks.peers.bare_aiosqlite import Trade
from benchmarks.peers.peer import BARE, Peer
from benchmarks.table import COLUMNS, TABLE, VALUES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.table import Row

_SELECT: Final = f"SELECT {', '.join(COLUMNS)} FROM {TABLE}"
_MARKS: Final = ", ".join(f"${number}" for number in range(1, len(VALUES) + 1))
_INSERT: Final = f"INSERT INTO {TABLE} ({', '.join(VALUES)}) VALUES ({_MARKS}) RETURNING id"
_CHUNK: Final = 1000


class BareAsyncpg(Peer):
    """The pool's own shortcuts; asyncpg returns aware times and real truth itself."""

    name: ClassVar[str] = "asyncpg"
    kind: ClassVar[str] = BARE
    packages: ClassVar[tuple[str, ...]] = ("asyncpg",)
    backends: ClassVar[tuple[str, ...]] = ("PostgreSQL",)
    how: ClassVar[str] = (
        "the pool's fetchrow, fetch and fetchval, prepared statements cached, a reset when a "
        "connection goes back, as is asyncpg's default; COPY for many rows, a cursor for all"
    )

    async def open(self) -> None:
        size = self.database.pool_size
        self._pool = await asyncpg.create_pool(self.database.url, min_size=size, max_size=size)

    async def close(self) -> None:
        await self._pool.close()

    async def scalar(self, sql: str) -> object:
        value: object = await self._pool.fetchval(sql)
        return value

    async def get(self, key: int) -> Trade:
        return Trade(*await self._pool.fetchrow(f"{_SELECT} WHERE id = $1", key))

    async def insert(self, row: Row) -> int:
        key: int = await self._pool.fetchval(_INSERT, *row.values())
        return key

    async def update(self, key: int, change: Row) -> None:
        columns = ", ".join(f"{name} = ${at}" for at, name in enumerate(change, start=2))
        sql = f"UPDATE {TABLE} SET {columns} WHERE id = $1"
        await self._pool.execute(sql, key, *change.values())

    async def list(self, limit: int) -> Sequence[Trade]:
        rows = await self._pool.fetch(f"{_SELECT} ORDER BY id LIMIT $1", limit)
        return [Trade(*row) for row in rows]

    async def rows(self, limit: int) -> Sequence[Any]:
        rows: Sequence[Any] = await self._pool.fetch(f"{_SELECT} ORDER BY id LIMIT $1", limit)
        return rows

    async def bulk_insert(self, rows: Sequence[Row]) -> None:
        records = [tuple(row.values()) for row in rows]
        await self._pool.copy_records_to_table(TABLE, records=records, columns=VALUES)

    async def stream(self) -> tuple[int, Any]:
        count, row = 0, None
        async with self._pool.acquire() as connection, connection.transaction(readonly=True):
            async for record in connection.cursor(_SELECT, prefetch=_CHUNK):
                row = record
                count += 1
        return count, row


PEERS = (BareAsyncpg,)
