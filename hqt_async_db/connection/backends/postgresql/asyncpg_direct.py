"""One-shot statements on PostgreSQL through asyncpg: one round trip each."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from hqt_async_db.connection import tasks
from hqt_async_db.connection.backends.backend import Role
from hqt_async_db.connection.backends.direct import Answer, Cursor, NoWayError, Rows, Write
from hqt_async_db.connection.backends.postgresql.asyncpg_copy import CopyIn
from hqt_async_db.connection.backends.read_only import lifts_read_only
from hqt_async_db.connection.lending import Lent
from hqt_async_db.connection.sessions.transaction import Receipt, commit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

    from hqt_async_db.connection.options import Options

T = TypeVar("T")

# Statements that are kept are looked at once.
_lifts_read_only = lru_cache(1000)(lifts_read_only)


class _Rows:
    """The rows of a cursor."""

    most_rows = 500  # decoded on the loop's thread, in about half a millisecond

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    async def fetch(self, size: int) -> Sequence[Any]:
        """Return the next rows, at most ``size``, none at the end; one round trip."""
        rows: Sequence[Any] = await self._cursor.fetch(size)
        return rows


class AsyncpgDirect:
    """Statements sent outside of any transaction, so that each is its own.

    Args:
        engines: The engines of the server, by role.
        options: Time limits.
        record: Takes the receipt of each write.
    """

    def __init__(
        self,
        engines: Mapping[Role, AsyncEngine],
        options: Options,
        record: Callable[[Receipt], None],
    ) -> None:
        self._engines = engines
        self._options = options
        self._record = record

    async def ready(self) -> None:
        """Connect once."""
        try:
            async with Lent(self._engines[Role.WRITE].pool, "one-shot call"):
                pass
        except Exception as error:
            raise NoWayError from error

    async def warm_up(self) -> None:
        """Do nothing more: the pools are warmed up as such."""
        await self.ready()

    async def read(self, sql: str, parameters: Sequence[Any]) -> Sequence[Any]:
        """Return all rows of a SELECT, in one round trip."""
        if _lifts_read_only(sql):
            raise NoWayError  # a session refuses it
        async with Lent(self._engines[Role.READ].pool, "one-shot read") as lent:
            _require_open(lent.driver)
            rows: Sequence[Any] = await lent.driver.fetch(sql, *parameters)
            return rows

    @asynccontextmanager
    async def cursor(self, sql: str, parameters: Sequence[Any]) -> AsyncIterator[Cursor]:
        """Lend the rows of a SELECT, of one snapshot; one round trip for each piece."""
        if _lifts_read_only(sql):
            raise NoWayError  # a session refuses it
        async with Lent(self._engines[Role.READ].pool, "one-shot stream") as lent:
            isolation = {"isolation": "repeatable_read", "readonly": True}
            async with lent.driver.transaction(**isolation):
                yield _Rows(await lent.driver.cursor(sql, *parameters))

    async def write(self, write: Write) -> Answer:
        """Run one short statement, which commits itself, in one round trip.

        What may take long has a COMMIT of its own, so that its time limit
        and a cancellation are not about the statement: that goes the plain way.
        """
        if not write.joins:
            raise NoWayError
        answer = Answer()
        async with Lent(self._engines[Role.WRITE].pool, "one-shot write") as lent:
            _require_open(lent.driver)

            async def send() -> None:
                if write.returns:
                    answer.rows = await lent.driver.fetch(write.sql, *write.parameters)
                else:
                    status = await lent.driver.execute(write.sql, *write.parameters)
                    answer.rowcount = int(status.rpartition(" ")[2])

            def hasten() -> None:
                # The server answers whether it was in time; what comes too
                # late must not meet the connection's next statement.
                lent.spend()
                waiter = asyncio.get_running_loop().create_future()
                lent.driver._cancel_current_command(waiter)  # noqa: SLF001 - there is no public way

            await commit(
                send,
                tables=write.tables,
                timeout_s=self._options.commit_timeout_s,
                record=self._record,
                owner=self,
                explain=write.explain,
                hasten=hasten,
                in_place=True,
            )
        return answer

    async def write_all(self, writes: Sequence[Write]) -> list[Answer]:
        """Run statements in one transaction, a short one alone as :meth:`write` does."""
        if len(writes) == 1 and writes[0].joins:
            return [await self.write(writes[0])]

        async def send(driver: Any) -> list[Answer]:
            return [Answer(rows=await driver.fetch(w.sql, *w.parameters)) for w in writes]

        tables = frozenset[str]().union(*[write.tables for write in writes])
        return await self._transact(send, tables, writes[0].explain)

    async def insert(self, rows: Rows) -> None:
        """Copy many rows in one transaction."""
        names = [column.name for column in rows.columns]

        async def send(driver: Any) -> None:
            copy = CopyIn(driver)
            await copy.run(
                driver.copy_records_to_table(
                    rows.table.name,
                    schema_name=rows.table.schema,
                    columns=names,
                    records=copy.rows(rows.values),
                )
            )

        await self._transact(send, frozenset({rows.table.name}), rows.explain)

    async def _transact(
        self,
        send: Callable[[Any], Awaitable[T]],
        tables: frozenset[str],
        explain: Callable[[BaseException], BaseException],
    ) -> T:
        """Send in one transaction, whose COMMIT stands apart."""
        async with Lent(self._engines[Role.WRITE].pool, "one-shot write") as lent:
            transaction = lent.driver.transaction()
            try:
                await transaction.start()
                answer = await send(lent.driver)
            except BaseException as error:
                lent.spend()  # which rolls back
                if _is_of_encoding(error):
                    raise NoWayError from error
                self._record(Receipt("rolled_back", tables))
                raise
            await commit(
                transaction.commit,
                tables=tables,
                timeout_s=self._options.commit_timeout_s,
                record=self._record,
                owner=self,
                explain=explain,
                in_place=True,
            )
        return answer

    async def close(self, _role: Role) -> None:
        """Wait for commits; the engines close the connections."""
        await tasks.drain(self)


def _is_of_encoding(error: BaseException) -> bool:
    """Tell whether asyncpg could not encode a value, so that nothing was sent of it."""
    import asyncpg  # noqa: PLC0415 - only what is used

    own = asyncpg.exceptions.DataError, TypeError, ValueError, OverflowError
    return isinstance(error, own) and getattr(error, "sqlstate", None) in (None, "22000")


def _require_open(driver: Any) -> None:
    """Send nothing where nothing can arrive: then the outcome is known.

    Raises:
        NoWayError: The server closed the connection while it was idle; a
            session says so, and has the pool make new ones.
    """
    if driver.is_closed():
        raise NoWayError
