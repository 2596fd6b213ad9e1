"""One process at a time changes a schema: the locks that see to it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from sqlalchemy import bindparam, text
from sqlalchemy.exc import DBAPIError

from hqt_async_db.errors import DatabaseLockedError, InvalidInputError, SchemaMismatchError
from hqt_async_db.migrations.environment import our_tables
from hqt_async_db.migrations.references import references_from_outside

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

DEFAULT_TIMEOUT_S: Final = 60.0

_POLL_S: Final = 0.05
# The letters "hqtd" and 1; PostgreSQL keeps advisory locks per database.
_TRY_ADVISORY_LOCK: Final = text("SELECT pg_try_advisory_xact_lock(1752265828, 1)")
_ADVISORY_HOLDER: Final = text(
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
    " AND classid = 1752265828 AND objid = 1 AND objsubid = 2"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
# Names are global to the server and at most 64 characters long.
_GET_LOCK: Final = text("SELECT GET_LOCK(CONCAT('hqt_schema_', SHA1(DATABASE())), 0)")
_LOCK_HOLDER: Final = text("SELECT IS_USED_LOCK(CONCAT('hqt_schema_', SHA1(DATABASE())))")
_RELEASE_LOCK: Final = text("SELECT RELEASE_LOCK(CONCAT('hqt_schema_', SHA1(DATABASE())))")
_SQLITE_BUSY: Final = 5
_VIOLATIONS_SHOWN: Final = 5
_DANGLING: Final = text(
    'SELECT f."table", f.rowid, f.parent'
    " FROM sqlite_master AS m JOIN pragma_foreign_key_check(m.name) AS f"
    " WHERE m.type = 'table' AND m.name IN :tables"
).bindparams(bindparam("tables", expanding=True))


class Migratable(Protocol):
    """What a migration needs of a database: where to connect, and a lock."""

    @property
    def engine(self) -> AsyncEngine:
        """Return the engine that may write."""

    def session(self, *, read_only: bool = False) -> AbstractAsyncContextManager[Any]:
        """Return a session, on SQLite one that leaves the file as it is if it only reads."""

    def schema_lock(self, connection: AsyncConnection) -> AbstractAsyncContextManager[None]:
        """Return the lock to hold while the schema changes."""


@asynccontextmanager
async def schema_lock(
    connection: AsyncConnection, *, timeout_s: float = DEFAULT_TIMEOUT_S
) -> AsyncIterator[None]:
    """Hold the database's schema lock; commit at the end, roll back on errors.

    On PostgreSQL an advisory lock that ends with the transaction, which spans
    the whole block. On MySQL and MariaDB ``GET_LOCK``: it belongs to the
    session, so the block may commit, as every DDL statement there does. On
    SQLite the write lock (``BEGIN IMMEDIATE``), with foreign keys off, so
    that rebuilding a table does not delete the rows that refer to it; before
    the commit the foreign keys of our tables and of those that refer to them
    are checked. Waiting polls, so that
    cancelling it takes effect at once; a lock left by a killed process ends
    with its connection.

    Args:
        connection: A connection outside of any transaction.
        timeout_s: How long to wait for another process. SQLite looks again
            every ``busy_timeout`` and may overrun by that much.

    Raises:
        DatabaseLockedError: The lock did not come within ``timeout_s``.
        InvalidInputError: ``connection`` is in a transaction already.
        SchemaMismatchError: On SQLite, rows would refer to rows that do not
            exist, in our tables or where they did not so before; everything
            was rolled back.
    """
    if connection.in_transaction():
        msg = "the schema lock needs a connection outside of any transaction"
        raise InvalidInputError(msg, field="connection")
    async with _LOCKS[connection.dialect.name](connection, timeout_s):
        yield


@asynccontextmanager
async def _postgresql(connection: AsyncConnection, timeout_s: float) -> AsyncIterator[None]:
    async def attempt() -> str | None:
        # A fresh transaction each time: no old snapshot, nothing left idle.
        await connection.rollback()
        if await connection.scalar(_TRY_ADVISORY_LOCK):
            return None
        return _held_by(await connection.scalar(_ADVISORY_HOLDER))

    await _wait_for(attempt, timeout_s)
    try:
        yield
        await connection.commit()
    finally:
        if not connection.invalidated:
            await connection.rollback()


@asynccontextmanager
async def _mysql(connection: AsyncConnection, timeout_s: float) -> AsyncIterator[None]:
    async def attempt() -> str | None:
        if await connection.scalar(_GET_LOCK):
            return None
        return _held_by(await connection.scalar(_LOCK_HOLDER))

    await _wait_for(attempt, timeout_s)
    try:
        await connection.commit()
        yield
        await connection.commit()
    finally:
        if not connection.invalidated:
            await connection.rollback()
            await connection.execute(_RELEASE_LOCK)
            await connection.commit()


def _held_by(session: object) -> str:
    return f"session {session} of the server is changing the schema of this database"


@asynccontextmanager
async def _sqlite(connection: AsyncConnection, timeout_s: float) -> AsyncIterator[None]:
    enforced = (await connection.exec_driver_sql("PRAGMA foreign_keys")).scalar_one()
    try:
        # Inside a transaction this pragma would do nothing, without saying so.
        await connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        await _wait_for(lambda: _begin_immediate(connection), timeout_s)
        before = await connection.run_sync(_dangling_from_outside)
        yield
        await _refuse_violations(connection, before)
        await connection.commit()
    finally:
        await _to_the_end(_enforce_foreign_keys(connection, enforced))


async def _enforce_foreign_keys(connection: AsyncConnection, enforced: int) -> None:
    """Set the pragma, also where a cancelled statement discarded the connection.

    A database in memory is its connection, which its pool then keeps.
    """
    await connection.rollback()
    await connection.exec_driver_sql(f"PRAGMA foreign_keys={enforced}")
    await connection.rollback()


async def _to_the_end(work: Coroutine[object, object, None]) -> None:
    """Run ``work`` to its end; a cancellation meanwhile goes on afterwards."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    if cancelled is not None:
        raise cancelled


async def _begin_immediate(connection: AsyncConnection) -> str | None:
    try:
        if connection.dialect.driver == "hqt":
            # Our dialect begins IMMEDIATE before whatever may write.
            await connection.exec_driver_sql("DROP TABLE IF EXISTS temp.hqt_schema_lock")
        else:
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
    except DBAPIError as error:
        if _is_busy(error):
            return f"another connection is writing, or changing the schema ({error})"
        raise
    return None


def _is_busy(error: DBAPIError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", None)
    return isinstance(error, DatabaseLockedError) or (
        isinstance(code, int) and code & 0xFF == _SQLITE_BUSY
    )


async def _refuse_violations(
    connection: AsyncConnection, before: set[tuple[str, int, str]]
) -> None:
    ours = await connection.execute(_DANGLING, {"tables": list(our_tables())})
    rows = {tuple(row) for row in ours} | await connection.run_sync(_dangling_from_outside)
    if found := sorted(rows - before):
        shown = "; ".join(
            f"{child} rowid {rowid} refers to {parent}"
            for child, rowid, parent in found[:_VIOLATIONS_SHOWN]
        )
        msg = f"rows refer to rows that do not exist, so nothing was changed: {shown}"
        raise SchemaMismatchError(msg)


def _dangling_from_outside(connection: Connection) -> set[tuple[str, int, str]]:
    """Return the rows of other tables that refer to a row of ours which does not exist.

    A foreign key that SQLite cannot make sense of is none that we could break.
    """
    ours, found = our_tables(), set()
    for child in {child for child, _ in references_from_outside(connection, ours)}:
        with suppress(DBAPIError):
            rows = connection.execute(_DANGLING, {"tables": [child]})
            found |= {tuple(row) for row in rows if row[2].lower() in ours}
    return found


async def _wait_for(attempt: Callable[[], Awaitable[str | None]], timeout_s: float) -> None:
    """Repeat ``attempt`` until it no longer says who is in the way."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while (in_the_way := await attempt()) is not None:
        if loop.time() >= deadline:
            msg = (
                f"waited {timeout_s:g} s for the schema lock: {in_the_way}; try again when "
                "that has ended"
            )
            raise DatabaseLockedError(msg)
        await asyncio.sleep(_POLL_S)


_LOCKS: Final = {
    "postgresql": _postgresql,
    "mysql": _mysql,
    "mariadb": _mysql,
    "sqlite": _sqlite,
}
