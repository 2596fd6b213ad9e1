"""SQLite: files in WAL mode, and databases in memory."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from sqlalchemy import event
from sqlalchemy.dialects import registry
from sqlalchemy.pool import NullPool

from hqt_async_db.connection.backends.backend import Mode, Role, common_arguments, mode_options
from hqt_async_db.connection.backends.sqlite.checkpoints import LogKeeper
from hqt_async_db.connection.backends.sqlite.direct import FileDirect
from hqt_async_db.connection.backends.sqlite.keeping import KeepingCompiler, install_function
from hqt_async_db.connection.backends.sqlite.maintenance import figures, optimize
from hqt_async_db.connection.backends.sqlite.memory import MemoryDirect
from hqt_async_db.connection.backends.sqlite.statements import lifts_read_only, stays_read_only
from hqt_async_db.connection.backends.sqlite.versions import known_bugs
from hqt_async_db.connection.pool import TrackedPool
from hqt_async_db.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import URL, Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
    from sqlalchemy.pool import PoolResetState

    from hqt_async_db.connection.backends.direct import Direct
    from hqt_async_db.connection.options import Options
    from hqt_async_db.connection.sessions.transaction import Receipt
    from hqt_async_db.connection.urls import Target
    from hqt_async_db.connection.usage import Usage

# Registered here as well as in the package's metadata, so that a checkout
# on the path works without having been installed.
registry.register(
    "sqlite.hqt", "hqt_async_db.connection.backends.sqlite.dialect", "HqtSQLiteDialect"
)

_MIB: Final = 1024 * 1024
# The execution option; our own dialect acts upon it by itself.
_READ_ONLY: Final = "sqlite_readonly"


class SQLite:
    """One file (two pools: writers, and readers that cannot write) or memory.

    A database in memory belongs to one connection, which sessions take in
    turn; it vanishes when the manager is disposed.
    """

    def __init__(self, target: Target, options: Options) -> None:
        self._target = target
        self._options = _with_timeout(options, target)
        self._stock = target.driver == "aiosqlite"
        self.has_two_engines = not target.is_memory
        self._engines: dict[Role, AsyncEngine] = {}
        self._log = LogKeeper(options.sqlite_wal_limit_mb * _MIB, self._oldest_use)
        if options.pgbouncer:
            msg = "pgbouncer=True is for PostgreSQL"
            raise ConfigurationError(msg)

    def engine_url(self, role: Role) -> URL:
        """Return the URL; readers open the file without the right to write."""
        url = self._target.url
        if role is Role.WRITE or self._target.is_memory:
            return url
        name = str(url.database)
        if name.startswith("file:"):
            return url.update_query_dict({"mode": "ro", "uri": "true"})
        uri = "file:" + quote(os.path.abspath(name))  # noqa: PTH100 - resolves no links, touches no file
        return url.set(database=uri).update_query_dict({"mode": "ro", "uri": "true"})

    def engine_arguments(self, role: Role) -> dict[str, Any]:
        """Return the keyword arguments of ``create_async_engine``."""
        arguments = common_arguments(self._options, role)
        if self._target.is_memory and "pool_size" in arguments:
            # One connection is one database: it is never recycled or joined.
            arguments |= {"pool_size": 1, "max_overflow": 0, "pool_recycle": -1}
        if self._stock:
            arguments["isolation_level"] = "SERIALIZABLE" if role is Role.WRITE else "AUTOCOMMIT"
        return arguments | {"connect_args": self._connect_arguments(role)}

    def execution_options(self, mode: Mode) -> dict[str, Any]:
        """Return the execution options that make a connection keep the mode."""
        options = _stock_options(mode) if self._stock else mode_options(mode)
        if self._target.is_memory and mode.is_read_only:  # on the one connection there is
            options = {"isolation_level": mode.isolation_level} | options | {_READ_ONLY: True}
        return options

    def prepare(self, engine: AsyncEngine, role: Role) -> None:
        """Give the stock dialect, which takes no pragmas, the same settings."""
        self._engines[role] = engine
        if not self._stock:
            return
        engine.sync_engine.dialect.statement_compiler = KeepingCompiler
        pragmas, new_file_pragmas = self._pragmas(role), self._new_file_pragmas(role)

        @event.listens_for(engine.sync_engine, "connect")
        def _apply(connection: Any, _record: object) -> None:
            install_function(connection)
            cursor = connection.cursor()
            cursor.execute("PRAGMA page_count")
            is_new = cursor.fetchone() == (0,)
            for pragma in (*(new_file_pragmas if is_new else ()), *pragmas):
                cursor.execute(pragma)
            cursor.close()

        event.listen(engine.sync_engine, "reset", _end_transaction)
        if role is Role.READ:
            event.listen(engine.sync_engine, "begin", _begin_snapshot)
        elif self._target.is_memory:
            event.listen(engine.sync_engine, "begin", _hold_to_mode)
            event.listen(engine.sync_engine, "before_cursor_execute", _refuse_lifting)

    def direct(
        self, engines: Mapping[Role, AsyncEngine], record: Callable[[Receipt], None]
    ) -> Direct | None:
        """Return the lanes of a file, or the turns at the one connection to memory.

        Without a pool no connection is to be kept, so that there are none.
        """
        pool = engines[Role.WRITE].pool
        if self._stock or isinstance(pool, NullPool):
            return None
        if self._target.is_memory:
            return MemoryDirect(pool, self._options, record)
        return FileDirect(engines, self._options, record)

    async def describe(self, connection: AsyncConnection) -> dict[str, Any]:
        """Return version, durability, sizes and what is wrong; few statements."""
        facts = await figures(connection)
        too_long = facts["wal_bytes"] > self._log.limit_bytes
        if not self._target.is_memory:
            facts["warnings"] += known_bugs(sqlite3.sqlite_version_info)
        if too_long:
            facts["warnings"].append(self._log.describe(facts["wal_bytes"]))
        return facts

    async def optimize(self, connection: AsyncConnection) -> dict[str, Any]:
        """Analyze every table, give free pages back and empty the log."""
        return await optimize(connection, is_stock=self._stock)

    async def end(self) -> None:
        """Stop keeping the log short."""
        await self._log.end()

    async def settle(self) -> None:
        """Leave no log beside the file, unless others have it open."""
        await self._log.leave_none()

    def _oldest_use(self) -> Usage | None:
        """Return who has held a connection of the reading pool for the longest time."""
        pool = self._engines[Role.READ].pool
        holders = pool.holders.values() if isinstance(pool, TrackedPool) else ()
        return max(holders, key=lambda use: use.age_s, default=None)

    def _connect_arguments(self, role: Role) -> dict[str, Any]:
        if self._stock:
            return {"timeout": self._options.lock_timeout_s, **self._options.connect_args}
        own: dict[str, Any] = {
            "pragmas": self._pragmas(role),
            "new_file_pragmas": self._new_file_pragmas(role),
            "lock_timeout_s": self._options.lock_timeout_s,
            "statement_timeout_s": self._options.statement_timeout_s,
        }
        if role is Role.WRITE:
            own["log"] = self._log
        return own | self._options.connect_args

    def _new_file_pragmas(self, role: Role) -> tuple[str, ...]:
        # What is deleted can then be given back in small steps.
        return ("PRAGMA auto_vacuum=INCREMENTAL",) if role is Role.WRITE else ()

    def _pragmas(self, role: Role) -> tuple[str, ...]:
        # LIKE tells case apart on the servers; ilike() ignores it everywhere.
        shared = ("PRAGMA foreign_keys=1", "PRAGMA mmap_size=0", "PRAGMA case_sensitive_like=1")
        if self._target.is_memory:
            return shared
        synchronous = f"PRAGMA synchronous={self._options.sqlite_synchronous.upper()}"
        if role is Role.READ:
            return (*shared, synchronous, "PRAGMA query_only=1")
        return (
            "PRAGMA journal_mode=WAL",
            synchronous,
            f"PRAGMA journal_size_limit={self._log.limit_bytes}",
            *shared,
        )


def _with_timeout(options: Options, target: Target) -> Options:
    """Return options that take sqlite3's ``timeout`` for ``lock_timeout_s``, if it is given."""
    given: dict[str, Any] = {**target.url.query, **options.connect_args}
    timeout_s = given.get("timeout", options.lock_timeout_s)
    if isinstance(timeout_s, str):
        with suppress(ValueError):  # refused as it is
            timeout_s = float(timeout_s)
    return replace(options, lock_timeout_s=timeout_s)


def _stock_options(mode: Mode) -> dict[str, Any]:
    """Return the execution options of a mode that the stock dialect knows."""
    if mode in {Mode.READ_ONLY, Mode.MAINTENANCE}:
        return {"isolation_level": "AUTOCOMMIT"}
    return {"isolation_level": "SERIALIZABLE"} if mode is Mode.SNAPSHOT else {}


def _begin_snapshot(connection: Connection) -> None:
    """Begin for the stock driver, which does so before writes only; costs a hop."""
    if connection.get_execution_options().get("isolation_level") == "SERIALIZABLE":
        connection.exec_driver_sql("BEGIN").close()


def _end_transaction(connection: Any, _record: object, state: PoolResetState) -> None:
    """Roll back for the stock dialect what SQLAlchemy takes for ended when its COMMIT was refused.

    SQLite keeps it open, and the next who has the connection would be in it.
    """
    if state.asyncio_safe and connection.driver_connection.in_transaction:
        connection.rollback()


def _hold_to_mode(connection: Connection) -> None:
    """Let SQLite refuse writes, or take them again, for the stock driver; costs a hop."""
    is_read_only = bool(connection.get_execution_options().get(_READ_ONLY))
    dbapi_connection: Any = connection.connection.dbapi_connection
    dbapi_connection.execute(f"PRAGMA query_only={int(is_read_only)}").close()


def _refuse_lifting(connection: Connection, _cursor: object, statement: str, *_: object) -> None:
    if connection.get_execution_options().get(_READ_ONLY) and lifts_read_only(statement):
        raise stays_read_only()
