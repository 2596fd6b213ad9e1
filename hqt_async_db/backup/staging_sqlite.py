"""Rows set aside on SQLite without a turn to write, so that writers go on."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.schema import CreateTable

from hqt_async_db.backup.threads import WorkThread
from hqt_async_db.connection import tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from hqt_async_db.backup.formats.rows import Batch
    from hqt_async_db.backup.staging import Stage
    from hqt_async_db.connection.backends.sqlite.connection import HqtSQLiteConnection
    from hqt_async_db.connection.backends.sqlite.thread import ConnectionThread
    from hqt_async_db.connection.sessions.session import Session


class SQLiteStaging:
    """SQLite: temporary tables of the session's connection, in a file of their own.

    What is written there, past the session, locks nothing of the database.
    The file is in the system's directory for temporary files, unless
    ``SQLITE_TMPDIR`` names another; it has no name, and ends with the process.
    """

    copies = False

    def __init__(self, session: Session, connection: HqtSQLiteConnection) -> None:
        self._session = session
        self._thread: ConnectionThread = connection.thread
        self._dialect = session.get_bind().dialect

    async def create(self, stage: Stage) -> None:
        """Make the temporary table, in a file that gives its space back."""
        # The connection to memory may have been a reader's before.
        await self._session.execute(text("SELECT 1"))
        sql = str(CreateTable(stage.table).compile(dialect=self._dialect))
        await self._hop(_create, sql)

    async def insert(self, stage: Stage, batches: AsyncIterator[Batch]) -> None:
        """Set rows aside, each batch in a transaction of the temporary file."""
        names = [stage.row.name, *(column.name for column in stage.columns)]
        quote = self._dialect.identifier_preparer.quote
        into = f"{quote(stage.table.name)} ({', '.join(map(quote, names))})"
        sql = f"INSERT INTO {into} VALUES ({', '.join('?' * len(names))})"  # noqa: S608 - quoted names of the metadata
        binder = stage.binder(self._dialect)
        async with WorkThread("stage") as thread:
            async for batch in batches:
                await self._hop(_insert, sql, await thread.run(binder.rows, batch))

    async def copy(self, stage: Stage, batches: AsyncIterator[Batch]) -> None:
        """Refuse: it would keep writers waiting while the rows are read."""
        raise NotImplementedError

    async def drop(self, stage: Stage) -> None:
        """Drop the temporary table."""
        name = self._dialect.identifier_preparer.format_table(stage.table)
        await self._session.execute(text(f"DROP TABLE temp.{name}"))

    async def discard(self, stages: Sequence[Stage]) -> None:
        """Roll back and drop what was made, before anybody else has the connection."""
        if not self._thread.is_closed:
            names = [self._dialect.identifier_preparer.format_table(s.table) for s in stages]
            await tasks.finish(
                self._thread.hop(_discard, self._thread.connection, names), name=_NAME
            )

    async def _hop(self, work: Callable[..., None], *arguments: Any) -> None:
        """Work on the connection's thread; a cancelled caller waits for the end of it."""
        with self._session.used():
            hop = self._thread.hop(work, self._thread.connection, *arguments)
            await tasks.finish(hop, name=_NAME)


_NAME = "hqt_async_db stage rows"


def _create(_job: object, connection: sqlite3.Connection, sql: str) -> None:
    # Has an effect before the first table only.
    connection.execute("PRAGMA temp.auto_vacuum=FULL").close()
    connection.execute(sql).close()


def _insert(
    _job: object, connection: sqlite3.Connection, sql: str, rows: Iterable[Sequence[Any]]
) -> None:
    connection.execute("BEGIN").close()
    try:
        connection.executemany(sql, rows).close()
        connection.execute("COMMIT").close()
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK").close()
        raise


def _discard(_job: object, connection: sqlite3.Connection, names: Iterable[str]) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK").close()
    for name in names:
        connection.execute(f"DROP TABLE IF EXISTS temp.{name}").close()
