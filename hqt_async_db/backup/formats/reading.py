"""Blocks of bytes to rows, in a thread of its own."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from hqt_async_db.backup.formats.json_lines import JsonLines
from hqt_async_db.backup.formats.rows import Source
from hqt_async_db.backup.threads import WorkThread
from hqt_async_db.connection import tasks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from sqlalchemy import Column, Dialect, Table

    from hqt_async_db.backup.formats.rows import Batch

# While rows are stored that take longer than one block.
_MOST_AHEAD: Final = 2


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
        self._parsed: asyncio.Queue[list[Batch] | None] = asyncio.Queue(_MOST_AHEAD)
        self._parsing: asyncio.Task[None] | None = None

    @property
    def columns(self) -> tuple[Column[Any], ...]:
        """Return the columns, which :meth:`begin` finds out."""
        return self._source.columns

    async def begin(self) -> None:
        """Read up to the first rows, or to the end of a file without any."""
        while not self._first and (batches := await self._next()) is not None:
            self._first = batches

    async def __aiter__(self) -> AsyncIterator[Batch]:
        """Yield the rows; where they are for SQLite the next blocks are parsed meanwhile.

        It stores them without the GIL. For the others Python prepares them,
        and a second thread that needs the GIL would have the loop wait for two.
        """
        if self._source.dialect.name == "sqlite":
            self._parsing = tasks.start(self._parse(), name="hqt_async_db parse")
        batches: list[Batch] | None = self._first
        while batches is not None:
            for batch in batches:
                yield batch
            batches = await (self._next() if self._parsing is None else self._parsed.get())
        if self._parsing is not None:
            self._parsing.result()

    async def _parse(self) -> None:
        """Parse block after block, a few of them ahead."""
        try:
            while (batches := await self._next()) is not None:
                await self._parsed.put(batches)
        finally:
            await self._parsed.put(None)

    async def close(self) -> None:
        """Wait for what is being parsed; nobody needs it."""
        self._is_over = True
        if self._parsing is None:
            return
        while not self._parsed.empty():  # so that there is room for the last
            self._parsed.get_nowait()
        cancelled = await tasks.wait(self._parsing, None)
        tasks.retrieve(self._parsing)
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
    blocks: AsyncGenerator[bytes, None],
    table: Table,
    name: str,
    dialect: Dialect,
    *,
    may_exceed: bool = False,
) -> AsyncIterator[BlockReader]:
    """Lend the rows of canonical JSON Lines, from an archive or another database.

    Args:
        blocks: The lines, cut anywhere.
        table: Where they are to go.
        name: What to call them in an error.
        dialect: The backend whose limits they must keep.
        may_exceed: As for :class:`Source`.

    Raises:
        ImportDataError: A line is no row of the table; names it.
    """
    source = Source(table, name, dialect, "json", may_exceed=may_exceed)
    async with read_blocks(blocks, source, JsonLines(source)) as reader:
        yield reader
