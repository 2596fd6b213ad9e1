"""Cases side by side: calibrated, taking turns, round by round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.measuring import percentiles, rotated
from benchmarks.peers.peer import BULK, STREAM
from benchmarks.results import Measurement
from benchmarks.workloads import rows_per_call

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.suite import Settings
    from benchmarks.workloads import Seat


async def compare(
    settings: Settings, seats: Mapping[str, Seat], operation: str, concurrency: int
) -> list[Measurement]:
    """Measure one operation of several subjects, each beginning equally often.

    Args:
        settings: Rounds, and their length.
        seats: By the subject's name.
        operation: What all do.
        concurrency: Tasks of each.
    """
    calls = dict.fromkeys(seats, concurrency)
    for name, seat in seats.items():
        if settings.quick:
            await seat.round(operation, 1, 1)
        else:
            calls[name] = await seat.calibrate(operation, concurrency, settings.round_s)
    figures: dict[str, list[float]] = {name: [] for name in seats}
    latencies: dict[str, list[float]] = {name: [] for name in seats}
    for number in range(settings.rounds):
        for name in rotated(list(seats), number):
            timed = await seats[name].round(operation, calls[name], concurrency)
            rows = rows_per_call(operation, seats[name].sizes)
            figures[name].append(timed.calls_per_s * rows)
            latencies[name] += timed.latencies_s
    return [
        Measurement(
            backend=seat.witness.backend,
            operation=operation,
            subject=name,
            concurrency=concurrency,
            unit="rows/s" if operation in {BULK, STREAM} else "op/s",
            rounds=tuple(figures[name]),
            calls=calls[name],
            latency_us=percentiles(latencies[name]),
            kind=seat.peer.kind,
        )
        for name, seat in seats.items()
    ]
