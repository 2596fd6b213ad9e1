"""One-shot statements on PostgreSQL through asyncpg."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from hqt_async_db.connection import tasks
from hqt_async_db.connection.backends.backend import Role
from hqt_async_db.connection.backends.direct import Answer
from hqt_async_db.connection.backends.postgresql.asyncpg_copy import CopyIn
from hqt_async_db.connection.backends.postgresql.asyncpg_types import ColumnTypes
from hqt_async_db.connection.backends.postgresql.direct import Ending, PostgreSQLDirect
from hqt_async_db.connection.sessions.transaction import unreadable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

    from hqt_async_db.connection.backends.direct import Cursor, Parameters, Rows, Write
    from hqt_async_db.connection.lending import Lent
    from hqt_async_db.connection.options import Options
    from hqt_async_db.connection.sessions.transaction import Receipt

# The server checks the references of so many rows in some hundredths of a second. More have
# a COMMIT of their own, whose time limit is not about these checks.
_FEW: Final = 2000
# How long the end of a stream may take, on which nothing depends.
_END_S: Final = 3.0


class _Rows:
    """The rows of a cursor."""

    most_rows = 500  # decoded on the loop's thread, in about half a millisecond

    def __init__(self, cursor: Any, driver: Any) -> None:
        self._cursor = cursor
        self._driver = driver

    async def fetch(self, size: int) -> Sequence[Any]:
        """Return the next rows, at most ``size``, none at the end; one round trip."""
        import asyncpg  # noqa: PLC0415 - only what is used

        try:
            rows: Sequence[Any] = await self._cursor.fetch(size)
        except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            if not self._driver.is_closed():
                raise
            # What asyncpg says of every other statement of a lost connection.
            msg = "connection was closed in the middle of operation"
            raise asyncpg.ConnectionDoesNotExistError(msg) from error
        return rows


class AsyncpgDirect(PostgreSQLDirect):
    """asyncpg begins no transaction by itself."""

    waits_once = True

    def __init__(
        self,
        engines: Mapping[Role, AsyncEngine],
        options: Options,
        record: Callable[[Receipt], None],
    ) -> None:
        super().__init__(engines, options, record)
        self._types = ColumnTypes(engines[Role.WRITE].dialect)

    def _is_open(self, driver: Any) -> bool:
        return not driver.is_closed()

    async def _fetch(self, lent: Lent, sql: str, parameters: Parameters) -> Sequence[Any]:
        rows: Sequence[Any] = await lent.driver.fetch(sql, *parameters)
        return rows

    async def _store(self, lent: Lent, write: Write) -> Answer:
        if write.returns:
            return Answer(rows=await self._returned(lent.driver, write))
        status = await lent.driver.execute(write.sql, *write.parameters)
        return Answer(rowcount=int(status.rpartition(" ")[2]))

    async def _returned(self, driver: Any, write: Write) -> Sequence[Any]:
        import asyncpg  # noqa: PLC0415 - only what is used

        known = asyncpg.PostgresError, asyncpg.InterfaceError, OSError  # TimeoutError is one
        try:
            rows: Sequence[Any] = await driver.fetch(write.sql, *write.parameters)
        except Exception as error:
            if isinstance(error, known):
                raise
            raise unreadable(error) from error  # asyncpg raises as it is what a value cannot be
        return rows

    def _interrupt(self, driver: Any) -> None:
        waiter = asyncio.get_running_loop().create_future()
        driver._cancel_current_command(waiter)  # noqa: SLF001 - there is no public way

    @asynccontextmanager
    async def cursor(self, sql: str, parameters: Parameters) -> AsyncIterator[Cursor]:
        """Lend the rows of a SELECT, of one snapshot; one round trip for each piece."""
        import asyncpg  # noqa: PLC0415 - only what is used

        self._require_read_only(sql)
        async with self._lent(Role.READ, "one-shot stream") as lent:
            driver = lent.driver
            unusable = asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError
            transaction = driver.transaction(isolation="repeatable_read", readonly=True)
            await transaction.start()
            try:
                yield _Rows(await driver.cursor(sql, *parameters), driver)
            finally:
                try:
                    ending = transaction.rollback()
                    await tasks.finish(ending, name="hqt_async_db end stream", timeout_s=_END_S)
                except (*unusable, TimeoutError):
                    # It was lost, or another task reads from it; nothing was written.
                    lent.spend()

    async def _begin(self, driver: Any) -> Ending:
        transaction = driver.transaction()
        await transaction.start()
        return Ending(transaction.commit)

    async def _copy(self, driver: Any, rows: Rows) -> Ending:
        copy = CopyIn(driver)
        condition = await self._types.condition(driver, rows)
        ending = None if len(rows.values) <= _FEW else await self._begin(driver)
        copying = driver.copy_records_to_table(
            rows.table.name,
            schema_name=rows.table.schema,
            columns=[column.name for column in rows.columns],
            records=copy.rows(rows.values),
            where=condition,
        )
        kept = self._types.kept(driver, copying)
        if ending is None:
            await copy.begin(kept)
            return Ending(copy.end, is_statement=True)
        await copy.run(kept)
        return ending

    def _is_of_encoding(self, error: BaseException) -> bool:
        import asyncpg  # noqa: PLC0415 - only what is used

        own = asyncpg.exceptions.DataError, TypeError, ValueError, OverflowError
        return isinstance(error, own) and getattr(error, "sqlstate", None) in (None, "22000")
