"""One-shot statements on a database in memory: its one connection, in turn."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from hqt_async_db.connection.backends.direct import Answer, Cursor, NoWayError, Rows, Write
from hqt_async_db.connection.backends.sqlite.shots import Batch, WriteShot
from hqt_async_db.connection.lending import Lending
from hqt_async_db.connection.sessions.transaction import commit

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Callable, Sequence

    from sqlalchemy.pool import Pool

    from hqt_async_db.connection.backends.backend import Role
    from hqt_async_db.connection.backends.direct import Parameters
    from hqt_async_db.connection.backends.sqlite.thread import ConnectionThread
    from hqt_async_db.connection.backends.sqlite.worker import Job
    from hqt_async_db.connection.options import Options
    from hqt_async_db.connection.sessions.transaction import Receipt


class MemoryDirect:
    """Each statement takes its turn among the sessions, and one hop.

    Args:
        pool: The pool of the one connection.
        options: Time limits.
        record: Takes the receipt of each write.
    """

    def __init__(self, pool: Pool, options: Options, record: Callable[[Receipt], None]) -> None:
        self._pool = pool
        self._options = options
        self._record = record
        self._lending = Lending()

    async def ready(self) -> None:
        """Connect once."""
        try:
            async with self._lending.lend(self._pool, "one-shot read"):
                pass
        except Exception as error:
            raise NoWayError from error

    async def warm_up(self) -> None:
        """Do nothing more: the pools are warmed up as such."""
        await self.ready()

    async def read(self, sql: str, parameters: Parameters) -> Sequence[Any]:
        """Return all rows of a SELECT, in one hop."""
        async with self._lending.lend(self._pool, "one-shot read") as lent:
            thread: ConnectionThread = lent.adapted.thread
            timeout_s = self._options.statement_timeout_s
            work = (_fetch, thread.connection, sql, parameters)
            rows: Sequence[Any] = await thread.hop(*work, timeout_s=timeout_s)
            return rows

    @asynccontextmanager
    async def cursor(self, sql: str, parameters: Parameters) -> AsyncIterator[Cursor]:
        """Lend the rows of a SELECT, of one snapshot; one hop for each piece of them."""
        async with (
            self._lending.lend(self._pool, "one-shot stream") as lent,
            lent.adapted.stream_directly(sql, parameters) as rows,
        ):
            yield rows

    async def write(self, write: Write) -> Answer:
        """Run one statement and commit, in one hop."""
        shot = WriteShot(write)
        batch = Batch([shot])
        async with self._lending.lend(self._pool, "one-shot write") as lent:
            thread: ConnectionThread = lent.adapted.thread

            async def send() -> None:
                work = (_commit, thread.connection, batch, self._options.lock_timeout_s)
                thread.is_query_only = None
                await thread.hop(*work, timeout_s=self._options.statement_timeout_s)
                thread.is_query_only = False
                if shot.error is not None:
                    raise shot.error

            def hasten() -> None:
                if batch.can_be_stopped:
                    thread.interrupt()

            lent.hold()
            await commit(
                send,
                tables=write.tables,
                timeout_s=None,  # nothing but the statement itself takes time
                record=self._record,
                owner=self,
                explain=write.explain,
                hasten=hasten,
            )
        return Answer(shot.rowcount, shot.rows)

    async def insert(self, rows: Rows) -> None:
        """Insert many rows and commit, in one hop."""
        await self.write(rows.as_write())

    async def close(self, _role: Role) -> None:
        """Wait for commits, and interrupt what else runs; the engine closes the connection."""
        await self._lending.end(self)


def _fetch(
    _job: Job, connection: sqlite3.Connection, sql: str, parameters: Parameters
) -> list[Any]:
    return connection.execute(sql, parameters).fetchall()


def _commit(job: Job, connection: sqlite3.Connection, batch: Batch, patience_s: float) -> None:
    connection.execute("PRAGMA query_only=0").close()  # a read-only session may have been here
    batch.run(job, connection, patience_s)
