"""Rows of SQLite, read and written as text in the connection's own thread."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from hqt_async_db.backup.formats.raw_rows import RawRows, is_known, selected
from hqt_async_db.backup.reading.query import BLOCK_BYTES, Block, literal_sql
from hqt_async_db.connection.translation.translate import translated

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from hqt_async_db.backup.formats.encode import Format
    from hqt_async_db.backup.reading.query import TableQuery
    from hqt_async_db.connection.sessions.session import Session

# Written in less than a millisecond, in which the thread keeps the GIL;
# fetching them, it lets go of it at every row.
_ROWS: Final[dict[Format, int]] = {"csv": 150, "jsonl": 75}
# Between two blocks the thread waits for the loop.
_BLOCK_BYTES: Final = 3 * BLOCK_BYTES
# The loop's thread gets the GIL for certain only from one that sleeps.
_WITHOUT_PAUSE_S: Final = 0.004
_PAUSE_S: Final = 0.00005


async def sqlite_sql(session: Session, query: TableQuery, form: Format) -> str | None:
    """Return the SELECT for :func:`sqlite_blocks`, None where the way is closed."""
    dialect = session.get_bind().dialect
    if dialect.driver != "hqt" or not is_known(query.columns):
        return None
    return await literal_sql(query, selected(query.columns, form), dialect)


async def sqlite_blocks(
    session: Session, sql: str, query: TableQuery, form: Format
) -> AsyncGenerator[Block, None]:
    """Yield the rows; one hop for each block."""
    connection = await session.connection()
    rows = RawRows(query.columns, form, connection.dialect)
    adapted: Any = (await connection.get_raw_connection()).dbapi_connection
    async with AsyncExitStack() as closing:
        with translated():
            stream = await closing.enter_async_context(adapted.stream_directly(sql, ()))
        while True:
            with translated():
                block: Block | None = await stream.work(partial(_block, rows, _ROWS[form]))
            if block is None or not block.rows:
                return
            yield block


def _block(rows: RawRows, most: int, fetch: Callable[[int], Sequence[Any]]) -> Block:
    content: list[bytes] = []
    size = count = 0
    pause_at = time.perf_counter() + _WITHOUT_PAUSE_S
    while size < _BLOCK_BYTES and (some := fetch(most)):
        content.append(rows.write(some))
        size += len(content[-1])
        count += len(some)
        if time.perf_counter() >= pause_at:
            time.sleep(_PAUSE_S)
            pause_at = time.perf_counter() + _WITHOUT_PAUSE_S
    return Block(b"".join(content), count)
