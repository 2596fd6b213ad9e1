"""Moving a million trades: beside the databases' own tools, in memory, on the loop."""

from __future__ import annotations

import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.bulk_cases import ours, tools
from benchmarks.bulk_cases.cases import (
    CASES,
    MEMORY_MAY_GROW_MIB,
    PARQUET_AT_MOST,
    STALL_MAY_GROW_MS,
    Site,
)
from benchmarks.bulk_cases.ours import (
    BACKUP,
    COPY,
    CSV,
    IMPORT_CSV,
    JSON_LINES,
    PARQUET,
    Work,
)
from benchmarks.bulk_cases.trades import fill
from benchmarks.measuring import rotated
from benchmarks.processes import processes
from benchmarks.results import Measurement
from benchmarks.suite import Suite
from benchmarks.table import TABLE
from benchmarks.verdicts import judge
from benchmarks.witness import Witness

if TYPE_CHECKING:
    from benchmarks.bulk_cases.cases import Case
    from benchmarks.processes import Lend
    from benchmarks.results import SuiteResult
    from benchmarks.suite import Bench

_OURS: Final = "hqt_async_db"
_ROUNDS_AT_MOST: Final = 3  # a round takes seconds
_FILES: Final = {
    CSV: "o.csv",
    JSON_LINES: "o.jsonl",
    PARQUET: "o.parquet",
    BACKUP: "backups",
    COPY: "copies",
}


async def run(bench: Bench, result: SuiteResult) -> None:
    """Measure each case on a database with very many trades."""
    for backend in bench.backends(result, *CASES):
        with ExitStack() as closing:
            lend = closing.enter_context(processes(is_shared=bench.settings.quick))
            cases = [
                case for case in CASES[backend] if bench.settings.wants(backend, case.operation)
            ]
            site = await _site(bench, backend, closing, cases, lend)
            for case in cases:
                bench.say(f"{backend}: {case.operation}")
                _measure(bench, backend, case, site, result)
    _judge_parquet(result)


async def _site(
    bench: Bench, backend: str, closing: ExitStack, cases: list[Case], lend: Lend
) -> Site:
    rows, small = (20_000, 2_000) if bench.settings.quick else (1_000_000, 10_000)
    directory = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="hqt-bulk-")))
    for name in (BACKUP, COPY):
        (directory / _FILES[name]).mkdir()
    url, small_url, target_url = [_database(bench, backend, closing) for _ in range(3)]
    for each, count in (url, rows), (small_url, small), (target_url, 0):
        bench.say(f"{backend}: storing {count:,} trades")
        await fill(each, count, bench.settings.seed)
    site = Site(url, small_url, target_url, rows, small, directory, lend)
    if any(case.operation == IMPORT_CSV for case in cases):
        with site.lend() as process:
            for url, count in (site.url, rows), (site.small_url, small):
                process.submit(ours.do, Work(CSV, url, count, site.source_csv(count))).result()
    return site


def _database(bench: Bench, backend: str, closing: ExitStack) -> str:
    """Make an empty one."""
    database = bench.databases.create(backend)
    closing.callback(bench.databases.drop, database)
    with Witness(backend, database.url) as witness:
        witness.execute(f"DROP TABLE {TABLE}")
    return database.url


def _measure(bench: Bench, backend: str, case: Case, site: Site, result: SuiteResult) -> None:
    taken = _take_times(bench, case, site, result)
    for name, seconds in taken.items():
        figures = tuple(site.rows / each for each in seconds)
        result.measurements.append(
            Measurement(backend, case.operation, name, 1, "rows/s", figures, 1, size=site.rows)
        )
    if case.at_most is not None and case.rival in taken:
        ratio = statistics.median(taken[_OURS]) / statistics.median(taken[case.rival])
        basis = f"at most {case.at_most} times {case.rival}"
        what = f"{backend}, {case.operation}: time"
        result.verdicts.append(judge(what, ratio, case.at_most, basis, at_least=False))
    _measure_memory(backend, case, site, result)
    _measure_stalls(backend, case, site, result)
    if case.operation != IMPORT_CSV:  # which writes as well, where SQLite has one writer
        _measure_commits(backend, case, site, result)


def _take_times(
    bench: Bench, case: Case, site: Site, result: SuiteResult
) -> dict[str, list[float]]:
    """Return the seconds of each round, ours and the rival's by turns."""
    work, compete = _work(case.operation, site), case.compete
    taken: dict[str, list[float]] = {_OURS: []}
    if compete is not None and case.rival is not None:
        if case.program is None or tools.find(case.program):
            taken[case.rival] = []
        else:
            result.notes.append(f"{case.rival} did not take part: {case.program} is not installed")
    with site.lend() as process:
        for number in range(min(bench.settings.rounds, _ROUNDS_AT_MOST)):
            for name in rotated(list(taken), number):
                if name == _OURS:
                    taken[name].append(process.submit(ours.do, work).result())
                elif compete is not None:
                    taken[name].append(compete(site))
    return taken


def _measure_memory(backend: str, case: Case, site: Site, result: SuiteResult) -> None:
    peaks = {}
    for is_small, rows in (True, site.small_rows), (False, site.rows):
        with site.lend() as process:
            work = _work(case.operation, site, is_small=is_small)
            peaks[rows] = process.submit(ours.peak_of, work).result()
        operation = f"{case.operation}, peak memory"
        result.measurements.append(
            Measurement(backend, operation, _OURS, 1, "MiB", (peaks[rows],), 1, size=rows)
        )
    what = f"{backend}, {case.operation}: memory, {site.small_rows:,} to {site.rows:,} rows"
    grown = peaks[site.rows] - peaks[site.small_rows]
    basis = f"at most {MEMORY_MAY_GROW_MIB:.0f} MiB more"
    result.verdicts.append(
        judge(what, grown, MEMORY_MAY_GROW_MIB, basis, at_least=False, unit="MiB")
    )


def _measure_stalls(backend: str, case: Case, site: Site, result: SuiteResult) -> None:
    with site.lend() as process:
        found = process.submit(ours.watch, _work(case.operation, site)).result()
    longest_ms = {_OURS: found.busy_ms, "an idle loop": found.idle_ms}
    result.measurements += _longest(backend, f"{case.operation}, longest stall", site, longest_ms)
    what = f"{backend}, {case.operation}: longest stall of the loop"
    aim = found.idle_ms + STALL_MAY_GROW_MS
    basis = f"at most {STALL_MAY_GROW_MS:.0f} ms above an idle loop's"
    verdict = judge(what, found.busy_ms, aim, basis, at_least=False, unit="ms")
    why = (
        f"its thread worked {found.busy_cpu_ms:.1f} ms at a stretch at most; what is more it "
        "waited for a processor, or for the GIL"
    )
    result.verdicts.append(replace(verdict, why=why))


def _measure_commits(backend: str, case: Case, site: Site, result: SuiteResult) -> None:
    with site.lend() as process:
        found = process.submit(ours.commit_beside, _work(case.operation, site)).result()
    longest_ms = {_OURS: found.beside_ms, "nothing beside it": found.alone_ms}
    operation = f"{case.operation}, longest commit of a bot"
    result.measurements += _longest(backend, operation, site, longest_ms)


def _longest(
    backend: str, operation: str, site: Site, longest_ms: dict[str, float]
) -> list[Measurement]:
    return [
        Measurement(backend, operation, name, 1, "µs", (each_ms * 1000,), 1, size=site.rows)
        for name, each_ms in longest_ms.items()
    ]


def _work(operation: str, site: Site, *, is_small: bool = False) -> Work:
    """Return what our process is to do with all trades, or with few."""
    rows = site.small_rows if is_small else site.rows
    if operation == IMPORT_CSV:
        return Work(operation, site.target_url, rows, site.source_csv(rows))
    url = site.small_url if is_small else site.url
    return Work(operation, url, rows, site.output(_FILES[operation]))


def _judge_parquet(result: SuiteResult) -> None:
    """Compare our own two ways to write the same rows."""
    ours_only = [one for one in result.measurements if one.subject == _OURS]
    speed = {(one.backend, one.operation): one.median for one in ours_only}
    for backend in CASES:
        if (backend, CSV) in speed and (backend, PARQUET) in speed:
            ratio = speed[backend, CSV] / speed[backend, PARQUET]
            basis = f"at most {PARQUET_AT_MOST:.0f} times our CSV"
            what = f"{backend}, {PARQUET}: time"
            result.verdicts.append(judge(what, ratio, PARQUET_AT_MOST, basis, at_least=False))


SUITE: Final = Suite(
    title="A million trades out and in",
    about=(
        "1,000,000 backtest trades are exported, imported, backed up and copied by this library, "
        "and by turns by the databases' own tools: sqlite3, psql, pg_dump; SQLite's rival for "
        "imports is one executemany of parsed rows. Ours includes opening the file, syncing it and "
        "its manifest; a copy includes reading everything back. Memory is the peak of a new "
        "process, beside that with 10,000 trades. The longest stall of the event loop stands "
        "beside that of an idle loop of the same process; so does the longest commit of a bot that "
        "writes every few milliseconds meanwhile, beside the longest of one that is alone."
    ),
    operations=(CSV, JSON_LINES, PARQUET, IMPORT_CSV, BACKUP, COPY),
    run=run,
)
