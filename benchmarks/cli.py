"""The command line: ``python -m benchmarks [SUITE ...]`` and ``compare``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import comparing, running
from benchmarks.databases import BACKENDS
from benchmarks.errors import BenchmarkError
from benchmarks.report.console import print_result
from benchmarks.report.numbers import quantity
from benchmarks.results import read_json
from benchmarks.suite import Settings, discover

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.results import SuiteResult

WRONG_INPUT: Final = 2
REGRESSED: Final = 1
INTERRUPTED: Final = 130
_COMMANDS: Final = ("run", "compare", "suites")
_BACKENDS: Final = {name.lower(): name for name in BACKENDS}
_COLOURS: Final = {comparing.BETTER: "green", comparing.WORSE: "red", comparing.SAME: "dim"}

# Typer names but a few of the errors in its command lines; all have this base.
_USAGE_ERROR: Final[type[Exception]] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Benchmarks of hqt_async_db, its drivers and its peers. "
    "Without a command, the named suites are run, or all.",
)
# A file or a pipe has no width of its own.
_console = Console(width=None if sys.stdout.isatty() else 150)


def main(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit status.

    0: done. 1: ``compare`` found a regression. 2: the input is wrong, or
    somebody's work was; one line on the standard error says what.
    """
    given = list(arguments)
    if not given or (given[0] not in _COMMANDS and given[0] not in {"--help", "-h"}):
        given.insert(0, "run")
    try:
        status = app(given, prog_name="python -m benchmarks", standalone_mode=False)
    except _USAGE_ERROR as error:
        return _refuse(_in_words(error))
    except BenchmarkError as error:
        return _refuse(str(error))
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    return int(status or 0)


def _in_words(error: Any) -> str:
    message: str = error.format_message()
    return message


def _refuse(message: str) -> int:
    sys.stderr.write(f"error: {message}\n")
    return WRONG_INPUT


@app.command()
def run(  # noqa: PLR0913 - every option by its name
    suite: Annotated[list[str] | None, typer.Argument(help="Suites; default all.")] = None,
    *,
    quick: Annotated[bool, typer.Option(help="Tiny counts: correctness only.")] = False,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds per case (5; quick 1).")] = None,
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 1,
    rows: Annotated[
        int, typer.Option(min=1000, max=10_000_000, help="Largest table of scale.")
    ] = 1_000_000,
    backend: Annotated[list[str] | None, typer.Option(help="Only this one; repeatable.")] = None,
    operation: Annotated[list[str] | None, typer.Option(help="Only this one; repeatable.")] = None,
    profile: Annotated[bool, typer.Option(help="Attach profiles of all our calls.")] = False,
    out: Annotated[Path, typer.Option(help="Where JSON and HTML go.")] = Path("build/benchmarks"),
) -> None:
    """Run suites; print tables; write JSON and one HTML file."""
    settings = Settings(
        seed=seed,
        rounds=rounds or (1 if quick else 5),
        quick=quick,
        profile=profile,
        max_rows=min(rows, 10_000) if quick else rows,
        backends=tuple(_BACKENDS.get(name.lower(), name) for name in backend or ()),
        operations=tuple(operation or ()),
    )
    suites = running.choose(discover(), suite or ())
    running.require_known_filters(suites, settings)

    def show(name: str, result: SuiteResult) -> None:
        print_result(_console, suites[name].title, result)

    with _console.status("Starting ...") as status:
        found = running.run_suites(suites, settings, say=status.update, show=show)
    data, report = running.write(found, suites, out)
    if quick:
        _console.print("[yellow]A quick run: everything works; the figures mean nothing.[/yellow]")
    _console.print(f"{data}\n{report}", soft_wrap=True, highlight=False)


@app.command(name="suites")
def list_suites() -> None:
    """List the suites."""
    for name, suite in discover().items():
        _console.print(f"[bold]{name}[/bold]  {suite.title}. {suite.about}")


@app.command()
def compare(
    old: Annotated[Path, typer.Argument(help="JSON of the older run.")],
    new: Annotated[Path, typer.Argument(help="JSON of the newer run.")],
    threshold: Annotated[
        float, typer.Option(min=0.0, help="Share of a median that is let pass.")
    ] = 0.1,
    *,
    every: Annotated[bool, typer.Option("--all", help="Show what stayed the same too.")] = False,
) -> int:
    """Show what got better and worse; the exit status is 1 if anything got worse."""
    before, after = read_json(old), read_json(new)
    changes = comparing.compare(before, after, threshold=threshold)
    if not changes:
        msg = "the two runs have no case in common"
        raise BenchmarkError(msg)
    if before.machine.get("cpu") != after.machine.get("cpu"):
        _console.print("[yellow]The runs are of different machines.[/yellow]")
    _console.print(_table(changes, every=every))
    count = {kind: sum(change.verdict == kind for change in changes) for kind in _COLOURS}
    _console.print(", ".join(f"{number} {kind}" for kind, number in count.items()))
    return REGRESSED if count[comparing.WORSE] else 0


def _table(changes: Sequence[comparing.Change], *, every: bool) -> Table:
    table = Table("case", "", title="Older and newer run", title_justify="left")
    for name in ("old", "new", "change"):
        table.add_column(name, justify="right")
    for change in changes:
        if every or change.verdict != comparing.SAME:
            table.add_row(
                change.case,
                change.verdict,
                quantity(change.old, change.unit),
                quantity(change.new, change.unit),
                f"{change.gain:+.0%}",
                style=_COLOURS[change.verdict],
            )
    return table
