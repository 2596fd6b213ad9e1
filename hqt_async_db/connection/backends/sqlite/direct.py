"""One-shot statements on a SQLite file: one hop each, through lanes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from hqt_async_db.connection.backends.backend import Role
from hqt_async_db.connection.backends.direct import Answer, Cursor, Rows, Write
from hqt_async_db.connection.backends.sqlite.read_lanes import ReadLanes
from hqt_async_db.connection.backends.sqlite.shots import WriteShot
from hqt_async_db.connection.backends.sqlite.write_lane import WriteLane
from hqt_async_db.connection.lending import Lending

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

    from hqt_async_db.connection.backends.direct import Parameters
    from hqt_async_db.connection.options import Options
    from hqt_async_db.connection.sessions.transaction import Receipt


class FileDirect:
    """Reads and writes of a file, on connections of their own.

    The connections come from pools made like those of the engines, so that
    they have the same settings; one that cannot write, for the reads.

    Args:
        engines: The engines of the file, by role.
        options: Time limits, and ``pool_size`` as the most lanes for reads.
        record: Takes the receipt of each write.
    """

    def __init__(
        self,
        engines: Mapping[Role, AsyncEngine],
        options: Options,
        record: Callable[[Receipt], None],
    ) -> None:
        self._options = options
        self._readers = engines[Role.READ].pool
        self._lending = Lending()
        self._reads = ReadLanes(
            engines[Role.READ],
            most=options.pool_size,
            patience_s=options.lock_timeout_s,
            timeout_s=options.statement_timeout_s,
        )
        self._writes = WriteLane(
            engines[Role.WRITE],
            options=options,
            record=record,
            deliver=self._reads.deliver,
        )

    async def ready(self) -> None:
        """Open a connection, so that the dialect knows SQLite's version."""
        await self._reads.open()

    async def warm_up(self) -> None:
        """Open a connection to read and one to write."""
        await asyncio.gather(self._reads.open(), self._writes.open())

    async def read(self, sql: str, parameters: Parameters) -> Sequence[Any]:
        """Return all rows of a SELECT, in one hop."""
        return await self._reads.read(sql, parameters)

    @asynccontextmanager
    async def cursor(self, sql: str, parameters: Parameters) -> AsyncIterator[Cursor]:
        """Lend the rows of a SELECT, of one snapshot; one hop for each piece of them."""
        async with (
            self._lending.lend(self._readers, "one-shot stream") as lent,
            lent.adapted.stream_directly(sql, parameters) as rows,
        ):
            yield rows

    async def write(self, write: Write) -> Answer:
        """Run one statement and commit, in one hop; short ones may share it."""
        shot = WriteShot(write)
        await self._writes.write(shot)
        return Answer(shot.rowcount, shot.rows)

    async def insert(self, rows: Rows) -> None:
        """Insert many rows and commit, in one hop."""
        await self.write(rows.as_write())

    async def close(self, role: Role) -> None:
        """Close the connections of a role."""
        if role is Role.WRITE:
            await self._writes.close()
            return
        await self._lending.end(self)
        await self._reads.close()
