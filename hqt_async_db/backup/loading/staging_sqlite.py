"""Rows set aside on SQLite without a turn to write, so that writers go on."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text
from sqlalchemy.schema import CreateTable

from hqt_async_db.backup.loading.staging import in_groups
from hqt_async_db.connection import tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from sqlalchemy import Dialect
    from sqlalchemy.pool import PoolProxiedConnection

    from hqt_async_db.backup.formats.rows import Batch
    from hqt_async_db.backup.loading.binding import Binder
    from hqt_async_db.backup.loading.staging import Stage
    from hqt_async_db.connection.backends.sqlite.connection import HqtSQLiteConnection
    from hqt_async_db.connection.backends.sqlite.thread import ConnectionThread
    from hqt_async_db.connection.sessions.session import Session

# SQLite takes 32766 parameters.
_ROWS_PER_STATEMENT: Final = 500
_MOST_PARAMETERS: Final = 30_000


class SQLiteStaging:
    """SQLite: temporary tables of the session's connection, in a file of their own.

    What is written there, past the session, locks nothing of the database.
    The file is in the system's directory for temporary files, unless
    ``SQLITE_TMPDIR`` names another; it has no name, and ends with the
    connection: that of a file is closed with the session.
    """

    def __init__(
        self, session: Session, pooled: PoolProxiedConnection, connection: HqtSQLiteConnection
    ) -> None:
        self._session = session
        self._pooled = pooled
        self._thread: ConnectionThread = connection.thread
        self._dialect = session.get_bind().dialect

    async def create(self, stage: Stage) -> None:
        """Make the temporary table, in a file that gives its space back."""
        # The connection to memory may have been a reader's before.
        await self._session.execute(text("SELECT 1"))
        name = self._dialect.identifier_preparer.format_table(stage.table)
        sql = str(CreateTable(stage.table).compile(dialect=self._dialect))
        await self._hop(_create, name, sql)

    async def insert(self, stage: Stage, batches: AsyncIterator[Batch]) -> None:
        """Set rows aside, with what runs on the connection's thread only."""
        names = [stage.row.name, *(column.name for column in stage.columns)]
        insert = _Insert(self._dialect, stage.table.name, names, stage.binder(self._dialect))
        async for group in in_groups(batches):
            await self._hop(insert.run, group)
        await self._hop(insert.end)

    async def drop(self, stage: Stage) -> None:
        """Drop the temporary table, or leave it to the end of the connection.

        To drop a large one takes a good part of a second, for which writers
        would wait.
        """
        if self._thread.file:
            if not self._pooled.is_detached:
                self._pooled.detach()
            return
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


class _Insert:
    """Inserts many rows a statement, each of which gives the GIL away but once.

    A statement for every row would wait for it as often while the next rows
    are being parsed.
    """

    def __init__(self, dialect: Dialect, table: str, names: Sequence[str], binder: Binder) -> None:
        quote = dialect.identifier_preparer.quote
        rows = max(1, min(_ROWS_PER_STATEMENT, _MOST_PARAMETERS // len(names)))
        into = f"INSERT INTO temp.{quote(table)} ({', '.join(map(quote, names))}) VALUES "  # noqa: S608 - quoted names of the metadata
        row = f"({', '.join('?' * len(names))})"
        self._width = len(names)
        self._step = rows * len(names)
        self._one = into + row
        self._many = into + ", ".join([row] * rows)
        self._binder = binder
        self._left: list[Any] = []

    def run(self, _job: object, connection: sqlite3.Connection, group: Iterable[Batch]) -> None:
        """Insert rows; the last few wait for more."""
        parameters = self._left
        for batch in group:
            parameters += self._binder.parameters(batch)
        whole = len(parameters) // self._step * self._step
        for start in range(0, whole, self._step):
            connection.execute(self._many, parameters[start : start + self._step]).close()
        self._left = parameters[whole:]

    def end(self, _job: object, connection: sqlite3.Connection) -> None:
        """Insert the rows that still wait, in one transaction of the temporary file."""
        left, width = self._left, self._width
        connection.execute("BEGIN").close()
        try:
            rows = [left[start : start + width] for start in range(0, len(left), width)]
            connection.executemany(self._one, rows).close()
            connection.execute("COMMIT").close()
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK").close()
            raise


_NAME: Final = "hqt_async_db stage rows"


def _create(_job: object, connection: sqlite3.Connection, name: str, sql: str) -> None:
    # Has an effect before the first table only.
    connection.execute("PRAGMA temp.auto_vacuum=FULL").close()
    # It is back if the commit failed that dropped it.
    connection.execute(f"DROP TABLE IF EXISTS temp.{name}").close()
    connection.execute(sql).close()


def _discard(_job: object, connection: sqlite3.Connection, names: Iterable[str]) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK").close()
    for name in names:
        connection.execute(f"DROP TABLE IF EXISTS temp.{name}").close()
