"""One HTML file that needs nothing else: no network, no script."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.report.numbers import duration, quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.report.charts import Chart
    from benchmarks.results import Measurement, Run, SuiteResult, Verdict
    from benchmarks.suite import Suite

_STYLE: Final = Path(__file__).with_name("style.css")
_LEGEND: Final = (
    ("ours", "this library"),
    ("bare", "bare driver"),
    ("orm", "ORMs"),
    ("mapper", "SQL mapper"),
    ("other", "for comparison only"),
)
_QUICK_WARNING: Final = (
    '<p class="warning">This was a quick run: it shows that everything works. '
    "Its figures mean nothing.</p>"
)


def render(run: Run, suites: Mapping[str, Suite]) -> str:
    """Return the page of a run."""
    style = _STYLE.read_text(encoding="utf-8")
    sections = "".join(_section(result, suites[result.name]) for result in run.suites)
    links = "".join(
        f'<a href="#{result.name}">{escape(suites[result.name].title)}</a>' for result in run.suites
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>hqt_async_db benchmarks</title><style>{style}</style></head><body><main>"
        f"<h1>hqt_async_db benchmarks</h1>"
        f'<p class="soft">{escape(run.started)} · {escape(_place(run))}</p>'
        f"{_QUICK_WARNING if run.settings.get('quick') else ''}"
        f"{_cards(run)}<nav>{links}</nav>{sections}{_environment(run)}</main></body></html>\n"
    )


def _place(run: Run) -> str:
    machine = run.machine
    python = run.versions.get("Python", "")
    return f"{machine.get('cpu')}, {machine.get('cores')} cores · {machine.get('os')} · {python}"


def _cards(run: Run) -> str:
    verdicts = [verdict for result in run.suites for verdict in result.verdicts]
    reached = sum(verdict.passed for verdict in verdicts)
    measured = sum(len(result.measurements) for result in run.suites)
    seconds = sum(result.seconds for result in run.suites)
    figures = (
        (f"{reached} of {len(verdicts)}", "aims reached"),
        (f"{measured}", "cases measured"),
        (f"{run.settings.get('rounds')}", "interleaved rounds each"),
        (duration(seconds * 1e6), "in all"),
    )
    cards = "".join(f'<div class="card"><b>{a}</b><span>{b}</span></div>' for a, b in figures)
    return f'<div class="cards">{cards}</div>'


def _section(result: SuiteResult, suite: Suite) -> str:
    charts = "".join(_chart(chart) for chart in suite.draw(result)) if result.measurements else ""
    return (
        f'<section id="{result.name}"><h2>{escape(suite.title)}</h2><p>{escape(suite.about)}</p>'
        f"{_legend(charts)}{charts}{_verdicts(result.verdicts)}{_measurements(result.measurements)}"
        f"{_notes(result.notes)}{_profiles(result.profiles)}</section>"
    )


def _legend(charts: str) -> str:
    shown = [(style, name) for style, name in _LEGEND if f'<rect class="{style}"' in charts]
    items = "".join(
        f'<span><i style="background:var(--{style})"></i>{name}</span>' for style, name in shown
    )
    return f'<p class="legend">{items}</p>' if len(shown) > 1 else ""


def _chart(chart: Chart) -> str:
    return (
        f'<h3>{escape(chart.title)}</h3><p class="soft">{escape(chart.reading)}</p>'
        f'<div class="panels">{"".join(chart.panels)}</div>'
    )


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return ""
    rows = [
        [
            ("good" if verdict.passed else "bad", "reached" if verdict.passed else "falls short"),
            ("", verdict.what),
            ("n", quantity(verdict.value, verdict.unit)),
            ("n", quantity(verdict.target, verdict.unit)),
            ("", verdict.basis),
            ("", "" if verdict.passed else verdict.why),
        ]
        for verdict in sorted(verdicts, key=lambda verdict: verdict.passed)
    ]
    head = ("", "case", "measured", "aim", "basis", "why")
    return f"<h3>What was aimed at</h3>{_table(head, rows)}"


def _measurements(measurements: Sequence[Measurement]) -> str:
    rows = [
        [
            ("", found.backend),
            ("", found.operation + (f", {found.size:,} rows" if found.size else "")),
            ("n", f"{found.concurrency}"),
            ("", found.subject),
            ("n", quantity(found.median, found.unit)),
            ("n", " ".join(quantity(value, "").strip() for value in found.rounds)),
            ("n", " / ".join(duration(value) for value in found.latency_us.values())),
        ]
        for found in measurements
    ]
    head = ("backend", "operation", "tasks", "who", "median", "rounds", "p50 / p99 / p99.9 / max")
    return f"<details><summary>Every figure</summary>{_table(head, rows)}</details>"


def _table(head: Sequence[str], rows: Iterable[Iterable[tuple[str, str]]]) -> str:
    body_rows = [list(row) for row in rows]
    styles = [style for style, _ in body_rows[0]] if body_rows else [""] * len(head)
    heading = "".join(
        f'<th class="{style}">{escape(cell)}</th>' for cell, style in zip(head, styles, strict=True)
    )
    cells = (
        "".join(f'<td class="{style}">{escape(text)}</td>' for style, text in row)
        for row in body_rows
    )
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f"<table><thead><tr>{heading}</tr></thead><tbody>{body}</tbody></table>"


def _notes(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<h3>Notes</h3><ul>{items}</ul>" if notes else ""


def _profiles(profiles: Mapping[str, str]) -> str:
    return "".join(
        f"<details><summary>Profile: {escape(title)}</summary><pre>{escape(text)}</pre></details>"
        for title, text in profiles.items()
    )


def _environment(run: Run) -> str:
    groups = {"Machine": run.machine, "Versions": run.versions, "Settings": run.settings}
    tables = "".join(
        f"<h3>{name}</h3>"
        + _table(("", ""), [[("", str(key)), ("", str(value))] for key, value in group.items()])
        for name, group in groups.items()
    )
    return f"<section><h2>Where and how</h2><p>{escape(_HOW)}</p>{tables}</section>"


_HOW: Final = (
    "Time is taken with time.perf_counter on asyncio's own event loop. Before each round garbage "
    "is collected, except for what the imports made, which is frozen; during it the collector is "
    "on. A short calibration, which also warms up, fixes the number of calls per round. Figures "
    "are medians of the rounds. "
    "SQLite's files lie in the system's temporary directory, the servers' files in memory where "
    "there is room, with fsync on in both: compare ratios, not figures of different machines."
)
