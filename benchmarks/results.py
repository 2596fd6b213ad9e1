"""What a run found, and its JSON form."""

from __future__ import annotations

import dataclasses
import json
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from benchmarks.errors import BenchmarkError

if TYPE_CHECKING:
    from pathlib import Path

FORMAT: Final = 1
# Of these units less is better; of all others more.
_COSTS: Final = frozenset({"µs", "µs/row", "MiB"})


@dataclass(frozen=True, slots=True)
class Measurement:
    """One case: somebody did something on a backend, in several rounds.

    Attributes:
        backend: Such as ``SQLite``.
        operation: Such as ``get``.
        subject: Who did it: a library, a driver.
        concurrency: Tasks at once.
        unit: ``op/s``, ``rows/s``, ``µs``, ``µs/row`` or ``MiB``.
        rounds: One figure per round, in the order they were taken.
        calls: Calls per round.
        latency_us: Percentiles of single calls over all rounds.
        size: Rows in the table, where that is what varies.
        kind: Who the subject is to the others, where that matters.
    """

    backend: str
    operation: str
    subject: str
    concurrency: int
    unit: str
    rounds: tuple[float, ...]
    calls: int
    latency_us: dict[str, float] = field(default_factory=dict)
    size: int | None = None
    kind: str = ""

    @property
    def median(self) -> float:
        """Return the median of the rounds."""
        return statistics.median(self.rounds)

    @property
    def is_cost(self) -> bool:
        """Tell whether less is better."""
        return self.unit in _COSTS

    @property
    def case(self) -> tuple[str, str, str, int, str, int]:
        """Return what identifies the case in another run."""
        size = self.size or 0
        return (self.backend, self.operation, self.subject, self.concurrency, self.unit, size)

    @property
    def label(self) -> str:
        """Return the case in words."""
        size = f", {self.size:,} rows" if self.size else ""
        tasks = "1 task" if self.concurrency == 1 else f"{self.concurrency} tasks"
        return f"{self.backend}, {self.operation}, {tasks}{size}: {self.subject}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a figure reaches what was aimed at; it gates nothing.

    Attributes:
        what: The case in words.
        value: What was measured.
        target: What it ought to be.
        basis: Where the target comes from.
        passed: Whether it is reached.
        unit: Of value and target; ``times`` for a ratio.
        why: What the time of a case that falls short goes into, if that was looked at.
    """

    what: str
    value: float
    target: float
    basis: str
    passed: bool
    unit: str = "times"
    why: str = ""


@dataclass(slots=True)
class SuiteResult:
    """What one suite found."""

    name: str
    measurements: list[Measurement] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    profiles: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(slots=True)
class Run:
    """One invocation: where, with what, and the result of each suite."""

    started: str
    machine: dict[str, Any]
    versions: dict[str, str]
    settings: dict[str, Any]
    suites: list[SuiteResult] = field(default_factory=list)


def write_json(run: Run, path: Path) -> None:
    """Write a run to a file."""
    content = {"format": FORMAT, **dataclasses.asdict(run)}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Run:
    """Read what :func:`write_json` wrote.

    Raises:
        BenchmarkError: There is no such file, or it is something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror}"
        raise BenchmarkError(msg) from error
    except ValueError as error:
        msg = f"{path} is not a result of the benchmarks: it is no JSON"
        raise BenchmarkError(msg) from error
    try:
        return _run(content)
    except (AttributeError, KeyError, TypeError) as error:
        msg = f"{path} is not a result of the benchmarks of format {FORMAT}"
        raise BenchmarkError(msg) from error


def _run(content: dict[str, Any]) -> Run:
    if content.pop("format") != FORMAT:
        raise TypeError
    suites = [_suite(suite) for suite in content.pop("suites")]
    return Run(**content, suites=suites)


def _suite(content: dict[str, Any]) -> SuiteResult:
    measurements = [
        Measurement(**{**entry, "rounds": tuple(entry["rounds"])})
        for entry in content.pop("measurements")
    ]
    verdicts = [Verdict(**entry) for entry in content.pop("verdicts")]
    return SuiteResult(**content, measurements=measurements, verdicts=verdicts)
