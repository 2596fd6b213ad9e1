"""One SQLite file, open in this library and in SQLAlchemy's stock dialect."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from benchmarks.measuring import percentiles, rotated, take_time
from benchmarks.peers.hqt import Hqt
from benchmarks.peers.sqlalchemy_orm import make_engine
from benchmarks.results import Measurement

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from typing import Any

    from benchmarks.databases import Database
    from benchmarks.suite import Settings
    from benchmarks.witness import Witness


@dataclass(slots=True)
class Site:
    """What the cases work with.

    Attributes:
        database: The file.
        witness: Looks at it independently.
        rows: How many there were at the beginning.
        chance: Seeded.
        ours: This library.
        stock: SQLAlchemy's stock dialect.
        stock_sessions: As its documentation shows them.
    """

    database: Database
    witness: Witness
    rows: int
    chance: random.Random
    ours: Hqt
    stock: AsyncEngine
    stock_sessions: async_sessionmaker[AsyncSession]

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, database: Database, witness: Witness, rows: int, chance: random.Random
    ) -> AsyncIterator[Site]:
        """Open the file both ways, with SQLAlchemy's default pool; close both at the end."""
        database = replace(database, pool_size=5, max_overflow=10)
        ours = Hqt(database)
        await ours.open()
        stock = make_engine(database)
        sessions = async_sessionmaker(stock, expire_on_commit=False)
        try:
            yield cls(database, witness, rows, chance, ours, stock, sessions)
        finally:
            await stock.dispose()
            await ours.close()

    def keys(self, count: int) -> Sequence[int]:
        """Return random keys of rows that exist."""
        return [self.chance.randrange(1, self.rows + 1) for _ in range(count)]


async def side_by_side(
    settings: Settings,
    operation: str,
    calls: Mapping[str, Callable[[Any], Awaitable[Any]]],
    items: Callable[[], Sequence[Any]],
) -> list[Measurement]:
    """Measure latencies of one task: the median call of each round, in microseconds."""
    figures: dict[str, list[float]] = {name: [] for name in calls}
    latencies: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        await take_time(call, items(), 1)
    for number in range(settings.rounds):
        for name in rotated(list(calls), number):
            timed = await take_time(calls[name], items(), 1)
            figures[name].append(percentiles(timed.latencies_s)["p50"])
            latencies[name] += timed.latencies_s
    return [
        Measurement(
            "SQLite", operation, name, 1, "µs", tuple(figures[name]),
            len(latencies[name]) // settings.rounds, percentiles(latencies[name]),
        )
        for name in calls
    ]  # fmt: skip
