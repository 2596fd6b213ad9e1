"""One-shot statements on PostgreSQL through psycopg."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from hqt_async_db.connection import tasks
from hqt_async_db.connection.backends.direct import Answer
from hqt_async_db.connection.backends.postgresql.direct import STALE, Ending, PostgreSQLDirect
from hqt_async_db.connection.pacing import paced
from hqt_async_db.connection.sessions.transaction import unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hqt_async_db.connection.backends.direct import Parameters, Rows, Write
    from hqt_async_db.connection.lending import Lent

_log = logging.getLogger("hqt_async_db")

_CANCEL_TIMEOUT_S: Final = 2.0
_IDLE: Final = 0  # libpq's PQTRANS_IDLE


class PsycopgDirect(PostgreSQLDirect):
    """psycopg sends BEGIN before the first statement, unless it is told not to."""

    def _is_open(self, driver: Any) -> bool:
        if driver.closed:
            return False
        import psycopg  # noqa: PLC0415 - only what is used

        try:
            # libpq learns of a server that went away from what there is to be read: first
            # its last words, then the end.
            driver.pgconn.consume_input()
            driver.pgconn.consume_input()
        except psycopg.OperationalError:
            return False
        return True

    async def _fetch(self, lent: Lent, sql: str, parameters: Parameters) -> Sequence[Any]:
        cursor = await _execute(lent, sql, parameters)
        rows: Sequence[Any] = await cursor.fetchall()
        return rows

    async def _store(self, lent: Lent, write: Write) -> Answer:
        driver = lent.driver
        await driver.set_autocommit(True)  # psycopg's own affair: nothing is sent
        try:
            cursor = await _execute(lent, write.sql, write.parameters)
            rows = await _returned(cursor) if write.returns else ()
        finally:
            if driver.info.transaction_status == _IDLE:
                await driver.set_autocommit(False)
            else:  # given up in the middle of it, or cut off
                lent.spend()
        return Answer(cursor.rowcount, rows)

    async def _begin(self, driver: Any) -> Ending:
        return Ending(driver.commit)

    async def _copy(self, driver: Any, rows: Rows) -> Ending:
        from psycopg.sql import SQL, Identifier  # noqa: PLC0415 - only what is used

        schema = () if rows.table.schema is None else (rows.table.schema,)
        statement = SQL("COPY {} ({}) FROM STDIN").format(
            Identifier(*schema, rows.table.name),
            SQL(", ").join(Identifier(column.name) for column in rows.columns),
        )
        async with driver.cursor() as cursor, cursor.copy(statement) as copy:
            async for row in paced(rows.values):
                await copy.write_row(row)
        return Ending(driver.commit)

    def _is_of_encoding(self, error: BaseException) -> bool:
        import psycopg  # noqa: PLC0415 - only what is used

        own = psycopg.DataError, psycopg.ProgrammingError, TypeError, ValueError, OverflowError
        return isinstance(error, own) and getattr(error, "sqlstate", None) is None

    def _interrupt(self, driver: Any) -> None:
        tasks.start(_cancel(driver), name="hqt_async_db cancel statement")


async def _execute(lent: Lent, sql: str, parameters: Parameters) -> Any:
    """Return the cursor of a statement.

    Outside of a transaction psycopg never forgets a prepared statement that
    the server does not take any more, since a table of it has changed.
    """
    import psycopg  # noqa: PLC0415 - only what is used

    try:
        return await lent.driver.execute(sql, parameters)
    except psycopg.Error as error:
        is_idle = lent.driver.info.transaction_status == _IDLE
        if error.sqlstate not in STALE or lent.is_spent or not is_idle:
            raise
    lent.spend()
    return await lent.driver.execute(sql, parameters, prepare=False)


async def _returned(cursor: Any) -> Sequence[Any]:
    """Return the rows of a write that is committed."""
    try:
        rows: Sequence[Any] = await cursor.fetchall()
    except Exception as error:
        raise unreadable(error) from error
    return rows


async def _cancel(driver: Any) -> None:
    try:
        await driver.cancel_safe(timeout=_CANCEL_TIMEOUT_S)
    except Exception as error:  # noqa: BLE001 - the cancellation is what the caller must see
        _log.warning("a cancelled statement may still run on the server: %s", type(error).__name__)
