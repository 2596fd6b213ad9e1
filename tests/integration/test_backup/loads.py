"""Rows of the tables as text, and loads of them."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from hqt_async_db.backup.formats.reading import read_json_lines
from hqt_async_db.backup.loading.load import TableSource, load
from hqt_async_db.backup.tables import table_named

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence

    from hqt_async_db import DatabaseManager
    from hqt_async_db.backup.formats.rows import RowReader
    from hqt_async_db.backup.loading.load import Mode

Rows = list[dict[str, Any]]


def user(number: int, **values: Any) -> dict[str, Any]:
    """Return a row of ``users`` as JSON has it."""
    return {
        "id": number,
        "username": f"u{number}",
        "email": f"u{number}@x",
        "password_hash": "h",
        **values,
    }


def strategy(number: int, user_id: int, **values: Any) -> dict[str, Any]:
    """Return a row of ``strategies`` as JSON has it."""
    return {"id": number, "user_id": user_id, "name": f"s{number}", "parameters": {}, **values}


def lines(rows: Iterable[dict[str, Any]]) -> bytes:
    """Return rows as JSON Lines."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


async def in_blocks(content: bytes, size: int = 1000) -> AsyncGenerator[bytes, None]:
    """Yield some text in pieces that respect no line."""
    for start in range(0, len(content), size):
        yield content[start : start + size]


def source(db: DatabaseManager, name: str, content: bytes) -> TableSource:
    """Return JSON Lines as a source for one table."""
    table = table_named(name)

    @asynccontextmanager
    async def open_rows() -> AsyncIterator[RowReader]:
        blocks, dialect = in_blocks(content), db.engine.dialect
        async with read_json_lines(blocks, table, f"{name}.jsonl", dialect) as rows:
            yield rows

    return TableSource(table, open_rows, f"{name}.jsonl")


async def load_rows(db: DatabaseManager, mode: Mode = "append", **tables: Rows) -> dict[str, int]:
    """Load rows by the name of their table."""
    sources = [source(db, name, lines(rows)) for name, rows in tables.items()]
    return await load(db, sources, mode=mode)


async def stored(db: DatabaseManager, table: str, *names: str) -> Sequence[Any]:
    """Return the values of some columns, in the order of the key."""
    columns = table_named(table).columns
    async with db.session(read_only=True) as session:
        chosen = [columns[name] for name in names]
        rows = await session.execute(select(*chosen).order_by(columns["id"]))
        return [row[0] if len(names) == 1 else tuple(row) for row in rows]
