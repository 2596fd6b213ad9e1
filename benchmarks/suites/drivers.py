"""The same calls of this library over every driver that is installed."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from benchmarks.interleaving import compare
from benchmarks.peers.hqt import Hqt
from benchmarks.peers.peer import BULK, GET, INSERT, LIST, STREAM, UPDATE
from benchmarks.report.charts import Chart, draw_bars, tasks_in_words
from benchmarks.report.plots import latency_panel
from benchmarks.suite import Suite
from benchmarks.table import make_rows
from benchmarks.witness import Witness
from benchmarks.workloads import MIXED, Seat, Sizes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.results import Measurement, SuiteResult
    from benchmarks.suite import Bench

# Driver by what it is called here; SQLite's first is the dialect of this library.
_DRIVERS: Final[dict[str, dict[str, str]]] = {
    "SQLite": {"sqlite:// (ours)": "", "aiosqlite": "aiosqlite"},
    "PostgreSQL": {"asyncpg": "asyncpg", "psycopg": "psycopg"},
    "MariaDB": {"asyncmy": "asyncmy", "aiomysql": "aiomysql"},
}
_CONCURRENCY: Final = (1, 8, 64)
_OPERATIONS: Final = (GET, INSERT, UPDATE, LIST, BULK, STREAM, MIXED)
_FULL: Final = Sizes(rows=10_000, bulk=1_000)
_QUICK: Final = Sizes(rows=200, bulk=50)


async def run(bench: Bench, result: SuiteResult) -> None:
    """Measure every driver on its backend."""
    for backend in bench.backends(result, *_DRIVERS):
        async with AsyncExitStack() as closing:
            seats = await _take_seats(bench, result, closing, backend)
            for concurrency in _CONCURRENCY:
                for operation in _OPERATIONS:
                    if seats and bench.settings.wants(backend, operation):
                        bench.say(f"{backend}: {operation}, {concurrency} at once")
                        result.measurements += await compare(
                            bench.settings, seats, operation, concurrency
                        )


async def _take_seats(
    bench: Bench, result: SuiteResult, closing: AsyncExitStack, backend: str
) -> Mapping[str, Seat]:
    """Give each installed driver of a backend a database of its own, with the same rows."""
    seats: dict[str, Seat] = {}
    sizes = _QUICK if bench.settings.quick else _FULL
    for name, driver in _DRIVERS[backend].items():
        if driver and find_spec(driver) is None:
            result.notes.append(f"{name} did not take part: it is not installed")
            continue
        database = bench.databases.create(backend)
        closing.callback(bench.databases.drop, database)
        witness = closing.enter_context(Witness(backend, database.url))
        witness.fill(make_rows(random.Random(bench.settings.seed), sizes.rows))
        peer = Hqt(database, database.url_for(driver) if driver else database.url)
        await peer.open()
        closing.push_async_callback(peer.close)
        seats[name] = Seat(peer, witness, sizes, random.Random(bench.settings.seed))
        await seats[name].require_durability()
    return seats


def draw(result: SuiteResult) -> list[Chart]:
    """Return throughput, and below it the percentiles of single calls."""
    return [*draw_bars(result), *_latencies(result.measurements)]


def _latencies(measurements: list[Measurement]) -> list[Chart]:
    groups: dict[int, dict[str, dict[str, dict[str, float]]]] = {}
    for found in measurements:
        if found.latency_us:
            panel = groups.setdefault(found.concurrency, {}).setdefault(found.operation, {})
            panel[found.subject] = found.latency_us
    return [
        Chart(
            title=f"Latency of one call, {tasks_in_words(concurrency)}",
            reading="The dots are p50, p99, p99.9 and the longest, from left to right; further "
            "left is better. At the right stand p50 / p99.",
            panels=tuple(latency_panel(name, rows) for name, rows in panels.items()),
        )
        for concurrency, panels in groups.items()
    ]


SUITE: Final = Suite(
    title="Over every driver",
    about=(
        "The same one-shot calls of this library over each driver: its own SQLite dialect, the "
        "stock aiosqlite, asyncpg, psycopg, asyncmy and aiomysql. Mixed is eight reads, one "
        "update and one insert of every ten. Drivers of one backend take turns."
    ),
    operations=_OPERATIONS,
    run=run,
    draw=draw,
)
