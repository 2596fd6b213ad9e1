"""Blocks of bytes to rows, in a thread of its own."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from hqt_async_db.backup.formats.json_lines import JsonLines
from hqt_async_db.backup.formats.rows import Source
from hqt_async_db.backup.threads import WorkThread
from hqt_async_db.connection import tasks

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, AsyncIterator

    from sqlalchemy import Column, Dialect, Table

    from hqt_async_db.backup.formats.rows import Batch


class Parser(Protocol):
    """Turns blocks into rows."""

    def feed(self, block: bytes) -> list[Batch]:
        """Return the rows that are complete with this block."""

    def end(self) -> list[Batch]:
        """Return what is left when there is no further block."""


class BlockReader:
    """The rows of some blocks; see :class:`RowReader`."""

    def __init__(
        self,
        blocks: AsyncGenerator[bytes, None],
        source: Source,
        parser: Parser,
        thread: WorkThread,
    ) -> None:
        self._blocks = blocks
        self._source = source
        self._parser = parser
        self._thread = thread
        self._is_over = False
        self._first: list[Batch] = []
        self._ahead: asyncio.Task[list[Batch] | None] | None = None

    @property
    def columns(self) -> tuple[Column[Any], ...]:
        """Return the columns, which :meth:`begin` finds out."""
        return self._source.columns

    async def begin(self) -> None:
        """Read up to the first rows, or to the end of a file without any."""
        while not self._first and (batches := await self._next()) is not None:
            self._first = batches

    async def __aiter__(self) -> AsyncIterator[Batch]:
        """Yield the rows; the next block is parsed meanwhile."""
        batches: list[Batch] | None = self._first
        while batches is not None:
            self._ahead = tasks.start(self._next(), name="hqt_async_db parse")
            for batch in batches:
                yield batch
            cancelled = await tasks.wait(self._ahead, None)
            if cancelled is not None:
                raise cancelled
            batches = self._ahead.result()

    async def close(self) -> None:
        """Wait for what is being parsed; nobody needs it."""
        if self._ahead is not None:
            cancelled = await tasks.wait(self._ahead, None)
            tasks.retrieve(self._ahead)
            if cancelled is not None:
                raise cancelled

    async def _next(self) -> list[Batch] | None:
        """Return the rows of the next block, None after the last one."""
        if self._is_over:
            return None
        block = await anext(self._blocks, None)
        if block is not None:
            return await self._thread.run(self._parser.feed, block)
        self._is_over = True
        return await self._thread.run(self._parser.end)


@asynccontextmanager
async def read_blocks(
    blocks: AsyncGenerator[bytes, None], source: Source, parser: Parser
) -> AsyncIterator[BlockReader]:
    """Lend the rows of some blocks.

    Args:
        blocks: Text in UTF-8, cut anywhere; closed at the end.
        source: What they are.
        parser: Of the source.

    Raises:
        ImportDataError: The head does not fit.
    """
    async with aclosing(blocks), WorkThread("parser") as thread:
        reader = BlockReader(blocks, source, parser, thread)
        try:
            await reader.begin()
            yield reader
        finally:
            await reader.close()


@asynccontextmanager
async def read_json_lines(
    blocks: AsyncGenerator[bytes, None], table: Table, name: str, dialect: Dialect
) -> AsyncIterator[BlockReader]:
    """Lend the rows of canonical JSON Lines, from an archive or another database.

    Args:
        blocks: The lines, cut anywhere.
        table: Where they are to go.
        name: What to call them in an error.
        dialect: The backend whose limits they must keep.

    Raises:
        ImportDataError: A line is no row of the table; names it.
    """
    source = Source(table, name, dialect, "json")
    async with read_blocks(blocks, source, JsonLines(source)) as reader:
        yield reader
