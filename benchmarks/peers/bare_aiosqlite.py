"""aiosqlite by itself, in as few thread hops as it offers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

import aiosqlite

from benchmarks.peers.peer import BARE, GET, LIST, OTHER, ROWS, Peer
from benchmarks.table import COLUMNS, TABLE, VALUES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from benchmarks.table import Row

_SELECT: Final = f"SELECT {', '.join(COLUMNS)} FROM {TABLE}"
_INSERT: Final = (
    f"INSERT INTO {TABLE} ({', '.join(VALUES)}) VALUES ({', '.join('?' * len(VALUES))})"
)
_CHUNK: Final = 1000


@dataclass(slots=True)
class Trade:
    """What a hand-written data layer would return."""

    id: int
    account: str
    symbol: str
    direction: str
    volume: float
    entry_price: float
    exit_price: float | None
    profit: float | None
    is_open: bool
    opened_at: datetime
    updated_at: datetime
    note: str | None


def _typed(row: Any) -> tuple[Any, ...]:
    parse = datetime.fromisoformat
    return (*row[:8], row[8] == 1, parse(row[9] + "+00:00"), parse(row[10] + "+00:00"), row[11])


def _text(value: Any) -> Any:
    return value.isoformat(" ", "microseconds")[:26] if isinstance(value, datetime) else value


def _stored(row: Row) -> list[Any]:
    return [_text(value) for value in row.values()]


class BareAiosqlite(Peer):
    """A pool of connections that read and one that writes, as SQLite has one writer."""

    name: ClassVar[str] = "aiosqlite"
    kind: ClassVar[str] = BARE
    packages: ClassVar[tuple[str, ...]] = ("aiosqlite",)
    backends: ClassVar[tuple[str, ...]] = ("SQLite",)
    how: ClassVar[str] = (
        "one hop a call (execute_fetchall in autocommit mode), readers from a queue, one "
        "connection for all writers; times and truth decoded by hand into a dataclass with slots"
    )

    async def open(self) -> None:
        self._writing = asyncio.Lock()
        self._writer = await self._connect()
        self._readers: asyncio.LifoQueue[aiosqlite.Connection] = asyncio.LifoQueue()
        for _ in range(self.database.pool_size):
            self._readers.put_nowait(await self._connect())

    async def _connect(self) -> aiosqlite.Connection:
        connection = await aiosqlite.connect(self.database.path, isolation_level=None)
        await connection.execute("PRAGMA journal_mode=WAL")
        await connection.execute("PRAGMA synchronous=FULL")
        return connection

    async def close(self) -> None:
        await self._writer.close()
        while not self._readers.empty():
            await self._readers.get_nowait().close()

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[aiosqlite.Connection]:
        connection = await self._readers.get()
        try:
            yield connection
        finally:
            self._readers.put_nowait(connection)

    async def _fetch(self, sql: str, *values: Any) -> list[Any]:
        connection = await self._readers.get()
        try:
            return list(await connection.execute_fetchall(sql, values))
        finally:
            self._readers.put_nowait(connection)

    async def scalar(self, sql: str) -> object:
        rows = list(await self._writer.execute_fetchall(sql))
        return rows[0][0]

    async def get(self, key: int) -> Trade:
        rows = await self._fetch(f"{_SELECT} WHERE id = ?", key)
        return Trade(*_typed(rows[0]))

    async def insert(self, row: Row) -> int:
        async with self._writing:
            rows = list(
                await self._writer.execute_fetchall(f"{_INSERT} RETURNING id", _stored(row))
            )
        return int(rows[0][0])

    async def update(self, key: int, change: Row) -> None:
        columns = ", ".join(f"{name} = ?" for name in change)
        sql = f"UPDATE {TABLE} SET {columns} WHERE id = ?"
        async with self._writing:
            await self._writer.execute_fetchall(sql, [*_stored(change), key])

    async def list(self, limit: int) -> Sequence[Trade]:
        rows = await self._fetch(f"{_SELECT} ORDER BY id LIMIT ?", limit)
        return [Trade(*_typed(row)) for row in rows]

    async def rows(self, limit: int) -> Sequence[tuple[Any, ...]]:
        rows = await self._fetch(f"{_SELECT} ORDER BY id LIMIT ?", limit)
        return [_typed(row) for row in rows]

    async def bulk_insert(self, rows: Sequence[Row]) -> None:
        stored = [_stored(row) for row in rows]
        async with self._writing:
            await self._writer.execute_fetchall("BEGIN IMMEDIATE")
            await self._writer.executemany(_INSERT, stored)
            await self._writer.execute_fetchall("COMMIT")

    async def stream(self) -> tuple[int, Any]:
        count, row = 0, None
        async with self._reader() as connection, connection.execute(_SELECT) as cursor:
            while chunk := await cursor.fetchmany(_CHUNK):
                for stored in chunk:
                    row = _typed(stored)
                    count += 1
        return count, row


class SharedAiosqlite(BareAiosqlite):
    """One connection for everybody: fast, as threads do not compete, and without isolation."""

    name: ClassVar[str] = "aiosqlite, shared"
    kind: ClassVar[str] = OTHER
    operations: ClassVar[tuple[str, ...]] = (GET, LIST, ROWS)
    how: ClassVar[str] = (
        "as aiosqlite, but all tasks share one connection in autocommit mode, where a "
        "transaction of one task would contain the statements of all; for comparison only"
    )

    async def _fetch(self, sql: str, *values: Any) -> list[Any]:
        return list(await self._writer.execute_fetchall(sql, values))


PEERS = (BareAiosqlite, SharedAiosqlite)
