"""What owning SQLite's dialect brings: hops, writers, readers beside writers."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from benchmarks.sqlite_cases import held, readers, sessions, writers
from benchmarks.sqlite_cases.site import Site
from benchmarks.suite import Suite
from benchmarks.table import make_rows
from benchmarks.witness import Witness

if TYPE_CHECKING:
    from benchmarks.results import SuiteResult
    from benchmarks.suite import Bench

_CASES: Final = {
    "held connection": held.measure,
    "session per read": sessions.measure,
    "writers": writers.measure,
    "readers beside writers": readers.measure,
}


async def run(bench: Bench, result: SuiteResult) -> None:
    """Measure each case on a file of its own."""
    for backend in bench.backends(result, "SQLite"):
        for name, measure in _CASES.items():
            if bench.settings.wants(backend, name):
                bench.say(f"{backend}: {name}")
                async with AsyncExitStack() as closing:
                    await measure(await _site(bench, closing), bench.settings, result)


async def _site(bench: Bench, closing: AsyncExitStack) -> Site:
    rows = 1_000 if bench.settings.quick else 20_000
    database = bench.databases.create("SQLite")
    closing.callback(bench.databases.drop, database)
    witness = closing.enter_context(Witness("SQLite", database.url))
    witness.fill(make_rows(random.Random(bench.settings.seed), rows))
    return await closing.enter_async_context(Site.opened(database, witness, rows, bench.chance))


SUITE: Final = Suite(
    title="SQLite at one hop",
    about=(
        "One row by key against its floor: one bare thread hop, then the same statement through "
        "synchronous SQLAlchemy Core. Then this library beside SQLAlchemy's stock dialect, which "
        "waits for locks (busy timeout), both with its default pool: a session per read, and 32 "
        "tasks that insert one row per transaction. Last, the readers' latency with and without "
        "writers among them."
    ),
    operations=tuple(_CASES),
    run=run,
)
