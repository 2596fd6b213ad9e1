"""One consistent, read-only view of the whole database, read as text."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from hqt_async_db.backup.formats.encode import Encoder
from hqt_async_db.backup.formats.long_rows import longest_row
from hqt_async_db.backup.formats.rows import LONGEST_WRITTEN_BYTES
from hqt_async_db.backup.reading.any_rows import any_blocks
from hqt_async_db.backup.reading.postgresql_copy import copied_blocks, copy_sql
from hqt_async_db.backup.reading.query import Block, TableQuery
from hqt_async_db.backup.reading.sqlite_fitness import count_fit_rows
from hqt_async_db.backup.reading.sqlite_rows import sqlite_blocks, sqlite_sql
from hqt_async_db.connection.translation.translate import translated
from hqt_async_db.errors import BackupError
from hqt_async_db.migrations.schema import read_state

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from sqlalchemy import ColumnElement, FromClause

    from hqt_async_db.backup.formats.encode import Format
    from hqt_async_db.connection.manager import DatabaseManager
    from hqt_async_db.connection.sessions.session import Session

__all__ = ["Block", "Snapshot", "TableQuery", "snapshot"]


class Snapshot:
    """What the database held at one moment.

    Attributes:
        session: The session that sees it; nothing else may use it meanwhile.
    """

    def __init__(self, session: Session) -> None:
        self.session = session

    async def count(self, table: FromClause, criteria: Sequence[ColumnElement[bool]] = ()) -> int:
        """Return the number of rows."""
        statement = select(func.count()).select_from(table).where(*criteria)
        return int((await self.session.execute(statement)).scalar_one())

    async def count_restorable(self, query: TableQuery) -> int:
        """Return the number of a table's rows, if its own backend would take them back.

        Raises:
            BackupVerificationError: SQLite holds what the column could not.
        """
        if self.session.get_bind().dialect.name != "sqlite":
            return await self.count(query.table)
        return await count_fit_rows(self.session, query.table, query.columns)

    async def revision(self) -> str | None:
        """Return the revision that the schema was stamped with, if it was.

        Raises:
            SchemaMismatchError: The database is at several revisions at once.
        """
        connection = await self.session.connection()
        with translated():
            return (await connection.run_sync(read_state)).revision

    async def blocks(
        self, query: TableQuery, form: Format, *, formula_guard: bool = False
    ) -> AsyncGenerator[Block, None]:
        """Yield the rows as canonical text, in blocks of some hundred KB.

        Leave it early only with :func:`contextlib.aclosing`; on a server the
        snapshot is then over.

        Args:
            query: Which rows and columns.
            form: ``jsonl`` or ``csv``.
            formula_guard: Mark text that a spreadsheet would take for a
                formula.

        Raises:
            InvalidInputError: A column's type has no canonical text.
        """
        encoder = Encoder(query.columns, form, formula_guard=formula_guard)
        found: AsyncGenerator[Block, None] | None = None
        if not formula_guard:
            found = await self._written_by_database(query, form)
        async with aclosing(found or any_blocks(self.session, query, encoder)) as blocks:
            async for block in blocks:
                yield block

    async def blocks_for_file(
        self, query: TableQuery, form: Format, *, formula_guard: bool = False
    ) -> AsyncGenerator[Block, None]:
        """Yield the rows as :meth:`blocks` does, for a file that is to be read back.

        Raises:
            InvalidInputError: As there.
            BackupError: A row is longer than one of a file may be.
        """
        async with aclosing(self.blocks(query, form, formula_guard=formula_guard)) as blocks:
            async for block in blocks:
                if len(block.content) > LONGEST_WRITTEN_BYTES:
                    longest = await asyncio.to_thread(longest_row, block.content, form)
                    _refuse_long(query, longest)
                yield block

    async def _written_by_database(
        self, query: TableQuery, form: Format
    ) -> AsyncGenerator[Block, None] | None:
        if (sql := await copy_sql(self.session, query, form)) is not None:
            return copied_blocks(self.session, sql, form)
        if (sql := await sqlite_sql(self.session, query, form)) is not None:
            return sqlite_blocks(self.session, sql, query, form)
        return None


def _refuse_long(query: TableQuery, longest: int) -> None:
    if longest > LONGEST_WRITTEN_BYTES:
        msg = (
            f"{query.table.name}: a row takes {longest} bytes as text, and one of more than "
            f"{LONGEST_WRITTEN_BYTES} is not read back from a file; shorten it, or leave it out "
            "by a filter; a native backup may hold it"
        )
        raise BackupError(msg)


@asynccontextmanager
async def snapshot(db: DatabaseManager) -> AsyncIterator[Snapshot]:
    """Open one consistent view of all tables; writers go on meanwhile.

    It holds a read-only connection. A database in memory is one connection
    only, so there the others wait for the end of the block.
    """
    async with db.session(snapshot=True) as session:
        yield Snapshot(session)
