"""Rows of PostgreSQL, which writes them itself: COPY."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Text, and_, case, cast, func, literal_column, null

from hqt_async_db.backup.reading.query import BLOCK_BYTES, Block, TableQuery, literal_sql
from hqt_async_db.connection import tasks
from hqt_async_db.connection.backends.read_only import OWN_STATEMENT
from hqt_async_db.connection.translation.translate import translated
from hqt_async_db.models.types import (
    Double,
    ExactText,
    Flag,
    Int32,
    Int64,
    Money,
    RowId,
    UtcDateTime,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from sqlalchemy import Column, ColumnElement

    from hqt_async_db.backup.formats.encode import Format
    from hqt_async_db.connection.sessions.session import Session

_PLAIN: Final = (RowId, Int32, Int64, Double, ExactText, UtcDateTime, Money, Flag)
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
# What the server may be configured to print otherwise. A time limit for a
# statement is kept here, where it is one for each piece of the many.
_SETTINGS: Final = {
    "DateStyle": "ISO",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "statement_timeout": "0",
}
# Characters that JSON escapes, so that CSV has no reason to quote it.
_UNUSED: Final = {"delimiter": "\x01", "quote": "\x02"}
_AHEAD: Final = 2
_ZERO: Final[ColumnElement[Any]] = literal_column("0")
_NO_LIMIT_S: Final = 1e8


async def copy_sql(session: Session, query: TableQuery, form: Format) -> str | None:
    """Return the SELECT for :func:`copied_blocks`, None where the way is closed."""
    dialect = session.get_bind().dialect
    if dialect.driver != "asyncpg":
        return None
    if not all(isinstance(column.type, _PLAIN) for column in query.columns):
        return None  # JSON is stored with its keys in any order
    if query.criteria and any(map(_is_infinite, and_(*query.criteria).compile().params.values())):
        return None  # a literal of those is no infinity, which is what is stored
    written = (_written(column, form).label(column.name) for column in query.columns)
    rows = await literal_sql(query, written, dialect)
    if rows is None or form == "csv":
        return rows
    return f"SELECT row_to_json(t) FROM ({rows}) AS t"  # noqa: S608 - compiled by SQLAlchemy


def _is_infinite(value: object) -> bool:
    """Tell whether a value is a time that asyncpg stores as infinite."""
    if not isinstance(value, datetime):
        return False
    return (value if value.tzinfo else value.replace(tzinfo=UTC)) in {_FIRST, _LAST}


def _written(column: Column[Any], form: Format) -> ColumnElement[Any]:
    """Return the column as PostgreSQL is to write it."""
    if isinstance(column.type, UtcDateTime):
        return _within_python(column)
    if isinstance(column.type, Money) and form == "jsonl":
        return cast(column, Text)
    if isinstance(column.type, Double):
        return column + _ZERO  # the only zero is the positive one
    if isinstance(column.type, Flag) and form == "csv":
        return cast(column, Text)
    return column


def _within_python(column: Column[Any]) -> ColumnElement[Any]:
    """Return a time; Python's first and last are stored as infinite."""
    first: ColumnElement[Any] = literal_column(f"TIMESTAMPTZ '{_FIRST.isoformat()}'")
    last: ColumnElement[Any] = literal_column(f"TIMESTAMPTZ '{_LAST.isoformat()}'")
    return case(
        (func.isfinite(column), column),
        (column > last, last),
        (column < first, first),
        else_=null(),
    )


async def copied_blocks(session: Session, sql: str, form: Format) -> AsyncGenerator[Block, None]:
    """Yield the rows; left early, the transaction and its connection end."""
    copy = _Copy(session)
    count = 0
    try:
        await copy.start(sql, form)
        async for content in copy.contents():
            certain = form == "jsonl" or b'"' not in content
            rows = content.count(b"\n") if certain else 0
            count += rows
            yield Block(content, rows)
    except BaseException:
        await copy.abandon()
        raise
    if copy.total > count:
        yield Block(b"", copy.total - count)


class _Copy:
    """A COPY that is read as it is received, a few pieces ahead at most.

    Attributes:
        total: Rows in all, once it has ended.
    """

    def __init__(self, session: Session) -> None:
        self.total = 0
        self._session = session
        self._received: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(_AHEAD)
        self._driver: Any = None
        self._limit_s: float | None = None
        self._copying: asyncio.Task[str] | None = None

    async def start(self, sql: str, form: Format) -> None:
        """Send it, after settings for the transaction."""
        calls = ", ".join(
            f"set_config('{key}', '{value}', true)" for key, value in _SETTINGS.items()
        )
        connection = await self._session.connection()
        with translated():
            await connection.exec_driver_sql(f"SELECT {calls}", execution_options=OWN_STATEMENT)
        self._driver = (await connection.get_raw_connection()).driver_connection
        self._limit_s = self._driver._config.command_timeout  # noqa: SLF001 - no public way
        options = {"format": "csv", **(_UNUSED if form == "jsonl" else {})}
        copying = self._driver.copy_from_query(
            sql, output=self._receive, timeout=_NO_LIMIT_S, **options
        )
        self._copying = tasks.start(copying, name="hqt_async_db copy")
        self._copying.add_done_callback(lambda _: self._received.put_nowait(None))

    async def _receive(self, content: bytes) -> None:
        await self._room.acquire()
        self._received.put_nowait(content)

    async def contents(self) -> AsyncGenerator[bytes, None]:
        """Yield whole lines, some hundred KB at a time."""
        pieces: list[bytes] = []
        size = 0
        while (piece := await self._next()) is not None:
            self._room.release()
            pieces.append(piece)
            size += len(piece)
            if size >= BLOCK_BYTES:
                yield b"".join(pieces)
                pieces, size = [], 0
        if self._copying is not None:
            with translated():
                self.total = int(self._copying.result().split()[-1])
        if pieces:
            yield b"".join(pieces)

    async def _next(self) -> bytes | None:
        with translated():
            async with asyncio.timeout(self._limit_s):
                return await self._received.get()

    async def abandon(self) -> None:
        """Stop it by closing the connection that is in the middle of it.

        Cancelled, asyncpg would ask the server to stop, and stumble over what
        it receives until that has happened.
        """
        if self._copying is not None:
            if not self._copying.done():
                self._driver.terminate()
                self._room.release()
                await tasks.wait(self._copying, None)
            tasks.retrieve(self._copying)
        await self._session.invalidate()
