"""The tables on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from benchmarks.peers.peer import BARE
from benchmarks.report.numbers import duration, quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from benchmarks.results import Measurement, SuiteResult, Verdict


def print_result(console: Console, title: str, result: SuiteResult) -> None:
    """Print what a suite found: relative figures where there is a bare driver, else all."""
    found = result.measurements
    if any(one.kind == BARE for one in found):
        for backend in dict.fromkeys(one.backend for one in found):
            console.print(
                _relative(title, backend, [one for one in found if one.backend == backend])
            )
    else:
        console.print(_plain(title, found))
    if result.verdicts:
        console.print(_verdicts(result.verdicts))
    for verdict in result.verdicts:
        if verdict.why and not verdict.passed:
            console.print(f"{verdict.what}: {verdict.why}", style="dim")
    for note in result.notes:
        if "did not take part" in note:
            console.print(f"[yellow]{note}[/yellow]")


def _relative(title: str, backend: str, measurements: Sequence[Measurement]) -> Table:
    """Return a line for each operation and a column for each subject."""
    subjects = list(dict.fromkeys(one.subject for one in measurements))
    subjects.sort(key=lambda name: ("hqt" not in name, name))
    bare = next(one.subject for one in measurements if one.kind == BARE)
    cases: dict[tuple[str, int], dict[str, Measurement]] = {}
    for one in measurements:
        cases.setdefault((one.operation, one.concurrency), {})[one.subject] = one
    table = Table(
        title=f"{title}: {backend}, relative to {bare}", title_justify="left", show_lines=False
    )
    table.add_column("operation")
    table.add_column("tasks", justify="right")
    table.add_column(bare, justify="right")
    shown = [name for name in subjects if name != bare]
    for name in shown:
        table.add_column(name, justify="right", style="bold" if "hqt" in name else None)
    for (operation, concurrency), found in cases.items():
        unit = found[bare].median
        cells = [f"{found[name].median / unit:.2f}" if name in found else "-" for name in shown]
        absolute = quantity(unit, found[bare].unit)
        table.add_row(operation, str(concurrency), absolute, *cells)
    return table


def _plain(title: str, measurements: Sequence[Measurement]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in ("backend", "operation", "tasks", "who"):
        table.add_column(name)
    for name in ("median", "p50", "p99", "p99.9"):
        table.add_column(name, justify="right")
    group: tuple[object, ...] | None = None
    for found in measurements:
        case = (found.backend, found.concurrency, found.size)
        if group not in {None, case}:
            table.add_section()
        group = case
        latencies = [
            duration(found.latency_us[name]) if found.latency_us else ""
            for name in ("p50", "p99", "p99.9")
        ]
        size = f", {found.size:,} rows" if found.size else ""
        table.add_row(
            found.backend,
            found.operation + size,
            str(found.concurrency),
            found.subject,
            quantity(found.median, found.unit),
            *latencies,
        )
    return table


def _verdicts(verdicts: Sequence[Verdict]) -> Table:
    table = Table(title="What was aimed at (nothing is gated by it)", title_justify="left")
    for name in ("case", "", "aim is"):
        table.add_column(name)
    table.add_column("measured", justify="right")
    table.add_column("aim", justify="right")
    for verdict in verdicts:
        table.add_row(
            verdict.what,
            "[green]reached[/green]" if verdict.passed else "[red]short[/red]",
            verdict.basis,
            quantity(verdict.value, verdict.unit),
            quantity(verdict.target, verdict.unit),
        )
    return table
