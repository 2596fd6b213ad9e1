"""SQLite connections whose statements and commits can be held, and are counted."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import event, func, literal_column, make_url, select

from tests.integration.test_connection.entries import Entry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sqlalchemy import ColumnElement

    from hqt_async_db import DatabaseManager

_LONGEST_S: Final = 15.0
_WRITES: Final = ("INSERT ", "UPDATE ", "DELETE ")
_COUNT_WITHOUT_END: Final = (
    "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n)"
)


class Held:
    """Listens to a manager's new connections, on which it can hold what runs.

    Attributes:
        opened: How many connections there were, by role.
        begun: The keys whose statement has begun.
        commits: How many commits there were, by COMMIT or by a statement alone.
        in_commit: Set while one is held.
    """

    def __init__(self, db: DatabaseManager) -> None:
        self.opened: dict[str, int] = {}
        self.begun: list[str] = []
        self.commits = 0
        self.in_commit = threading.Event()
        self._released: dict[str, threading.Event] = {}
        self._commits_go_on = threading.Event()
        self._commits_go_on.set()
        event.listen(db.engine.sync_engine, "connect", self._connected)

    def criterion(self, key: str) -> ColumnElement[bool]:
        """Return what is true of each row once ``key`` is released."""
        self._released[key] = threading.Event()
        return func.hold(key) == key

    def release(self, key: str) -> None:
        """Let the statement go on."""
        self._released[key].set()

    def hold_commits(self) -> None:
        """Let commits begin, and not go on."""
        self._commits_go_on.clear()

    def release_commits(self) -> None:
        """Let them go on."""
        self._commits_go_on.set()

    def _connected(self, connection: Any, _record: object) -> None:
        role = "read" if connection.read_only else "write"
        self.opened[role] = self.opened.get(role, 0) + 1
        connection.create_function("hold", 1, self._hold)
        connection.run_async(lambda raw: raw.set_trace_callback(partial(self._trace, raw)))

    def _hold(self, key: str) -> str:
        self.begun.append(key)
        self._released[key].wait(_LONGEST_S)
        return key

    def _trace(self, raw: Any, sql: str) -> None:
        if sql == "COMMIT" or (sql.startswith(_WRITES) and not raw.in_transaction):
            self.commits += 1
            if not self._commits_go_on.is_set():
                self.in_commit.set()
                self._commits_go_on.wait(_LONGEST_S)


def endless() -> ColumnElement[bool]:
    """Return a criterion that SQLite never stops working at."""
    counted: ColumnElement[int] = literal_column(_COUNT_WITHOUT_END)
    return Entry.id == counted


async def until(condition: Callable[[], object]) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + _LONGEST_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


@asynccontextmanager
async def locked_by_another_program(url: str) -> AsyncIterator[None]:
    """Hold the file's write lock, as another process would."""
    path = str(make_url(url).database)
    leave, entered = threading.Event(), threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            entered.set()
            leave.wait(_LONGEST_S)
            connection.execute("ROLLBACK")

    program = asyncio.create_task(asyncio.to_thread(hold))
    await until(entered.is_set)
    try:
        yield
    finally:
        leave.set()
        await program


async def count_of(db: DatabaseManager) -> int:
    """Return how many entries a session sees."""
    async with db.session(read_only=True) as session:
        return int(await session.scalar(select(func.count()).select_from(Entry)) or 0)
