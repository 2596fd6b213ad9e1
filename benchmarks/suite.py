"""What a suite is, and how the suites are found.

A suite is one file in ``benchmarks/suites`` that defines ``SUITE``; its name
is the file's.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks import suites
from benchmarks.errors import BenchmarkError
from benchmarks.report.charts import draw_bars

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from benchmarks.databases import Databases
    from benchmarks.report.charts import Chart
    from benchmarks.results import SuiteResult


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run was asked for.

    Attributes:
        seed: Of every random choice.
        rounds: Per case.
        quick: Tiny counts, for correctness only; the figures mean nothing.
        profile: Attach profiles of this library's calls.
        max_rows: Largest table of the suite ``scale``.
        round_s: About how long a round takes.
        pool_size: Connections that each library may hold.
        backends: Only these; empty means all.
        operations: Only these; empty means all.
    """

    seed: int = 1
    rounds: int = 5
    quick: bool = False
    profile: bool = False
    max_rows: int = 1_000_000
    round_s: float = 0.4
    pool_size: int = 8
    backends: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()

    def wants(self, backend: str, operation: str | None = None) -> bool:
        """Tell whether a case was asked for."""
        return (not self.backends or backend in self.backends) and (
            not self.operations or operation is None or operation in self.operations
        )


@dataclass(slots=True)
class Bench:
    """What a suite works with.

    Attributes:
        settings: What was asked for.
        databases: Makes them.
        chance: Seeded, the suite's own.
        say: Shows what is being done now.
        subjects: Versions of what took part, for the report.
    """

    settings: Settings
    databases: Databases
    chance: random.Random
    say: Callable[[str], None] = field(default=lambda _: None)

    def backends(self, result: SuiteResult, *offered: str) -> list[str]:
        """Return those of the offered backends that are wanted and here.

        The others that are wanted are named in the result's notes.
        """
        wanted = [backend for backend in offered if self.settings.wants(backend)]
        here = [backend for backend in wanted if self.databases.has(backend)]
        for backend in wanted:
            if backend not in here:
                reason = self.databases.absent[backend]
                result.notes.append(f"{backend} did not take part: {reason}")
        return here


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite.

    Attributes:
        title: What it asks.
        about: How it is measured, in a few sentences.
        operations: Names that ``--operation`` may restrict it to.
        run: Measures.
        draw: Makes the charts of its result.
    """

    title: str
    about: str
    run: Callable[[Bench, SuiteResult], Awaitable[None]]
    operations: tuple[str, ...] = ()
    draw: Callable[[SuiteResult], list[Chart]] = draw_bars


def discover() -> dict[str, Suite]:
    """Return the suites by name.

    Raises:
        BenchmarkError: A file there defines no suite.
    """
    names = sorted(found.name for found in pkgutil.iter_modules(suites.__path__))
    return {name: _suite_of(importlib.import_module(f"{suites.__name__}.{name}")) for name in names}


def _suite_of(module: Any) -> Suite:
    suite = getattr(module, "SUITE", None)
    if not isinstance(suite, Suite):
        msg = f"{module.__name__} defines no SUITE = Suite(...)"
        raise BenchmarkError(msg)
    return suite
