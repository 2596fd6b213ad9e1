"""Charts as inline SVG, drawn by hand: they scale, print, and follow the page's colours."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

from benchmarks.report.numbers import duration, quantity, short

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.results import Measurement, SuiteResult

OUR_NAME: Final = "hqt_async_db"
ROW: Final = 24
LABELS: Final = 136
BARS: Final = 200
FIGURES: Final = 134


@dataclass(frozen=True, slots=True)
class Chart:
    """A group of panels with a heading.

    Attributes:
        title: What they show.
        reading: How to read them; which way is better.
        panels: HTML of each.
    """

    title: str
    reading: str
    panels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar.

    Attributes:
        label: Whose it is.
        value: Its length.
        text: What stands beside it, at the right.
        ratio: What stands before that.
        style: CSS class: ``ours``, ``bare``, ``orm``, ``mapper``,
            ``other`` or ``plain``.
        hint: Shown when the pointer rests on it.
    """

    label: str
    value: float
    text: str
    ratio: str = ""
    style: str = "orm"
    hint: str = ""


def bar_panel(
    title: str,
    bars: Sequence[Bar],
    *,
    reference: float | None = None,
    aim: float | None = None,
    remark: str = "",
) -> str:
    """Return a panel of horizontal bars.

    Args:
        title: Of the panel.
        bars: In the order they are shown.
        reference: A thin line through all bars, at this value.
        aim: A mark on the bar of this library.
        remark: HTML behind the title.
    """
    longest = max([bar.value for bar in bars] + [reference or 0, aim or 0]) or 1
    height = ROW * len(bars) + 6
    parts = [_bar(bar, ROW * at, longest, aim) for at, bar in enumerate(bars)]
    if reference is not None:
        x = LABELS + BARS * reference / longest
        parts.append(f'<line class="reference" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}"/>')
    return figure(title, remark, height, parts)


def figure(title: str, remark: str, height: float, parts: Iterable[str]) -> str:
    """Return a panel with a title, as wide as all that have labels and figures."""
    width = LABELS + BARS + FIGURES
    return (
        f"<figure><figcaption>{escape(title)}{remark}</figcaption>"
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg></figure>"
    )


def _bar(bar: Bar, top: float, longest: float, aim: float | None) -> str:
    length = max(1.0, BARS * bar.value / longest)
    middle = top + ROW / 2 + 4
    is_ours = bar.style == "ours"
    mark = ""
    if aim is not None and is_ours:
        x = LABELS + BARS * aim / longest
        mark = f'<path class="aim" d="M{x:.1f} {top + 1}v{ROW - 2}"/>'
    weight = ' class="strong"' if is_ours else ""
    right = LABELS + BARS + FIGURES
    return (
        f"<g{weight}><title>{escape(bar.hint or bar.text)}</title>"
        f'<text x="{LABELS - 8}" y="{middle}" text-anchor="end">{escape(bar.label)}</text>'
        f'<rect class="{bar.style}" x="{LABELS}" y="{top + 4}" width="{length:.1f}" '
        f'height="{ROW - 8}" rx="3"/>{mark}'
        f'<text x="{LABELS + BARS + 38}" y="{middle}" text-anchor="end">'
        f"{escape(bar.ratio)}</text>"
        f'<text x="{right - 2}" y="{middle}" class="figure" text-anchor="end">'
        f"{escape(bar.text)}</text></g>"
    )


def draw_bars(result: SuiteResult) -> list[Chart]:
    """Return one chart for each number of tasks, one panel per operation."""
    charts: dict[int, dict[str, list[Measurement]]] = {}
    for found in result.measurements:
        charts.setdefault(found.concurrency, {}).setdefault(found.operation, []).append(found)
    return [
        Chart(
            title=tasks_in_words(concurrency).capitalize(),
            reading="Longer is more; where the unit is a time, shorter is better.",
            panels=tuple(_plain_panel(operation, found) for operation, found in panels.items()),
        )
        for concurrency, panels in charts.items()
    ]


def _plain_panel(operation: str, found: Sequence[Measurement]) -> str:
    bars = [
        Bar(
            one.subject,
            one.median,
            quantity(one.median, one.unit),
            style="ours" if is_ours(one.subject) else "plain",
            hint=hint_of(one),
        )
        for one in found
    ]
    return bar_panel(operation, bars)


def is_ours(subject: str) -> bool:
    """Tell whether a subject is the one that the reader looks for first."""
    return subject.startswith(OUR_NAME) or subject.endswith("(ours)")


def hint_of(found: Measurement) -> str:
    """Return a case's spread and latencies in words."""
    spread = f"{short(min(found.rounds))} to {short(max(found.rounds))} {found.unit}"
    latencies = ", ".join(f"{name} {duration(value)}" for name, value in found.latency_us.items())
    return f"{found.subject}: {spread} in {len(found.rounds)} rounds; {latencies}"


def tasks_in_words(concurrency: int) -> str:
    """Return how many tasks."""
    return "one task" if concurrency == 1 else f"{concurrency} tasks at once"
