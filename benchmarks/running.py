"""From the settings to a run and its files."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from benchmarks import environment
from benchmarks.databases import BACKENDS, Databases
from benchmarks.errors import BenchmarkError
from benchmarks.report import page
from benchmarks.results import Run, SuiteResult, write_json
from benchmarks.suite import Bench

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from benchmarks.suite import Settings, Suite


def choose(suites: Mapping[str, Suite], names: Sequence[str]) -> dict[str, Suite]:
    """Return the suites that were named, or all.

    Raises:
        BenchmarkError: There is no such suite.
    """
    _require_known("suite", names, suites)
    return {name: suites[name] for name in names} if names else dict(suites)


def require_known_filters(suites: Mapping[str, Suite], settings: Settings) -> None:
    """Refuse what names nothing.

    Raises:
        BenchmarkError: There is no such backend, or no such operation in these suites.
    """
    operations = {operation for suite in suites.values() for operation in suite.operations}
    _require_known("backend", settings.backends, BACKENDS)
    _require_known("operation", settings.operations, sorted(operations))


def _require_known(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            msg = f"there is no {kind} {name!r}; there are {', '.join(known)}"
            raise BenchmarkError(msg)


def run_suites(
    suites: Mapping[str, Suite],
    settings: Settings,
    *,
    say: Callable[[str], None],
    show: Callable[[str, SuiteResult], None],
) -> Run:
    """Run suites one after the other.

    Args:
        suites: By name.
        settings: Of all of them.
        say: Told what is being done.
        show: Given each result as soon as there is one.
    """
    run = Run(
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=environment.machine(),
        versions=environment.versions(),
        settings=dataclasses.asdict(settings),
    )
    # What the imports made lives for ever; looking at it in every collection
    # would only add noise.
    gc.collect()
    gc.freeze()
    with Databases(settings.pool_size) as databases:
        for name, suite in suites.items():
            bench = Bench(settings, databases, random.Random(settings.seed), say)
            result = SuiteResult(name)
            started = time.perf_counter()
            asyncio.run(_run(suite, bench, result))
            result.seconds = time.perf_counter() - started
            run.suites.append(result)
            show(name, result)
        run.versions |= databases.versions()
    return run


async def _run(suite: Suite, bench: Bench, result: SuiteResult) -> None:
    await suite.run(bench, result)


def write(run: Run, suites: Mapping[str, Suite], directory: Path) -> tuple[Path, Path]:
    """Write a run's JSON and HTML, named by its start; return their paths.

    Raises:
        BenchmarkError: The directory cannot be written.
    """
    stem = run.started.replace(":", "").replace("+0000", "Z")
    data, report = directory / f"{stem}.json", directory / f"{stem}.html"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_json(run, data)
        report.write_text(page.render(run, suites), encoding="utf-8")
    except OSError as error:
        msg = f"cannot write to {directory}: {error.strerror}"
        raise BenchmarkError(msg) from error
    return data, report
