"""Rows of any database, through the cursor of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hqt_async_db.backup.reading.query import BLOCK_BYTES, Block
from hqt_async_db.connection.executors.session_stream import session_pieces
from hqt_async_db.connection.pacing import in_pieces

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from hqt_async_db.backup.formats.encode import Encoder
    from hqt_async_db.backup.reading.query import TableQuery
    from hqt_async_db.connection.sessions.session import Session


async def any_blocks(
    session: Session, query: TableQuery, encoder: Encoder
) -> AsyncGenerator[Block, None]:
    """Yield the rows, encoded on the loop's thread in short steps.

    Left early, MySQL would send the rest: the connection is closed instead.
    """
    async with session_pieces(
        session, query.select(), None, entities=False, owns_session=True
    ) as pieces:
        content: list[bytes] = []
        rows = 0
        while piece := await pieces.next():
            content += await in_pieces(lambda some: [encoder.rows(some)], piece)
            rows += len(piece)
            if sum(map(len, content)) >= BLOCK_BYTES:
                yield Block(b"".join(content), rows)
                content, rows = [], 0
        if rows:
            yield Block(b"".join(content), rows)
