"""16 tasks that read, with and without one write in ten among them."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any, Final

from benchmarks.measuring import percentiles, rotated, take_time
from benchmarks.results import Measurement
from benchmarks.table import make_row
from benchmarks.verdicts import judge

if TYPE_CHECKING:
    from benchmarks.results import SuiteResult
    from benchmarks.sqlite_cases.site import Site
    from benchmarks.suite import Settings
    from benchmarks.table import Row

TASKS: Final = 16
ALONE: Final = "alone (ours)"
MIXED: Final = "with writes (ours)"
AT_MOST: Final = 1.5
_EVERY: Final = 10


async def measure(site: Site, settings: Settings, result: SuiteResult) -> None:
    """Compare the readers' 99th percentile; what writers take is not counted."""
    calls = 320 if settings.quick else 16_000
    rounds: dict[str, list[list[float]]] = {ALONE: [], MIXED: []}
    for name in rounds:
        await _round(site, name, calls)
    for number in range(settings.rounds):
        for name in rotated(list(rounds), number):
            rounds[name].append(await _round(site, name, calls))
    tails = {
        name: [percentiles(latencies)["p99"] for latencies in taken]
        for name, taken in rounds.items()
    }
    result.measurements += [
        Measurement(
            backend="SQLite",
            operation="p99 of readers beside writers",
            subject=name,
            concurrency=TASKS,
            unit="µs",
            rounds=tuple(tails[name]),
            calls=calls,
            latency_us=percentiles([one for latencies in taken for one in latencies]),
        )
        for name, taken in rounds.items()
    ]
    result.verdicts.append(
        judge(
            "readers' p99 beside writers",
            statistics.median(tails[MIXED]) / statistics.median(tails[ALONE]),
            AT_MOST,
            f"at most {AT_MOST} times that of the same readers alone",
            at_least=False,
        )
    )


async def _round(site: Site, name: str, calls: int) -> list[float]:
    """Return the latencies of the reads."""
    latencies: list[float] = []
    trades = site.ours.trades

    async def work(item: tuple[int, Row | None]) -> Any:
        key, row = item
        if row is not None:
            return await trades.create(**row)
        started = time.perf_counter()
        found = await trades.get_by_id(key)
        latencies.append(time.perf_counter() - started)
        return found

    has_writers = name == MIXED
    items = [
        (key, make_row(site.chance) if has_writers and turn % _EVERY == 0 else None)
        for turn, key in enumerate(site.keys(calls))
    ]
    await take_time(work, items, TASKS)
    site.witness.delete_after(site.rows)
    return latencies
