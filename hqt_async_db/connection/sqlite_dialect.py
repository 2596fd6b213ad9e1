"""SQLite for asyncio: one thread hop per statement, one writer at a time.

A subclass of SQLAlchemy's aiosqlite dialect, registered as ``sqlite+hqt``.
A transaction begins where it is needed, not before: reads are per statement
until the first write begins IMMEDIATE, in the same hop as the statement.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sqlite3
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import unquote, urlsplit

import aiosqlite
from sqlalchemy import pool as sa_pool
from sqlalchemy.connectors.asyncio import AsyncAdapt_dbapi_cursor
from sqlalchemy.dialects.sqlite.aiosqlite import (
    AsyncAdapt_aiosqlite_connection,
    AsyncAdapt_aiosqlite_dbapi,
    SQLiteDialect_aiosqlite,
)
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.engine.characteristics import ConnectionCharacteristic
from sqlalchemy.util.concurrency import await_, in_greenlet

from hqt_async_db.connection import connects, tasks
from hqt_async_db.connection.gate import WriteGate, gate_of
from hqt_async_db.connection.sqlite_worker import (
    Call,
    abandon,
    close_cursors,
    end_transaction,
    set_up,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import URL
    from sqlalchemy.engine.interfaces import DBAPIConnection, ExecutionContext
    from sqlalchemy.sql.selectable import GenerativeSelect

READ_COMMITTED: Final = "READ COMMITTED"
SERIALIZABLE: Final = "SERIALIZABLE"
REPEATABLE_READ: Final = "REPEATABLE READ"
AUTOCOMMIT: Final = "AUTOCOMMIT"

_DISCARD_TIMEOUT_S: Final = 10.0
# How long SQLite's own busy handler sleeps at a stretch; it cannot be interrupted.
_BUSY_STEP_S: Final = 0.02
_LEADING_NOISE: Final = re.compile(r"(?:\s|\(|;|--[^\n]*(?:\n|$)|/\*.*?\*/)*", re.DOTALL)
_KEYWORD: Final = re.compile(r"[A-Za-z]+")
_DML: Final = re.compile(r"\b(INSERT|UPDATE|DELETE|REPLACE)\b", re.IGNORECASE)
# These neither change rows under a transaction nor may run inside a new one.
_NO_TRANSACTION: Final = frozenset(
    {"SELECT", "VALUES", "EXPLAIN", "PRAGMA", "VACUUM", "ATTACH", "DETACH", "RELEASE", "ROLLBACK"}
)


def takes_write_lock(statement: str, context: ExecutionContext | None = None) -> bool:
    """Tell whether ``statement`` must run inside a write transaction.

    A false yes costs a lock, a false no could end in SQLITE_BUSY_SNAPSHOT;
    so what is not known to be a read counts as a write.
    """
    compiled = getattr(context, "compiled", None)
    if compiled is not None and not getattr(context, "is_text", False):
        if getattr(compiled, "locks_for_update", False):
            return True
        if getattr(compiled, "isinsert", False) or getattr(compiled, "isupdate", False):
            return True
        if getattr(compiled, "isdelete", False):
            return True
    start = _LEADING_NOISE.match(statement)
    word = _KEYWORD.match(statement, start.end() if start else 0)
    keyword = word.group().upper() if word else ""
    if keyword == "WITH":
        return _DML.search(statement) is not None
    return bool(keyword) and keyword not in _NO_TRANSACTION


class HqtSQLiteCursor(AsyncAdapt_dbapi_cursor):
    """A cursor whose execute, fetch, description and close are one hop."""

    __slots__ = ("_description", "_lastrowid", "_rowcount", "arraysize", "writes")

    _adapt_connection: HqtSQLiteConnection

    def __init__(self, adapt_connection: HqtSQLiteConnection) -> None:
        self._adapt_connection = adapt_connection
        self._connection = adapt_connection._connection  # noqa: SLF001 - the base class's own slot
        self._rows = deque()
        self._description: Any = None
        self._rowcount = -1
        self._lastrowid = 0
        self.arraysize = 1
        self.writes: bool | None = None

    @property
    def description(self) -> Any:
        """Return the columns of the last result."""
        return self._description

    @property
    def rowcount(self) -> int:
        """Return the number of rows the last statement changed, or -1."""
        return self._rowcount

    @property
    def lastrowid(self) -> int:
        """Return the rowid of the last inserted row."""
        return self._lastrowid

    def execute(self, operation: Any, parameters: Any = None) -> Any:
        """Run one statement and fetch all its rows."""
        self._run(Call(operation, parameters if parameters is not None else ()))
        return self

    def executemany(self, operation: Any, seq_of_parameters: Any) -> Any:
        """Run one statement for every set of parameters."""
        self._run(Call(operation, seq_of_parameters, many=True))
        return self

    def _run(self, call: Call) -> None:
        self._adapt_connection.run(call, writes=self.writes)
        self._rows = deque(call.rows)
        self._description = call.description
        self._rowcount = call.rowcount
        self._lastrowid = call.lastrowid

    async def _async_soft_close(self) -> None:
        """Do nothing: the cursor was closed in the hop that ran it."""

    def close(self) -> None:
        """Forget the rows; the cursor was closed in the hop that ran it."""
        self._rows.clear()


class HqtSQLiteStreamCursor(HqtSQLiteCursor):
    """A cursor that stays open and fetches a chunk of rows per hop."""

    __slots__ = ("_call",)

    server_side = True

    def __init__(self, adapt_connection: HqtSQLiteConnection) -> None:
        super().__init__(adapt_connection)
        self._call: Call | None = None

    def _run(self, call: Call) -> None:
        call.keep_open = True
        self._adapt_connection.run(call, writes=self.writes)
        self._call = call
        self._adapt_connection.streams.add(call)
        self._description = call.description
        self._rowcount = call.rowcount

    def fetchone(self) -> Any:
        """Fetch one row, in one hop."""
        rows = self.fetchmany(1)
        return rows[0] if rows else None

    def fetchmany(self, size: int | None = None) -> Sequence[Any]:
        """Fetch up to ``size`` rows, in one hop."""
        if self._call is None:
            return []
        return self._adapt_connection.hop(self._call.fetch, size or self.arraysize)  # type: ignore[no-any-return]  # a hop returns what its function does

    def fetchall(self) -> Sequence[Any]:
        """Fetch the remaining rows, in one hop."""
        if self._call is None:
            return []
        return self._adapt_connection.hop(self._call.fetch, -1)  # type: ignore[no-any-return]  # as above

    def close(self) -> None:
        """Close the statement, in one hop."""
        call, self._call = self._call, None
        if call in self._adapt_connection.streams and in_greenlet():
            self._adapt_connection.streams.discard(call)
            self._adapt_connection.hop(call.close)


class HqtSQLiteConnection(AsyncAdapt_aiosqlite_connection):
    """A connection that knows its transaction, its turn to write and its hops."""

    __slots__ = (
        "_began",
        "_gate",
        "_running",
        "_turn",
        "isolation",
        "lock_timeout_s",
        "read_only",
        "statement_timeout_s",
        "streams",
    )

    _cursor_cls = HqtSQLiteCursor
    _ss_cursor_cls = HqtSQLiteStreamCursor

    def __init__(self, dbapi: Any, connection: Any, gate: WriteGate | None) -> None:
        super().__init__(dbapi, connection)
        self._gate = gate
        self._turn = False
        self._began = False
        self._running: Call | None = None
        self.isolation = READ_COMMITTED
        self.read_only = False
        self.lock_timeout_s = 5.0
        self.statement_timeout_s: float | None = None
        self.streams: set[Call] = set()

    @property
    def in_transaction(self) -> bool:
        """Tell whether SQLite has a transaction open."""
        return bool(self._connection.in_transaction)

    def hop(self, function: Any, *arguments: Any) -> Any:
        """Run ``function`` on the connection's thread and return its result."""
        try:
            return await_(self._hop(function, *arguments))
        except Exception as error:  # noqa: BLE001 - translates, then raises
            self._handle_exception(error)

    def run(self, call: Call, *, writes: bool | None) -> None:
        """Run a statement, in the transaction that it needs, in one hop."""
        try:
            await_(self._run(call, writes=writes))
        except Exception as error:  # noqa: BLE001 - translates, then raises
            self._handle_exception(error)

    async def _run(self, call: Call, *, writes: bool | None) -> None:
        self._refuse_lost_transaction()
        if not self._began:
            self._plan(call, writes=takes_write_lock(call.sql) if writes is None else writes)
        if call.takes_turn and self._gate is not None and not self._turn:
            await self._gate.enter(self.lock_timeout_s)
            self._turn = True
        self._running = call
        try:
            await self._hop(call.run, self._connection._conn)
        finally:
            self._began = self._began or call.began
            if call.done:
                self._running = None
                if call.ends_transaction:
                    self._began = self.in_transaction
                if self._turn and not self._began:
                    self._leave()

    def _plan(self, call: Call, *, writes: bool) -> None:
        """Decide which transaction a statement outside of one begins."""
        call.patience_s = self.lock_timeout_s
        call.takes_turn = (writes or self.isolation == SERIALIZABLE) and not self.read_only
        if self.isolation == AUTOCOMMIT or call.stays_outside:
            return
        if call.takes_turn:
            call.begin = "BEGIN IMMEDIATE"
        elif self.isolation == REPEATABLE_READ:
            call.begin = "BEGIN"

    async def _hop(self, function: Any, *arguments: Any) -> Any:
        if self.statement_timeout_s is None:
            return await self._connection._execute(function, *arguments)
        timer = asyncio.get_running_loop().call_later(self.statement_timeout_s, self._interrupt)
        try:
            return await self._connection._execute(function, *arguments)
        finally:
            timer.cancel()

    def _interrupt(self) -> None:
        if self._running is not None:
            self._running.stop()
        self._connection._conn.interrupt()

    def _refuse_lost_transaction(self) -> None:
        """Stop a transaction that SQLite rolled back by itself.

        After an I/O error or a full disk SQLite may do so; statements that
        follow would be committed without those that came before.
        """
        if self._began and not self.in_transaction:
            msg = "the transaction was rolled back by SQLite after an error; roll back and retry"
            raise sqlite3.OperationalError(msg)

    def commit(self) -> None:
        """Commit in one hop; without a transaction it costs nothing."""
        if not self._began:
            return
        try:
            self._refuse_lost_transaction()
        except sqlite3.OperationalError as error:
            self._handle_exception(error)
        self.hop(end_transaction, self._connection._conn, "COMMIT", self.lock_timeout_s)
        self._ended()

    def rollback(self) -> None:
        """Roll back in one hop; without a transaction it costs nothing."""
        if self.streams:
            self.hop(close_cursors, self.streams)
            self.streams = set()
        if self._began and self.in_transaction:
            self.hop(end_transaction, self._connection._conn, "ROLLBACK", self.lock_timeout_s)
        self._ended()

    def set_read_only(self, *, read_only: bool) -> None:
        """Let SQLite refuse every write of this connection, or stop doing so."""
        if read_only != self.read_only:
            sql = f"PRAGMA query_only={int(read_only)}"
            self.hop(set_up, self._connection._conn, (sql,), self.lock_timeout_s)
            self.read_only = read_only

    def close(self) -> None:
        """Roll back, close the file and end the thread."""
        await_(self._discard())

    def terminate(self) -> None:
        """Interrupt the running statement, roll back and close, at once.

        The work goes on by itself if the caller is cancelled again; nothing
        is left to the garbage collector, which would keep the write lock.
        """
        if not in_greenlet():
            self._connection.stop()
            self._ended()
            return
        task = tasks.start(self._discard(), name="hqt_async_db close SQLite connection")
        cancelled = await_(tasks.wait(task, _DISCARD_TIMEOUT_S))
        if cancelled is not None:
            raise cancelled
        if task.done():
            task.result()

    async def _discard(self) -> None:
        try:
            with contextlib.suppress(ValueError):  # it is closed already
                if self._running is not None:
                    self._interrupt()
                connection = self._connection._conn
                await self._connection._execute(abandon, connection, self.streams)
                await self._connection.close()
        finally:
            self._ended()

    def _ended(self) -> None:
        self._began = False
        self._running = None
        if self._turn:
            self._leave()

    def _leave(self) -> None:
        self._turn = False
        if self._gate is not None:
            self._gate.leave()


class HqtSQLiteDBAPI(AsyncAdapt_aiosqlite_dbapi):
    """The driver module as SQLAlchemy sees it."""

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
        kw.setdefault("timeout", _BUSY_STEP_S)
        kw["isolation_level"] = None
        opening = self._open(pragmas, lock_timeout_s, *arg, **kw)
        raw = await_(connects.own(opening))
        connection = HqtSQLiteConnection(self, raw, _gate_for(str(arg[0])))
        connection.lock_timeout_s = lock_timeout_s
        connection.statement_timeout_s = statement_timeout_s
        connection.read_only = "PRAGMA query_only=1" in pragmas
        return connection

    async def _open(
        self, pragmas: tuple[str, ...], patience_s: float, *arg: Any, **kw: Any
    ) -> aiosqlite.Connection:
        connection = self.aiosqlite.connect(*arg, **kw)
        connection._thread.daemon = True  # an unclosed file must not keep the process alive
        await connection
        try:
            await connection._execute(set_up, connection._conn, pragmas, patience_s)
        except BaseException:
            await connection.close()
            raise
        return connection  # type: ignore[no-any-return]  # the module is untyped here


class HqtSQLiteCompiler(SQLiteCompiler):
    """SQLite's compiler, which remembers that a SELECT asked for a lock."""

    locks_for_update = False

    def for_update_clause(self, select: GenerativeSelect, **kw: Any) -> str:
        """Render nothing, but have the statement begin IMMEDIATE."""
        self.locks_for_update = True
        return super().for_update_clause(select, **kw)


class SQLiteReadOnly(ConnectionCharacteristic):
    """The execution option ``sqlite_readonly``: SQLite itself refuses writes."""

    transactional: ClassVar[bool] = True

    def reset_characteristic(self, dialect: Any, dbapi_conn: Any) -> None:
        """Allow writes again when the connection goes back to the pool."""
        del dialect
        dbapi_conn.set_read_only(read_only=False)

    def set_characteristic(self, dialect: Any, dbapi_conn: Any, value: Any) -> None:
        """Refuse or allow writes."""
        del dialect
        dbapi_conn.set_read_only(read_only=bool(value))

    def get_characteristic(self, dialect: Any, dbapi_conn: Any) -> Any:
        """Tell whether writes are refused."""
        del dialect
        return dbapi_conn.read_only


class HqtSQLiteDialect(SQLiteDialect_aiosqlite):
    """SQLite through aiosqlite: transactions that begin at the first write.

    Isolation levels: READ COMMITTED (the default: reads per statement, the
    first write begins IMMEDIATE), SERIALIZABLE (the first statement begins
    IMMEDIATE), REPEATABLE READ (the first statement begins a snapshot) and
    AUTOCOMMIT.
    """

    driver = "hqt"
    supports_statement_cache = True
    has_terminate = True
    statement_compiler = HqtSQLiteCompiler
    connection_characteristics = SQLiteDialect_aiosqlite.connection_characteristics.union(
        {"sqlite_readonly": SQLiteReadOnly()}
    )

    @classmethod
    def import_dbapi(cls) -> HqtSQLiteDBAPI:
        """Return the driver."""
        return HqtSQLiteDBAPI(aiosqlite, sqlite3)

    @classmethod
    def get_pool_class(cls, url: URL) -> type[sa_pool.Pool]:
        """Return a queue for files and for memory alike.

        SQLAlchemy's StaticPool would put all tasks into one transaction.
        """
        del url
        return sa_pool.AsyncAdaptedQueuePool

    def get_isolation_level_values(self, dbapi_conn: DBAPIConnection) -> Sequence[Any]:
        """Return the isolation levels."""
        del dbapi_conn
        return (AUTOCOMMIT, READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE)

    def get_default_isolation_level(self, dbapi_conn: DBAPIConnection) -> Any:
        """Return READ COMMITTED."""
        del dbapi_conn
        return READ_COMMITTED

    def get_isolation_level(self, dbapi_connection: Any) -> Any:
        """Return the isolation level, without asking the thread."""
        return dbapi_connection.isolation

    def set_isolation_level(self, dbapi_connection: Any, level: Any) -> None:
        """Set the isolation level of transactions to come, without a hop."""
        dbapi_connection.isolation = level

    def detect_autocommit_setting(self, dbapi_conn: Any) -> bool:
        """Tell whether each statement is its own transaction."""
        return bool(dbapi_conn.isolation == AUTOCOMMIT)

    def do_execute(
        self, cursor: Any, statement: str, parameters: Any, context: ExecutionContext | None = None
    ) -> None:
        """Execute one statement."""
        cursor.writes = takes_write_lock(statement, context)
        cursor.execute(statement, parameters)

    def do_executemany(
        self, cursor: Any, statement: str, parameters: Any, context: ExecutionContext | None = None
    ) -> None:
        """Execute one statement for many sets of parameters, in one hop."""
        cursor.writes = takes_write_lock(statement, context)
        cursor.executemany(statement, parameters)


def _gate_for(name: str) -> WriteGate | None:
    """Return the gate of a file; a database in memory has one connection."""
    if name.startswith("file:"):
        if "mode=memory" in name or name.startswith("file::memory:"):
            return None
        name = unquote(urlsplit(name).path)
    return None if name in ("", ":memory:") else gate_of(os.path.abspath(name))


dialect = HqtSQLiteDialect
