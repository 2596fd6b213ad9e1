"""SQLite for asyncio: one thread hop per statement, one writer at a time.

A subclass of SQLAlchemy's aiosqlite dialect, registered as ``sqlite+hqt``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import event
from sqlalchemy import pool as sa_pool
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.engine.characteristics import ConnectionCharacteristic

from hqt_async_db.connection.backends.sqlite.connection import (
    AUTOCOMMIT,
    READ_COMMITTED,
    REPEATABLE_READ,
    SERIALIZABLE,
)
from hqt_async_db.connection.backends.sqlite.driver import HqtSQLiteDBAPI
from hqt_async_db.connection.backends.sqlite.keeping import KeepingCompiler
from hqt_async_db.connection.backends.sqlite.statements import takes_write_lock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import URL, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection, ExecutionContext
    from sqlalchemy.sql.selectable import GenerativeSelect


class HqtSQLiteCompiler(KeepingCompiler):
    """SQLite's compiler: remembers that a SELECT asked for a lock, and tells time in full."""

    locks_for_update = False

    def for_update_clause(self, select: GenerativeSelect, **kw: Any) -> str:
        """Render nothing, but have the statement begin IMMEDIATE."""
        del select, kw
        self.locks_for_update = True
        return ""

    def visit_now_func(self, fn: Any, **kw: Any) -> str:
        """Render the time as it is stored, and so compared: SQLite's own text is shorter."""
        del fn, kw
        return "CURRENT_TIMESTAMP || '.000000'"

    visit_current_timestamp_func = visit_now_func


class SQLiteReadOnly(ConnectionCharacteristic):
    """The execution option ``sqlite_readonly``: SQLite itself refuses writes."""

    transactional: ClassVar[bool] = True

    def reset_characteristic(self, dialect: Any, dbapi_conn: Any) -> None:
        """Allow writes again when the connection goes back to the pool."""
        del dialect
        dbapi_conn.read_only = False

    def set_characteristic(self, dialect: Any, dbapi_conn: Any, value: Any) -> None:
        """Refuse or allow writes, from the next statement on and at no hop of its own."""
        del dialect
        dbapi_conn.read_only = bool(value)

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
        return HqtSQLiteDBAPI()

    @classmethod
    def engine_created(cls, engine: Engine) -> None:
        """Have a database in memory end with its engine, in use or not."""

        @event.listens_for(engine, "engine_disposed")
        def _close_kept(disposed: Engine) -> None:
            disposed.dialect.dbapi.close_kept()  # type: ignore[union-attr]  # it is HqtSQLiteDBAPI

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

    def get_isolation_level(self, dbapi_connection: Any) -> Any:
        """Return the isolation level, without asking the thread."""
        return dbapi_connection.isolation

    def set_isolation_level(self, dbapi_connection: Any, level: Any) -> None:
        """Set the isolation level of transactions to come, without a hop."""
        dbapi_connection.isolation = level

    def detect_autocommit_setting(self, dbapi_conn: Any) -> bool:
        """Tell whether each statement is its own transaction."""
        return bool(dbapi_conn.isolation == AUTOCOMMIT)

    def do_rollback(self, dbapi_connection: Any) -> None:
        """Roll back what is open; ``skip_autocommit_rollback`` skips the rest.

        A stream left open keeps the file's log from being reused, so that it
        is closed in AUTOCOMMIT as well.
        """
        skips = self.skip_autocommit_rollback and self.detect_autocommit_setting(dbapi_connection)
        if dbapi_connection.has_work or not skips:
            dbapi_connection.rollback()

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


dialect = HqtSQLiteDialect
