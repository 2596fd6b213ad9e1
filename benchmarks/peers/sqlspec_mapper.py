"""sqlspec: SQL in, typed structures out."""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import BaseModel
from sqlspec import SQLSpec
from sqlspec.adapters.aiosqlite import AiosqliteConfig
from sqlspec.adapters.asyncpg import AsyncpgConfig

from benchmarks.peers.peer import MAPPER, OTHER, ROWS, STREAM, Peer
from benchmarks.table import COLUMNS, TABLE, TIMES, VALUES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from benchmarks.table import Row

_PATIENCE_S: Final = 60.0
_PLAIN: Final = f"SELECT {', '.join(COLUMNS)} FROM {TABLE}"
_INSERT: Final = (
    f"INSERT INTO {TABLE} ({', '.join(VALUES)}) VALUES ({', '.join(f':{name}' for name in VALUES)})"
)


def _named(column: str) -> str:
    """Return a column under a name that has sqlite3 convert it (PARSE_COLNAMES)."""
    converter = "time" if column in TIMES else "flag" if column == "is_open" else None
    return f'{column} AS "{column} [sqlspec_{converter}]"' if converter else column


_TYPED: Final = f"SELECT {', '.join(map(_named, COLUMNS))} FROM {TABLE}"


class Trade(BaseModel):
    """What a row becomes."""

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


class Sqlspec(Peer):
    """A session of its pool for each call."""

    name: ClassVar[str] = "sqlspec"
    kind: ClassVar[str] = MAPPER
    packages: ClassVar[tuple[str, ...]] = ("sqlspec", "pydantic")
    time_suffix: ClassVar[str] = "+00:00"
    how: ClassVar[str] = (
        "provide_session per call: select_one and select with schema_type (pydantic, the fastest "
        "of its schemas here), dictionaries for rows, execute, execute_many, select_stream; "
        "SQLite's types by sqlite3's own converters; load_from_records (COPY) on PostgreSQL"
    )

    async def open(self) -> None:
        self._is_sqlite = self.database.backend == "SQLite"
        self._select = self.select_for(self.database.backend)
        self._spec = SQLSpec()
        self._config: Any = self._spec.add_config(self._make_config())

    @staticmethod
    def select_for(backend: str) -> str:
        """Return the SELECT whose rows have real types."""
        return _TYPED if backend == "SQLite" else _PLAIN

    def _make_config(self) -> Any:
        size = self.database.pool_size
        if self._is_sqlite:
            sqlite3.register_converter("sqlspec_flag", lambda stored: stored == b"1")
            sqlite3.register_converter(
                "sqlspec_time", lambda stored: datetime.fromisoformat(stored.decode())
            )
            return AiosqliteConfig(
                connection_config={
                    "database": self.database.path,
                    "pool_size": size,
                    "timeout": _PATIENCE_S,
                    "detect_types": sqlite3.PARSE_COLNAMES,
                },
                driver_features={"pragmas": {"journal_mode": "WAL", "synchronous": "FULL"}},
            )
        return AsyncpgConfig(
            connection_config={"dsn": self.database.url, "min_size": size, "max_size": size}
        )

    async def close(self) -> None:
        await self._spec.close_all_pools()

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[Any]:
        async with self._spec.provide_session(self._config) as session:
            # asyncpg commits each statement by itself; sqlite3 has begun a transaction.
            yield session
            if self._is_sqlite:
                await session.commit()

    async def scalar(self, sql: str) -> object:
        async with self._spec.provide_session(self._config) as session:
            value: object = await session.select_value(sql)
            return value

    async def get(self, key: int) -> Any:
        async with self._spec.provide_session(self._config) as session:
            return await session.select_one(
                f"{self._select} WHERE id = :id", id=key, schema_type=Trade
            )

    async def insert(self, row: Row) -> Any:
        async with self._writing() as session:
            return await session.select_value(f"{_INSERT} RETURNING id", row)

    async def update(self, key: int, change: Row) -> None:
        columns = ", ".join(f"{name} = :{name}" for name in change)
        sql = f"UPDATE {TABLE} SET {columns} WHERE id = :id"
        async with self._writing() as session:
            await session.execute(sql, {**change, "id": key})

    async def list(self, limit: int) -> Sequence[Any]:
        return await self._first(limit, Trade)

    async def rows(self, limit: int) -> Sequence[Any]:
        return await self._first(limit, None)

    async def _first(self, limit: int, schema_type: type[Trade] | None) -> Sequence[Any]:
        async with self._spec.provide_session(self._config) as session:
            found: Sequence[Any] = await session.select(
                f"{self._select} ORDER BY id LIMIT :limit", limit=limit, schema_type=schema_type
            )
            return found

    async def bulk_insert(self, rows: Sequence[Row]) -> None:
        async with self._writing() as session:
            if self._is_sqlite:
                await session.execute_many(_INSERT, rows)
            else:
                await session.load_from_records(TABLE, rows)

    async def stream(self) -> tuple[int, Any]:
        count, row = 0, None
        async with self._spec.provide_session(self._config) as session:
            async for row in session.select_stream(self._select):
                count += 1
        return count, row


class SqlspecUntyped(Sqlspec):
    """The same with rows as SQLite stores them: text for times, numbers for truth."""

    name: ClassVar[str] = "sqlspec, untyped"
    kind: ClassVar[str] = OTHER
    is_untyped: ClassVar[bool] = True
    backends: ClassVar[tuple[str, ...]] = ("SQLite",)
    operations: ClassVar[tuple[str, ...]] = (ROWS, STREAM)
    how: ClassVar[str] = "as sqlspec, but dictionaries of what SQLite stores; for comparison only"

    @staticmethod
    def select_for(backend: str) -> str:
        """Return the plain SELECT."""
        del backend
        return _PLAIN


PEERS = (Sqlspec, SqlspecUntyped)
