"""The charts of the suite ``peers``: everybody relative to the bare driver."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from benchmarks.peers.peer import BARE, MAPPER, ORM, OTHER, OURS
from benchmarks.report.charts import Bar, Chart, bar_panel, hint_of, tasks_in_words
from benchmarks.report.numbers import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.results import Measurement, SuiteResult, Verdict

_STYLE: Final = {BARE: "bare", MAPPER: "mapper", ORM: "orm", OTHER: "other", OURS: "ours"}


def draw_peers(result: SuiteResult) -> list[Chart]:
    """Return one chart per backend and concurrency, one panel per operation."""
    aims = {verdict.what: verdict for verdict in result.verdicts}
    groups: dict[tuple[str, int], dict[str, list[Measurement]]] = {}
    for found in result.measurements:
        panels = groups.setdefault((found.backend, found.concurrency), {})
        panels.setdefault(found.operation, []).append(found)
    return [
        Chart(
            title=f"{backend}, {tasks_in_words(concurrency)}",
            reading="Throughput relative to the bare driver (the line at 1.0): longer is faster. "
            "The red mark on our bar is what is aimed at.",
            panels=tuple(
                _panel(found, aims.get(f"{backend}, {operation}, {concurrency} at once"))
                for operation, found in panels.items()
            ),
        )
        for (backend, concurrency), panels in groups.items()
    ]


def _panel(found: Sequence[Measurement], verdict: Verdict | None) -> str:
    bare = next((one.median for one in found if one.kind == BARE), None)
    ranked = sorted(found, key=lambda one: -one.median)
    bars = [
        Bar(
            one.subject,
            one.median / bare if bare else one.median,
            quantity(one.median, one.unit),
            ratio=f"{one.median / bare:.2f}" if bare else "",
            style=_STYLE.get(one.kind, "orm"),
            hint=hint_of(one),
        )
        for one in ranked
    ]
    return bar_panel(
        found[0].operation,
        bars,
        reference=1.0 if bare else None,
        aim=verdict.target if verdict else None,
        remark=_remark(verdict),
    )


def _remark(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    if verdict.passed:
        return ' <small class="good">aim reached</small>'
    return f' <small class="bad">short of {verdict.target:.2f}, {escape(verdict.basis)}</small>'
