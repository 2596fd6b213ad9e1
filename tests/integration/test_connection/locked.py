"""One-shot writes that wait for the lock of a row on a server."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from hqt_async_db import BaseRepository
from tests.integration.test_connection.entries import Entry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hqt_async_db import DatabaseManager

_PATIENCE_S: Final = 10.0
_WAITING: Final = {
    "postgresql": "SELECT count(*) FROM pg_locks WHERE NOT granted",
    # What InnoDB knows of locks it tells nobody who asks again, or whom another test forestalls.
    "mariadb": (
        "SELECT count(*) FROM information_schema.processlist WHERE db = database() "
        "AND id <> connection_id() AND command <> 'Sleep' AND time_ms > 50"
    ),
}


def repository(db: DatabaseManager) -> BaseRepository[Entry]:
    """Return the repository of these tests."""
    return BaseRepository(db, Entry)


@asynccontextmanager
async def locked_row(db: DatabaseManager, name: str) -> AsyncIterator[None]:
    """Hold the lock of a row."""
    async with db.session() as session:
        await session.execute(text("SELECT 1 FROM entries WHERE name = :n FOR UPDATE"), {"n": name})
        yield


async def waiting_for_locks(db: DatabaseManager) -> int:
    """Return how many statements wait for a lock."""
    async with db.session(read_only=True) as session:
        return int(await session.scalar(text(of_server(db, _WAITING))) or 0)


def of_server(db: DatabaseManager, choices: dict[str, str]) -> str:
    """Return what is for the manager's server."""
    return choices["postgresql" if db.dialect_name == "postgresql" else "mariadb"]


async def until_one_waits(db: DatabaseManager) -> None:
    """Wait until a statement waits for a lock."""
    await until_so_many_wait(db, 1)


async def until_so_many_wait(db: DatabaseManager, number: int) -> None:
    """Wait until so many statements wait for a lock."""
    deadline = time.monotonic() + _PATIENCE_S
    while await waiting_for_locks(db) != number:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def cancel_what_waits(db: DatabaseManager, ledger: DatabaseManager, entry: Entry) -> float:
    """Cancel a write of ``db`` once it waits for a lock; return the seconds that its end takes."""
    task = asyncio.create_task(change(db, entry, 7))
    await until_one_waits(ledger)
    started = time.monotonic()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    return time.monotonic() - started


async def change(db: DatabaseManager, entry: Entry, amount: int) -> None:
    """Update by a one-shot write."""
    await repository(db).update(entry, amount=amount)
