"""Rows of any database, through the cursor of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Text, cast, type_coerce

from hqt_async_db.backup.breaks import Breaks
from hqt_async_db.backup.reading.query import BLOCK_BYTES, Block
from hqt_async_db.backup.threads import WorkThread
from hqt_async_db.connection.executors.session_stream import session_pieces
from hqt_async_db.connection.pacing import in_pieces
from hqt_async_db.models.types import JsonDict

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from sqlalchemy import Column, ColumnElement, Dialect

    from hqt_async_db.backup.formats.encode import Encoder
    from hqt_async_db.backup.reading.query import TableQuery
    from hqt_async_db.connection.sessions.session import Session

# Characters of JSON, which are parsed and sorted in half a millisecond.
_PIECE_SIZE: Final = 8192
_VALUE_SIZE: Final = 10


async def any_blocks(
    session: Session, query: TableQuery, encoder: Encoder
) -> AsyncGenerator[Block, None]:
    """Yield the rows, encoded on the loop's thread in short steps.

    A single JSON object may take long to be parsed and sorted: rows with such
    a column are encoded in a thread. Left early, MySQL would send the rest:
    the connection is closed instead.
    """
    dialect = session.get_bind().dialect
    statement = query.select([_selected(column, dialect) for column in query.columns])
    documents = _Documents(query.columns, encoder)
    async with (
        WorkThread("encode") as thread,
        session_pieces(session, statement, None, entities=False, owns_session=True) as pieces,
    ):
        content: list[bytes] = []
        rows = 0
        while piece := await pieces.next():
            if documents.are_there:
                content += await thread.run(documents.write, piece)
            else:
                content += await in_pieces(lambda some: [encoder.rows(some)], piece)
            rows += len(piece)
            if sum(map(len, content)) >= BLOCK_BYTES:
                yield Block(b"".join(content), rows)
                content, rows = [], 0
        if rows:
            yield Block(b"".join(content), rows)


def _selected(column: Column[Any], dialect: Dialect) -> ColumnElement[Any]:
    """Return the column; JSON as text, which neither driver nor SQLAlchemy parses."""
    if not isinstance(column.type, JsonDict):
        return column
    # psycopg goes by the server's type.
    of_text = cast if dialect.name == "postgresql" else type_coerce
    return of_text(column, Text()).label(column.name)


class _Documents:
    """Rows with JSON that was not parsed yet.

    Args:
        columns: The columns.
        encoder: Writes the rows.
    """

    def __init__(self, columns: Sequence[Column[Any]], encoder: Encoder) -> None:
        self._readers: list[tuple[int, Callable[[Any], Any]]] = [
            (index, column.type.of_text)
            for index, column in enumerate(columns)
            if isinstance(column.type, JsonDict)
        ]
        self._encoder = encoder
        self._breaks = Breaks()

    @property
    def are_there(self) -> bool:
        """Tell whether a column holds JSON."""
        return bool(self._readers)

    def write(self, rows: Sequence[Sequence[Any]]) -> list[bytes]:
        """Return the lines of some rows; for a thread."""
        lines: list[bytes] = []
        piece: list[list[Any]] = []
        size = 0
        for row in rows:
            values = list(row)
            size += _VALUE_SIZE * len(values)
            for index, read in self._readers:
                size += len(str(values[index]))
                values[index] = read(values[index])
            piece.append(values)
            if size >= _PIECE_SIZE:
                self._breaks.take()
                lines.append(self._encoder.rows(piece))
                self._breaks.take()
                piece, size = [], 0
        return [*lines, self._encoder.rows(piece)]
