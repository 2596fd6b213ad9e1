"""SQLite: files in WAL mode, and databases in memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from sqlalchemy import event, text
from sqlalchemy.dialects import registry

from hqt_async_db.connection.backends.backend import Mode, Role, common_arguments, mode_options
from hqt_async_db.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import URL
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from hqt_async_db.connection.options import Options
    from hqt_async_db.connection.urls import Target

# Registered here as well as in the package's metadata, so that a checkout
# on the path works without having been installed.
registry.register(
    "sqlite.hqt", "hqt_async_db.connection.backends.sqlite.dialect", "HqtSQLiteDialect"
)

_WAL_LIMIT_BYTES: Final = 64 * 1024 * 1024


class SQLite:
    """One file (two pools: writers, and readers that cannot write) or memory.

    A database in memory belongs to one connection, which sessions take in
    turn; it vanishes when the manager is disposed.
    """

    def __init__(self, target: Target, options: Options) -> None:
        self._target = target
        self._options = options
        self._stock = target.driver == "aiosqlite"
        self.has_two_engines = not target.is_memory
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
        if self._stock:
            return {"isolation_level": "AUTOCOMMIT"} if mode is Mode.READ_ONLY else {}
        if self._target.is_memory and mode.is_read_only:
            return {"isolation_level": mode.isolation_level, "sqlite_readonly": True}
        return mode_options(mode)

    def prepare(self, engine: AsyncEngine, role: Role) -> None:
        """Give the stock dialect, which takes no pragmas, the same settings."""
        if not self._stock:
            return
        pragmas = self._pragmas(role)

        @event.listens_for(engine.sync_engine, "connect")
        def _apply(connection: Any, _record: object) -> None:
            cursor = connection.cursor()
            for pragma in pragmas:
                cursor.execute(pragma)
            cursor.close()

    async def describe(self, connection: AsyncConnection) -> dict[str, Any]:
        """Return version, journal mode, durability and size; five statements."""
        facts = {"server_version": await connection.scalar(text("SELECT sqlite_version()"))}
        for pragma in ("journal_mode", "synchronous", "page_count", "freelist_count"):
            facts[pragma] = await connection.scalar(text(f"PRAGMA {pragma}"))
        return facts

    def _connect_arguments(self, role: Role) -> dict[str, Any]:
        if self._stock:
            return {"timeout": self._options.lock_timeout_s, **self._options.connect_args}
        return {
            "pragmas": self._pragmas(role),
            "lock_timeout_s": self._options.lock_timeout_s,
            "statement_timeout_s": self._options.statement_timeout_s,
            **self._options.connect_args,
        }

    def _pragmas(self, role: Role) -> tuple[str, ...]:
        # LIKE tells case apart on the servers; ilike() ignores it everywhere.
        shared = ("PRAGMA foreign_keys=1", "PRAGMA mmap_size=0", "PRAGMA case_sensitive_like=1")
        if self._target.is_memory:
            return shared
        if role is Role.READ:
            return (*shared, "PRAGMA query_only=1")
        return (
            "PRAGMA journal_mode=WAL",
            f"PRAGMA synchronous={self._options.sqlite_synchronous.upper()}",
            f"PRAGMA journal_size_limit={_WAL_LIMIT_BYTES}",
            *shared,
        )
