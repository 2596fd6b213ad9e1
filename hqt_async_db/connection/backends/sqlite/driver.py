"""The SQLite driver as SQLAlchemy sees it: how a connection is opened."""

from __future__ import annotations

import os
import sqlite3
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aiosqlite
from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_dbapi
from sqlalchemy.util.concurrency import await_

from hqt_async_db.connection import connects, tasks
from hqt_async_db.connection.backends.sqlite import worker
from hqt_async_db.connection.backends.sqlite.connection import HqtSQLiteConnection
from hqt_async_db.connection.backends.sqlite.gate import gate_of
from hqt_async_db.connection.backends.sqlite.thread import ConnectionThread
from hqt_async_db.errors import ConfigurationError

# How long SQLite's own busy handler sleeps at a stretch; it cannot be interrupted.
_BUSY_STEP_S: Final = 0.02


class HqtSQLiteDBAPI(AsyncAdapt_aiosqlite_dbapi):
    """The driver module as SQLAlchemy sees it, one per engine."""

    def __init__(self) -> None:
        super().__init__(aiosqlite, sqlite3)
        self._kept: ConnectionThread | None = None

    def connect(self, *arg: Any, **kw: Any) -> HqtSQLiteConnection:
        """Open a file on a thread of its own and apply its settings.

        Args:
            arg: Path of the file, or a ``file:`` URI with ``uri=True``.
            kw: What ``sqlite3.connect`` takes, and ``pragmas``,
                ``lock_timeout_s`` and ``statement_timeout_s``.
        """
        lock_timeout_s = kw.pop("lock_timeout_s", 5.0)
        statement_timeout_s = kw.pop("statement_timeout_s", None)
        pragmas = tuple(kw.pop("pragmas", ()))
        path = _path_of(str(arg[0]))
        thread, self._kept = self._kept, None
        if thread is None:
            kw.setdefault("timeout", _BUSY_STEP_S)
            thread = ConnectionThread(aiosqlite.connect(*arg, isolation_level=None, **kw))
            await_(connects.own(_open(thread, pragmas, lock_timeout_s)))
        connection = HqtSQLiteConnection(
            self,
            thread,
            gate=None if path is None else gate_of(path),
            keep=self._keep if path is None else None,
        )
        connection.lock_timeout_s = lock_timeout_s
        connection.statement_timeout_s = statement_timeout_s
        return connection

    def _keep(self, thread: ConnectionThread) -> None:
        self._kept = thread

    def close_kept(self) -> None:
        """Close the database in memory that no connection of the pool holds."""
        thread, self._kept = self._kept, None
        if thread is not None:
            await_(tasks.finish(thread.close(), name="hqt_async_db close SQLite connection"))


async def _open(
    thread: ConnectionThread, pragmas: tuple[str, ...], patience_s: float
) -> ConnectionThread:
    refused = ""
    try:
        await thread.open()
    except TypeError as error:
        refused = str(error)
    if refused:
        msg = f"sqlite3 does not take these connect_args: {refused}"
        raise ConfigurationError(msg)
    try:
        await thread.hop(worker.set_up, thread.connection, pragmas, patience_s)
    except BaseException:
        await thread.close()
        raise
    thread.is_query_only = "PRAGMA query_only=1" in pragmas
    return thread


def _path_of(name: str) -> str | None:
    """Return the absolute path of a file, None for a database in memory."""
    if name.startswith("file:"):
        if "mode=memory" in name or name.startswith("file::memory:"):
            return None
        name = unquote(urlsplit(name).path)
    return None if name in ("", ":memory:") else os.path.abspath(name)  # noqa: PTH100 - resolves no links, touches no file
