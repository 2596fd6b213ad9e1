"""Draw the equity curves; needs the CPU, so call it in a worker process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from crossover.metrics import drawdown_pct

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

Axes = Any  # matplotlib's annotations do not know that an axis takes datetimes

GREY, BLUE, ORANGE, RED = "#9aa0a6", "#1f6fb4", "#d9730d", "#c0392b"
SIZE_INCHES = (12, 7)
DOTS_PER_INCH = 120


@dataclass(frozen=True)
class Curve:
    """One line of the picture: account values in dollars over time."""

    label: str
    times: list[datetime]
    equity: list[float]


def draw_equity(path: Path, title: str, first: Curve, best: Curve, paper: Curve) -> None:
    """Write the picture of both backtests and the paper account to ``path``."""
    with rc_context({"date.converter": "concise"}):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        _draw_curves(upper, first, best, paper)
        _draw_drawdown(lower, best, paper)
        upper.set_title(title, loc="left", fontsize=14, fontweight="bold")
        figure.savefig(path, dpi=DOTS_PER_INCH)


def _draw_curves(axes: Axes, first: Curve, best: Curve, paper: Curve) -> None:
    for kind, curve, colour, width in (
        ("backtest", first, GREY, 1.0),
        ("backtest", best, BLUE, 1.4),
        ("bot", paper, ORANGE, 1.6),
    ):
        label = f"{kind} {curve.label}: {curve.equity[-1]:,.2f} $"
        axes.plot(curve.times, curve.equity, color=colour, linewidth=width, label=label)
    axes.axhline(best.equity[0], color="black", linewidth=0.6, linestyle=":")
    note = " prices that the\n backtests never saw"
    axes.text(paper.times[0], 0.03, note, color=ORANGE, transform=axes.get_xaxis_transform())
    axes.set_ylabel("Equity")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f} $"))
    axes.legend(loc="upper left", frameon=False)
    _finish(axes, paper)


def _draw_drawdown(axes: Axes, best: Curve, paper: Curve) -> None:
    times = best.times + paper.times
    drawdown = drawdown_pct(best.equity + paper.equity)
    axes.fill_between(times, drawdown, color=RED, alpha=0.35, linewidth=0)
    deepest = min(range(len(drawdown)), key=drawdown.__getitem__)
    axes.annotate(
        f"deepest: {drawdown[deepest]:.1f} %",
        (times[deepest], drawdown[deepest]),
        xytext=(8, 4),
        textcoords="offset points",
        color=RED,
    )
    axes.set_ylabel("Drawdown")
    axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))
    axes.set_xlabel(f"Time (UTC), {times[0]:%d %B %Y} to {times[-1]:%d %B %Y}")
    _finish(axes, paper)


def _finish(axes: Axes, paper: Curve) -> None:
    axes.axvspan(paper.times[0], paper.times[-1], color=ORANGE, alpha=0.08, linewidth=0)
    axes.margins(x=0.01)
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
