"""The SQLite driver as SQLAlchemy sees it: how a connection is opened."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Final

import aiosqlite
from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_dbapi
from sqlalchemy.util.concurrency import await_

from hqt_async_db.connection import connects, tasks
from hqt_async_db.connection.backends.sqlite import worker
from hqt_async_db.connection.backends.sqlite.connection import HqtSQLiteConnection
from hqt_async_db.connection.backends.sqlite.files import refuse_unusable
from hqt_async_db.connection.backends.sqlite.forks import note, refuse_inherited
from hqt_async_db.connection.backends.sqlite.gate import gate_of
from hqt_async_db.connection.backends.sqlite.keeping import install_function
from hqt_async_db.connection.backends.sqlite.locations import path_of
from hqt_async_db.connection.backends.sqlite.thread import ConnectionThread
from hqt_async_db.connection.backends.sqlite.versions import report_known_bugs
from hqt_async_db.errors import ConfigurationError

if TYPE_CHECKING:
    from hqt_async_db.connection.backends.sqlite.checkpoints import LogKeeper

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
                ``new_file_pragmas``, ``lock_timeout_s``, ``statement_timeout_s``
                and ``log``, the keeper of the write-ahead log.
        """
        statement_timeout_s = kw.pop("statement_timeout_s", None)
        log: LogKeeper | None = kw.pop("log", None)
        opener = _Opener(arg, kw)
        thread, self._kept = self._kept, None
        if thread is None:
            thread = await_(opener.open())
        if log is not None and opener.path is not None:
            log.attach(opener.path, thread.file, opener.open)
            thread.log = log
            report_known_bugs()
        connection = HqtSQLiteConnection(
            self,
            thread,
            gate=None if opener.path is None else gate_of(opener.path),
            keep=self._keep if opener.path is None else None,
        )
        connection.lock_timeout_s = opener.lock_timeout_s
        connection.statement_timeout_s = statement_timeout_s
        return connection

    def _keep(self, thread: ConnectionThread) -> None:
        self._kept = thread

    def close_kept(self) -> None:
        """Close the database in memory that no connection of the pool holds."""
        thread, self._kept = self._kept, None
        if thread is not None:
            await_(tasks.finish(thread.close(), name="hqt_async_db close SQLite connection"))


class _Opener:
    """Opens connections of the same kind, each on a thread of its own.

    Attributes:
        path: Absolute path of the file, None for a database in memory.
        lock_timeout_s: How long to wait for the lock of another process;
            ``timeout``, as sqlite3 calls it, if only that is given.
    """

    def __init__(self, address: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        self.path = path_of(str(address[0]))
        # SQLite itself waits in steps, as nothing could cancel it meanwhile.
        timeout_s = keywords.pop("timeout", 5.0)
        self.lock_timeout_s = keywords.pop("lock_timeout_s", timeout_s)
        self._pragmas = tuple(keywords.pop("pragmas", ()))
        self._new_file_pragmas = tuple(keywords.pop("new_file_pragmas", ()))
        self._address = address
        self._keywords = {**keywords, "timeout": _BUSY_STEP_S, "isolation_level": None}

    async def open(self) -> ConnectionThread:
        """Return a new connection, settings applied; cancelling loses none."""
        thread: ConnectionThread = await connects.own(self._open())
        return thread

    def _connect(self) -> sqlite3.Connection:
        if self.path is not None:
            refuse_inherited(self.path)
            refuse_unusable(self.path)
        connection: sqlite3.Connection = sqlite3.connect(*self._address, **self._keywords)
        install_function(connection)
        return connection

    async def _open(self) -> ConnectionThread:
        thread = ConnectionThread(aiosqlite.Connection(self._connect, iter_chunk_size=64))
        refused = ""
        try:
            await thread.open()
        except TypeError as error:
            refused = str(error)
        if refused:
            msg = f"sqlite3 does not take these connect_args: {refused}"
            raise ConfigurationError(msg)
        try:
            thread.file = await thread.hop(
                worker.set_up,
                thread.connection,
                self._new_file_pragmas,
                self._pragmas,
                self.lock_timeout_s,
            )
        except BaseException:
            await thread.close()
            raise
        note(thread)
        thread.is_query_only = "PRAGMA query_only=1" in self._pragmas
        return thread
