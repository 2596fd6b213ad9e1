"""What a row costs as the table grows, in time and in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from benchmarks.errors import WrongWorkError
from benchmarks.growing import Task, measure
from benchmarks.peers.peer import BULK, GET, STREAM
from benchmarks.processes import processes
from benchmarks.report.charts import Chart
from benchmarks.report.plots import line_panel
from benchmarks.results import Measurement
from benchmarks.suite import Suite
from benchmarks.verdicts import judge
from benchmarks.witness import Witness

if TYPE_CHECKING:
    from benchmarks.databases import Database
    from benchmarks.growing import Figures
    from benchmarks.processes import Lend
    from benchmarks.results import SuiteResult
    from benchmarks.suite import Bench

_BACKENDS: Final = ("SQLite", "PostgreSQL")
_SIZES: Final = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
_PAGE: Final = "list page"
_OPERATIONS: Final = (GET, _PAGE, STREAM, BULK)
_TIME: Final = {GET: "µs", _PAGE: "µs", STREAM: "µs/row", BULK: "µs/row"}
# Flat means: ten thousand times the rows may cost so much more for each.
TIME_MAY_GROW: Final = 2.0
MEMORY_MAY_GROW_MIB: Final = 16.0


async def run(bench: Bench, result: SuiteResult) -> None:
    """Measure on a table that grows tenfold each time."""
    with processes(is_shared=bench.settings.quick) as lend:
        for backend in bench.backends(result, *_BACKENDS):
            _run_backend(bench, lend, backend, result)
    _judge(result)


def _run_backend(bench: Bench, lend: Lend, backend: str, result: SuiteResult) -> None:
    database = bench.databases.create(backend)
    with Witness(backend, database.url) as witness:
        for size in [size for size in _SIZES if size <= bench.settings.max_rows]:
            bench.say(f"{backend}: growing to {size:,} rows")
            witness.grow(size, bench.chance)
            for operation in _OPERATIONS:
                if bench.settings.wants(backend, operation):
                    bench.say(f"{backend}: {operation} among {size:,} rows")
                    figures = _in_process_of_its_own(bench, lend, database, operation, size)
                    _require_rows(witness, size + figures.rows_added)
                    result.measurements += _measurements(backend, operation, size, figures)
                    witness.delete_after(size)
    bench.databases.drop(database)


def _in_process_of_its_own(
    bench: Bench, lend: Lend, database: Database, operation: str, size: int
) -> Figures:
    """Measure where nothing else has used memory before."""
    settings = bench.settings
    seconds = 0.0 if settings.quick else settings.round_s
    task = Task(database, operation, size, settings.rounds, seconds, settings.seed)
    with lend() as process:
        return process.submit(measure, task).result()


def _require_rows(witness: Witness, rows: int) -> None:
    if witness.count() != rows:
        msg = f"there are {witness.count()} rows where {rows} ought to be"
        raise WrongWorkError(msg)


def _measurements(backend: str, operation: str, size: int, figures: Figures) -> list[Measurement]:
    time = Measurement(
        backend=backend,
        operation=operation,
        subject="hqt_async_db",
        concurrency=1,
        unit=_TIME[operation],
        rounds=tuple(figures.microseconds),
        calls=figures.calls,
        size=size,
    )
    memory = replace(
        time, operation=f"{operation}, peak memory", unit="MiB", rounds=(figures.peak_mib,)
    )
    return [time, memory]


def _judge(result: SuiteResult) -> None:
    for (backend, operation, unit), line in _lines(result.measurements).items():
        if len(line) < 2:  # noqa: PLR2004 - nothing to compare
            continue
        smallest, largest = line[0], line[-1]
        what = f"{backend}, {operation}, {smallest.size:,} to {largest.size:,} rows"
        if unit == "MiB":
            grown, target, basis = largest.median - smallest.median, MEMORY_MAY_GROW_MIB, "flat"
        else:
            grown, target, basis = largest.median / smallest.median, TIME_MAY_GROW, "flat"
        shown = "MiB" if unit == "MiB" else "times"
        result.verdicts.append(judge(what, grown, target, basis, at_least=False, unit=shown))


def _lines(measurements: list[Measurement]) -> dict[tuple[str, str, str], list[Measurement]]:
    lines: dict[tuple[str, str, str], list[Measurement]] = {}
    for found in measurements:
        lines.setdefault((found.backend, found.operation, found.unit), []).append(found)
    return lines


def draw(result: SuiteResult) -> list[Chart]:
    """Return a line per backend for each operation: its time, and its memory."""
    panels: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for (backend, operation, unit), line in _lines(result.measurements).items():
        points = [(float(found.size or 0), found.median) for found in line]
        panels.setdefault((operation, unit), {})[backend] = points
    return [
        Chart(
            title="As the table grows",
            reading="Time per call or per row, and how much memory the process took beyond what "
            "it had before: flat is good.",
            panels=tuple(
                line_panel(operation, unit, lines) for (operation, unit), lines in panels.items()
            ),
        )
    ]


SUITE: Final = Suite(
    title="As rows grow",
    about=(
        "One row by key, a page of 100 from the middle (keyset), a stream of all rows, and a bulk "
        "insert of 5,000, on a table that grows from 1,000 rows to 1,000,000, or with --rows to "
        "10,000,000. Each case runs in a process of its own, so that its peak of memory is its own."
    ),
    operations=_OPERATIONS,
    run=run,
    draw=draw,
)
