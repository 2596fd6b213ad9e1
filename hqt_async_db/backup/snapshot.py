"""One consistent, read-only view of the whole database, read as text."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import func, select

from hqt_async_db.backup.formats.encode import Encoder
from hqt_async_db.connection.executors.session_stream import session_pieces
from hqt_async_db.connection.pacing import in_pieces
from hqt_async_db.connection.translation.translate import translated
from hqt_async_db.migrations.schema import read_state

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from sqlalchemy import Column, ColumnElement, Select, Table

    from hqt_async_db.backup.formats.encode import Format
    from hqt_async_db.connection.manager import DatabaseManager
    from hqt_async_db.connection.sessions.session import Session

BLOCK_BYTES: Final = 131_072


class TableQuery(NamedTuple):
    """Which rows and columns of a table, always in the order of its key."""

    table: Table
    columns: tuple[Column[Any], ...]
    criteria: Sequence[ColumnElement[bool]] = ()

    def select(self) -> Select[Any]:
        """Return the SELECT."""
        statement = select(*self.columns).where(*self.criteria)
        return statement.select_from(self.table).order_by(*self.table.primary_key.columns)


class Block(NamedTuple):
    """Canonical text of whole rows, without a header or brackets.

    Attributes:
        content: The lines.
        rows: How many rows they are.
    """

    content: bytes
    rows: int


class Snapshot:
    """What the database held at one moment.

    Attributes:
        session: The session that sees it; nothing else may use it meanwhile.
    """

    def __init__(self, session: Session) -> None:
        self.session = session

    async def count(self, table: Table, criteria: Sequence[ColumnElement[bool]] = ()) -> int:
        """Return the number of rows."""
        statement = select(func.count()).select_from(table).where(*criteria)
        return int((await self.session.execute(statement)).scalar_one())

    async def revision(self) -> str | None:
        """Return the revision that the schema was stamped with, if it was.

        Raises:
            SchemaMismatchError: The database is at several revisions at once.
        """
        connection = await self.session.connection()
        with translated():
            return (await connection.run_sync(read_state)).revision

    async def blocks(self, query: TableQuery, form: Format) -> AsyncGenerator[Block, None]:
        """Yield the rows as canonical text, in blocks of 100 KB and more.

        Leave it early only with :func:`contextlib.aclosing`, which closes the
        cursor before anything else uses the session.

        Args:
            query: Which rows and columns.
            form: ``jsonl`` or ``csv``.

        Raises:
            InvalidInputError: A column's type has no canonical text.
        """
        encoder = Encoder(query.columns, form)
        async with session_pieces(
            self.session, query.select(), None, entities=False, owns_session=False
        ) as pieces:
            content, rows = [], 0
            while piece := await pieces.next():
                content += await in_pieces(lambda some: [encoder.rows(some)], piece)
                rows += len(piece)
                if sum(map(len, content)) >= BLOCK_BYTES:
                    yield Block(b"".join(content), rows)
                    content, rows = [], 0
            if rows:
                yield Block(b"".join(content), rows)


@asynccontextmanager
async def snapshot(db: DatabaseManager) -> AsyncIterator[Snapshot]:
    """Open one consistent view of all tables; writers go on meanwhile.

    It holds a read-only connection. A database in memory is one connection
    only, so there the others wait for the end of the block.
    """
    async with db.session(snapshot=True) as session:
        yield Snapshot(session)
