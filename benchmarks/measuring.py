"""Taking the time of calls.

The clock is ``time.perf_counter``. Before each round garbage is collected;
during it the collector is on, as it is in an application. The event loop is
asyncio's own. A case does a fixed number of calls per round, found by a short
calibration that also warms up.
"""

from __future__ import annotations

import asyncio
import gc
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

ItemT = TypeVar("ItemT")

PERCENTILES: Final = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


@dataclass(slots=True)
class Timed:
    """One round.

    Attributes:
        seconds: From the first call to the end of the last.
        latencies_s: Of each call, in the order they ended.
        last: What the last call returned.
    """

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    last: Any = None

    @property
    def calls_per_s(self) -> float:
        """Return the throughput."""
        return len(self.latencies_s) / self.seconds


async def take_time(
    call: Callable[[ItemT], Awaitable[Any]], items: Sequence[ItemT], concurrency: int
) -> Timed:
    """Call once for each item, from so many tasks at once.

    An error ends the round and is raised.
    """
    gc.collect()
    timed = Timed()
    waiting = iter(items)
    started = time.perf_counter()
    if concurrency == 1:
        await _work(call, waiting, timed)
    else:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(concurrency):
                tasks.create_task(_work(call, waiting, timed))
    timed.seconds = time.perf_counter() - started
    return timed


async def _work(
    call: Callable[[ItemT], Awaitable[Any]], waiting: Iterator[ItemT], timed: Timed
) -> None:
    clock = time.perf_counter
    for item in waiting:
        started = clock()
        timed.last = await call(item)
        timed.latencies_s.append(clock() - started)


def calls_for(seconds_per_call: float, round_s: float, concurrency: int) -> int:
    """Return how many calls fill a round: every task has one at least, all equally many."""
    wanted = round_s / max(seconds_per_call, 1e-7)
    return max(1, round(wanted / concurrency)) * concurrency


def percentiles(latencies_s: Sequence[float]) -> dict[str, float]:
    """Return the percentiles of some latencies in microseconds (nearest rank)."""
    ranked = sorted(latencies_s)
    if not ranked:
        return {}
    return {
        name: ranked[max(0, math.ceil(share * len(ranked)) - 1)] * 1e6
        for name, share in PERCENTILES.items()
    }


def rotated(subjects: Sequence[ItemT], round_number: int) -> list[ItemT]:
    """Return the order of one round: everybody is first, second, … equally often."""
    start = round_number % len(subjects) if subjects else 0
    return [*subjects[start:], *subjects[:start]]
