"""What is aimed at, and whether a figure reaches it. Nothing is gated by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.peers.peer import (
    BARE,
    BULK,
    GET,
    INSERT,
    LIST,
    MAPPER,
    ORM,
    OURS,
    ROWS,
    STREAM,
)
from benchmarks.results import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from benchmarks.results import Measurement

OVER_BEST_ORM: Final = 1.1
OF_BARE: Final = 0.9
# Against the bare driver, whatever the others reach.
FLOORS: Final = {GET: 0.5, INSERT: 0.5, BULK: 0.8, STREAM: 0.4, ROWS: 0.4, LIST: 0.4}


def judge_peers(measurements: Iterable[Measurement]) -> list[Verdict]:
    """Return a verdict for each case of this library."""
    cases: dict[tuple[str, str, int], dict[str, list[Measurement]]] = {}
    for found in measurements:
        case = cases.setdefault((found.backend, found.operation, found.concurrency), {})
        case.setdefault(found.kind, []).append(found)
    return [_judge(*case) for case in cases.items() if OURS in case[1] and BARE in case[1]]


def _judge(case: tuple[str, str, int], by_kind: Mapping[str, list[Measurement]]) -> Verdict:
    backend, operation, concurrency = case
    bare = by_kind[BARE][0].median
    best = max((found.median for found in by_kind.get(ORM, ())), default=None)
    mapper = max((found.median for found in by_kind.get(MAPPER, ())), default=None)
    target, basis = peer_target(operation, bare=bare, best_orm=best, mapper=mapper)
    value = by_kind[OURS][0].median
    return Verdict(
        what=f"{backend}, {operation}, {concurrency} at once",
        value=value / bare,
        target=target / bare,
        basis=basis,
        passed=value >= target,
        unit="of bare",
    )


def peer_target(
    operation: str, *, bare: float, best_orm: float | None, mapper: float | None
) -> tuple[float, str]:
    """Return the highest of the aims for one case, and which it is.

    Args:
        operation: What was measured.
        bare: The bare driver's figure.
        best_orm: The best ORM's, None where none takes part.
        mapper: The SQL mapper's.
    """
    aims = [(OF_BARE * bare, f"{OF_BARE} of the bare driver")]
    if best_orm is not None:
        aims.append((OVER_BEST_ORM * best_orm, f"{OVER_BEST_ORM} of the best ORM"))
    needed = [min(aims)]
    if operation in FLOORS:
        needed.append((FLOORS[operation] * bare, f"{FLOORS[operation]} of the bare driver"))
    if operation == ROWS and mapper is not None:
        needed.append((mapper, "level with sqlspec"))
    return max(needed)


def judge(  # noqa: PLR0913 - the fields of a verdict
    what: str, value: float, target: float, basis: str, *, at_least: bool, unit: str = "times"
) -> Verdict:
    """Return a verdict on one figure that ought to be at least, or at most, so much."""
    passed = value >= target if at_least else value <= target
    return Verdict(what, value, target, basis, passed, unit)
