"""What an operator asks of a SQLite file: figures, statistics, free space."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from hqt_async_db.connection.backends.backend import analyze

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_SYNCHRONOUS: Final = ("OFF", "NORMAL", "FULL", "EXTRA")
_AUTO_VACUUM: Final = ("none", "full", "incremental")
_INCREMENTAL: Final = 2
# Rows of an index that ANALYZE looks at; SQLite recommends 100 to 1000.
_ANALYSIS_LIMIT: Final = 1000
# Pages given back at a time: a writer waits no longer than for these.
_STEP_PAGES: Final = 256


async def figures(connection: AsyncConnection) -> dict[str, Any]:
    """Return version, durability and sizes."""
    (file,) = [
        row.file or None
        for row in await connection.execute(text("PRAGMA database_list"))
        if row.name == "main"
    ]
    return {
        "server_version": await connection.scalar(text("SELECT sqlite_version()")),
        "journal_mode": await _pragma(connection, "journal_mode"),
        "synchronous": _SYNCHRONOUS[await _pragma(connection, "synchronous")],
        "auto_vacuum": _AUTO_VACUUM[await _pragma(connection, "auto_vacuum")],
        "page_size": await _pragma(connection, "page_size"),
        "page_count": await _pragma(connection, "page_count"),
        "freelist_count": await _pragma(connection, "freelist_count"),
        "wal_bytes": await asyncio.to_thread(_log_bytes, file),
        "warnings": [],
    }


async def optimize(connection: AsyncConnection, *, is_stock: bool) -> dict[str, Any]:
    """Renew the planner's statistics, give free pages back, empty the log.

    ``PRAGMA optimize`` alone would do nothing before SQLite 3.46: it judges by
    what its own connection has been asked (https://sqlite.org/lang_analyze.html).

    Args:
        connection: In AUTOCOMMIT, so that each step is a transaction.
        is_stock: Whether it is one of SQLAlchemy's own dialect.
    """
    await connection.exec_driver_sql(f"PRAGMA analysis_limit={_ANALYSIS_LIMIT}")
    tables = await connection.scalars(
        text("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*'")
    )
    quote = connection.dialect.identifier_preparer.quote_identifier
    count = await analyze(connection, "ANALYZE", [quote(name) for name in tables])
    await connection.exec_driver_sql("PRAGMA optimize")
    page_size = await _pragma(connection, "page_size")
    before = await _pragma(connection, "page_count")
    auto_vacuum = await _pragma(connection, "auto_vacuum")
    if auto_vacuum == _INCREMENTAL:
        await _give_back(connection, is_stock=is_stock)
    # The file becomes shorter once the log is moved into it.
    mode = "PASSIVE" if is_stock else "TRUNCATE"
    await connection.exec_driver_sql(f"PRAGMA wal_checkpoint({mode})")
    return {
        "analyzed_tables": count,
        "auto_vacuum": _AUTO_VACUUM[auto_vacuum],
        "freed_bytes": (before - await _pragma(connection, "page_count")) * page_size,
        "unused_bytes": await _pragma(connection, "freelist_count") * page_size,
    }


async def _give_back(connection: AsyncConnection, *, is_stock: bool) -> None:
    step = f"PRAGMA incremental_vacuum({_STEP_PAGES})"
    left = await _pragma(connection, "freelist_count")
    while left:
        if is_stock:
            raw = await connection.get_raw_connection()
            assert raw.driver_connection is not None  # noqa: S101 - it is aiosqlite's
            await raw.driver_connection.executescript(step)
        else:
            await connection.exec_driver_sql(step)
        before, left = left, await _pragma(connection, "freelist_count")
        if left >= before:
            return  # others delete faster than this gives back; next time


async def _pragma(connection: AsyncConnection, name: str) -> Any:
    return await connection.scalar(text(f"PRAGMA {name}"))


def _log_bytes(file: str | None) -> int:
    with contextlib.suppress(OSError):
        if file is not None:
            return os.stat(f"{file}-wal").st_size  # noqa: PTH116 - strings throughout
    return 0
