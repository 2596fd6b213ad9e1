"""Blocks are parsed ahead of whoever stores their rows, but not far."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url

from hqt_async_db.backup.formats.csv_lines import CsvLines
from hqt_async_db.backup.formats.reading import read_blocks
from hqt_async_db.backup.formats.rows import Source
from hqt_async_db.backup.tables import table_named
from hqt_async_db.errors import ImportDataError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from sqlalchemy import Dialect

_BLOCKS = 20
# The first rows, two blocks that wait, and one that has no room any more.
_MOST_READ = 1 + 2 + 1


class File:
    """Blocks of ten rows each.

    Attributes:
        given: How many were asked for.
    """

    def __init__(self, *, bad: int | None = None) -> None:
        self.given = 0
        self._bad = bad

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        """Yield a header and rows."""
        for block in range(_BLOCKS):
            self.given += 1
            head = b"id,name\n" if block == 0 else b""
            value = b"x" if block == self._bad else b""
            yield head + b"".join(b"%d%s,n\n" % (10 * block + row, value) for row in range(10))


def _dialect(name: str) -> Dialect:
    return make_url(f"{name}://").get_dialect()()


def source(dialect: Dialect | None = None) -> Source:
    """Return what the rows are, and where they go."""
    return Source(table_named("strategies"), "s.csv", dialect or _dialect("sqlite"), "csv")


async def read_so_far(file: File, expected: int) -> int:
    """Return how many blocks are read when nobody takes rows any more."""
    async with asyncio.timeout(5):
        while file.given < expected:  # noqa: ASYNC110 - it is a generator that counts
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)
    return file.given


async def test_parsing_goes_ahead_and_waits_for_who_stores() -> None:
    file, of = File(), source()
    async with read_blocks(file.blocks(), of, CsvLines(of)) as reader:
        batches = aiter(reader)
        rows = (await anext(batches)).size
        assert await read_so_far(file, _MOST_READ) == _MOST_READ
        rows += (await anext(batches)).size
        assert await read_so_far(file, _MOST_READ + 1) == _MOST_READ + 1
        async for batch in batches:
            rows += batch.size
    assert (rows, file.given) == (10 * _BLOCKS, _BLOCKS)


async def test_what_python_prepares_for_a_server_is_not_disturbed() -> None:
    file, of = File(), source(_dialect("postgresql"))
    rows = 0
    async with read_blocks(file.blocks(), of, CsvLines(of)) as reader:
        async for batch in reader:
            rows += batch.size
            assert await read_so_far(file, file.given) == -(-rows // 10)
    assert (rows, file.given) == (10 * _BLOCKS, _BLOCKS)


async def test_who_stops_early_leaves_nothing_running() -> None:
    file, of = File(), source()
    before = asyncio.all_tasks()
    async with read_blocks(file.blocks(), of, CsvLines(of)) as reader:
        await anext(aiter(reader))
        await read_so_far(file, _MOST_READ)
    assert asyncio.all_tasks() == before
    assert file.given == _MOST_READ


async def test_a_fault_further_on_comes_after_the_rows_before_it() -> None:
    file, of = File(bad=7), source()
    sizes: list[int] = []

    async def read() -> None:
        async with read_blocks(file.blocks(), of, CsvLines(of)) as reader:
            async for batch in reader:
                sizes.append(batch.size)  # noqa: PERF401 - what came before the fault counts

    with pytest.raises(ImportDataError) as refused:
        await read()
    assert (sum(sizes), refused.value.row, refused.value.column) == (70, 71, "id")
