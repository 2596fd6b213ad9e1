"""Blocks of bytes to rows, in a thread of its own."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from hqt_async_db.backup.formats.json_lines import JsonLines
from hqt_async_db.backup.formats.rows import Source
from hqt_async_db.backup.threads import WorkThread

if TYPE_CHECKING:
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
        self._first: list[Batch] = []

    @property
    def columns(self) -> tuple[Column[Any], ...]:
        """Return the columns, which :meth:`begin` finds out."""
        return self._source.columns

    async def begin(self) -> None:
        """Read up to the first rows, or to the end of a file without any."""
        async for batches in self._all():
            self._first = batches
            if batches:
                return

    async def __aiter__(self) -> AsyncIterator[Batch]:
        """Yield the rows."""
        for batch in self._first:
            yield batch
        async for batches in self._all():
            for batch in batches:
                yield batch

    async def _all(self) -> AsyncIterator[list[Batch]]:
        async for block in self._blocks:
            yield await self._thread.run(self._parser.feed, block)
        yield await self._thread.run(self._parser.end)


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
        await reader.begin()
        yield reader


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
