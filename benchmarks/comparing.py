"""Two runs side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from benchmarks.results import Measurement, Run

SAME: Final = "same"
BETTER: Final = "better"
WORSE: Final = "worse"


@dataclass(frozen=True, slots=True)
class Change:
    """One case in both runs.

    Attributes:
        case: In words.
        old: Median of the older run.
        new: Median of the newer one.
        unit: Of both.
        gain: 0.25 means a quarter better, -0.25 a quarter worse.
        verdict: ``better``, ``worse`` or ``same``.
    """

    case: str
    old: float
    new: float
    unit: str
    gain: float
    verdict: str


def compare(old: Run, new: Run, *, threshold: float) -> list[Change]:
    """Return the cases that both runs have, the worst first.

    A case is better or worse when its median differs by more than the
    threshold and no round of one run lies among the rounds of the other:
    what the noise of the rounds can explain is called the same.

    Args:
        old: The older run.
        new: The newer one.
        threshold: Share of the older median that is let pass.
    """
    before = {found.case: found for result in old.suites for found in result.measurements}
    changes = [
        _change(before[found.case], found, threshold)
        for result in new.suites
        for found in result.measurements
        if found.case in before
    ]
    return sorted(changes, key=lambda change: change.gain)


def _change(old: Measurement, new: Measurement, threshold: float) -> Change:
    gain = old.median / new.median - 1 if new.is_cost else new.median / old.median - 1
    overlaps = min(old.rounds) <= max(new.rounds) and min(new.rounds) <= max(old.rounds)
    verdict = SAME
    if not overlaps and abs(gain) > threshold:
        verdict = BETTER if gain > 0 else WORSE
    return Change(new.label, old.median, new.median, new.unit, gain, verdict)
