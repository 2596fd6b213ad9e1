"""Charts with axes: percentiles of latency, and lines over the size of the table."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Final

from benchmarks.report.charts import BARS, FIGURES, LABELS, ROW, figure, is_ours
from benchmarks.report.numbers import duration, short

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PLOT_WIDTH: Final = 470
_PLOT_HEIGHT: Final = 210
_LEFT: Final = 70
_RIGHT: Final = 44
# An axis of memory shows this much at least, so that noise looks like noise.
_LEAST: Final = {"MiB": 16.0}
_BOTTOM: Final = 34
_PALETTE: Final = 6


def latency_panel(title: str, latencies: Mapping[str, Mapping[str, float]]) -> str:
    """Return a panel of percentiles on one logarithmic axis, a row for each subject."""
    values = [value for row in latencies.values() for value in row.values() if value > 0]
    low, high = math.log10(min(values) / 1.1), math.log10(max(values) * 1.1)

    def place(value: float) -> float:
        return LABELS + (BARS + 10) * (math.log10(value) - low) / (high - low)

    height = ROW * len(latencies) + 24
    parts = []
    for value in _ticks(low, high):
        x = place(value)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - 20}"/>'
            f'<text class="tick" x="{x:.1f}" y="{height - 6}" text-anchor="middle">'
            f"{duration(value)}</text>"
        )
    for number, (subject, row) in enumerate(latencies.items()):
        places = [place(value) for value in row.values()]
        parts.append(_latency_row(subject, places, number, row))
    return figure(title, "", height, parts)


def _ticks(low: float, high: float) -> list[float]:
    """Return round values between two powers of ten, three at least where there are any."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5)):
        ticks = [step * 10.0**power for power in powers for step in steps]
        inside = [tick for tick in ticks if low <= math.log10(tick) <= high]
        if len(inside) > 2:  # noqa: PLR2004 - enough to read a scale
            break
    return inside


def _latency_row(
    subject: str, places: Sequence[float], number: int, row: Mapping[str, float]
) -> str:
    y = ROW * number + ROW / 2
    hint = ", ".join(f"{name} {duration(value)}" for name, value in row.items())
    strong = ' class="strong"' if is_ours(subject) else ""
    dots = "".join(
        f'<circle class="dot{index}" cx="{x:.1f}" cy="{y}" r="{5 - index * 0.6:.1f}"/>'
        for index, x in enumerate(places)
    )
    middle, tail = (duration(row[name]) for name in ("p50", "p99"))
    return (
        f"<g{strong}><title>{escape(hint)}</title>"
        f'<text x="{LABELS - 8}" y="{y + 4}" text-anchor="end">{escape(subject)}</text>'
        f'<line class="range" x1="{places[0]:.1f}" x2="{places[-1]:.1f}" y1="{y}" y2="{y}"/>{dots}'
        f'<text x="{LABELS + BARS + FIGURES - 2}" y="{y + 4}" class="figure" '
        f'text-anchor="end">{middle} / {tail}</text></g>'
    )


def line_panel(title: str, unit: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Return a panel of lines over a logarithmic axis of rows; the other begins at zero."""
    points = [point for line in lines.values() for point in line]
    low, high = math.log10(min(x for x, _ in points)), math.log10(max(x for x, _ in points))
    top = _round_up(max([y for _, y in points] + [_LEAST.get(unit, 0.0)]))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - low) / max(high - low, 1e-9)
        width, height = _PLOT_WIDTH - _LEFT - _RIGHT, _PLOT_HEIGHT - _BOTTOM - 22
        return _LEFT + width * across, _PLOT_HEIGHT - _BOTTOM - height * y / top

    parts = _axes(sorted({x for x, _ in points}), top, unit, place)
    for number, (name, line) in enumerate(lines.items()):
        parts.append(_line(name, [place(*point) for point in line], number, len(lines)))
    svg = f'<svg viewBox="0 0 {_PLOT_WIDTH} {_PLOT_HEIGHT}" role="img">'
    return f"<figure><figcaption>{escape(title)}</figcaption>{svg}{''.join(parts)}</svg></figure>"


def _round_up(value: float) -> float:
    """Return a value at or above that four equal steps divide into round ones."""
    power = 10.0 ** math.floor(math.log10(value or 1))
    return next(step * power for step in (1, 2, 4, 8, 10, 20) if step * power >= value)


def _axes(
    xs: Sequence[float], top: float, unit: str, place: Callable[[float, float], tuple[float, float]]
) -> list[str]:
    parts = [f'<text class="tick" x="{_LEFT}" y="12" text-anchor="start">{escape(unit)}</text>']
    for step in range(5):
        value = top * step / 4
        _, y = place(xs[0], value)
        parts.append(
            f'<path class="grid" d="M{_LEFT} {y:.1f}H{_PLOT_WIDTH - _RIGHT}"/>'
            f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
            f"{short(value)}</text>"
        )
    for value in xs:
        x, _ = place(value, 0)
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{_PLOT_HEIGHT - 12}" text-anchor="middle">'
            f"{short(value)} rows</text>"
        )
    return parts


def _line(name: str, places: Sequence[tuple[float, float]], number: int, lines: int) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in places)
    x = _PLOT_WIDTH - _RIGHT - 110 * (lines - number - 1)
    colour = f"line{number % _PALETTE}"
    return (
        f'<g class="{colour}"><polyline points="{path}"/>{dots}'
        f'<text x="{x}" y="12" text-anchor="end">{escape(name)}</text></g>'
    )
