"""What SQLAlchemy sees of a statement: cursors whose every step is one hop, or none."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from sqlalchemy.connectors.asyncio import AsyncAdapt_dbapi_cursor
from sqlalchemy.util.concurrency import in_greenlet

from hqt_async_db.connection.backends.sqlite.worker import Call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hqt_async_db.connection.backends.sqlite.connection import HqtSQLiteConnection


class HqtSQLiteCursor(AsyncAdapt_dbapi_cursor):
    """A cursor whose execute, fetch, description and close are one hop."""

    __slots__ = ("_description", "_lastrowid", "_rowcount", "arraysize", "writes")

    _adapt_connection: HqtSQLiteConnection

    def __init__(self, adapt_connection: HqtSQLiteConnection) -> None:
        self._adapt_connection = adapt_connection
        self._connection = adapt_connection._connection  # noqa: SLF001 - the base class's own slot
        self._rows = deque()
        self._description: Any = None
        self._rowcount = -1
        self._lastrowid: int | None = None
        self.arraysize = 1
        self.writes: bool | None = None

    @property
    def description(self) -> Any:
        """Return the columns of the last result."""
        return self._description

    @property
    def rowcount(self) -> int:
        """Return the number of rows the last statement changed, or -1."""
        return self._rowcount

    @property
    def lastrowid(self) -> int | None:  # type: ignore[override]  # None before the first INSERT, as in the driver
        """Return the rowid of the last inserted row."""
        return self._lastrowid

    def execute(self, operation: Any, parameters: Any = None) -> Any:
        """Run one statement and fetch all its rows."""
        self._run(Call(operation, parameters if parameters is not None else ()))
        return self

    def executemany(self, operation: Any, seq_of_parameters: Any) -> Any:
        """Run one statement for every set of parameters."""
        self._run(Call(operation, seq_of_parameters, many=True))
        return self

    def _run(self, call: Call) -> None:
        self._adapt_connection.run(call, writes=self.writes)
        self._rows = deque(call.rows)
        self._description = call.description
        self._rowcount = call.rowcount
        self._lastrowid = call.lastrowid

    async def _async_soft_close(self) -> None:
        """Do nothing: the cursor was closed in the hop that ran it."""

    def close(self) -> None:
        """Forget the rows; the cursor was closed in the hop that ran it."""
        self._rows.clear()


class HqtSQLiteStreamCursor(HqtSQLiteCursor):
    """A cursor that stays open and fetches a chunk of rows per hop."""

    __slots__ = ("_stream",)

    server_side = True

    def __init__(self, adapt_connection: HqtSQLiteConnection) -> None:
        super().__init__(adapt_connection)
        self._stream: Call | None = None

    def _run(self, call: Call) -> None:
        call.keep_open = True
        # Known before it runs, so that a cancelled one is closed as well.
        self._adapt_connection.streams.add(call)
        self._adapt_connection.run(call, writes=self.writes)
        self._stream = call
        self._description = call.description
        self._rowcount = call.rowcount

    def fetchone(self) -> Any:
        """Fetch one row, in one hop."""
        rows = self.fetchmany(1)
        return rows[0] if rows else None

    def fetchmany(self, size: int | None = None) -> Sequence[Any]:
        """Fetch up to ``size`` rows, in one hop."""
        return self._fetch(size or self.arraysize)

    def fetchall(self) -> Sequence[Any]:
        """Fetch the remaining rows, in one hop."""
        return self._fetch(-1)

    def _fetch(self, size: int) -> Sequence[Any]:
        return [] if self._stream is None else self._adapt_connection.fetch(self._stream, size)

    def close(self) -> None:
        """Close the statement, in one hop unless it was read to its end."""
        stream, self._stream = self._stream, None
        if stream is not None and in_greenlet():
            self._adapt_connection.close_stream(stream)
