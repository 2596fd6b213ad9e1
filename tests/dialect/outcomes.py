"""What became of each test of a run, and where two runs differ."""

from __future__ import annotations

import re
from collections import Counter
from enum import IntEnum
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# The suite names its classes after driver and version: ValuesTest_sqlite+hqt_async_3_40_1
_DIALECT_OF_CLASS: Final = re.compile(r"_sqlite\+\w+$")


class Outcome(IntEnum):
    """What became of a test; of several reports the greatest counts."""

    PASSED = 0
    SKIPPED = 1
    FAILED = 2

    def __str__(self) -> str:
        return self.name.lower()


_OF_TAG: Final = {
    "error": Outcome.FAILED,
    "failure": Outcome.FAILED,
    "skipped": Outcome.SKIPPED,
}


def read(report: Path) -> dict[str, Outcome]:
    """Return the outcome of each test, by a name that is the same for all dialects.

    Args:
        report: A file that pytest wrote for ``--junit-xml``.
    """
    outcomes: dict[str, Outcome] = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest has just written it
        test = f"{_DIALECT_OF_CLASS.sub('', case.attrib['classname'])}::{case.attrib['name']}"
        found = [_OF_TAG[child.tag] for child in case if child.tag in _OF_TAG]
        outcomes[test] = max([outcomes.get(test, Outcome.PASSED), *found])
    return outcomes


def shortfalls(stock: Mapping[str, Outcome], ours: Mapping[str, Outcome]) -> Iterator[str]:
    """Yield a line for each test that came out worse on ours, or not at all."""
    for test, expected in sorted(stock.items()):
        outcome = ours.get(test)
        if outcome is None:
            yield f"{test}: {expected} on the stock dialect, not run on ours"
        elif outcome > expected:
            yield f"{test}: {expected} on the stock dialect, {outcome} on ours"


def gains(stock: Mapping[str, Outcome], ours: Mapping[str, Outcome]) -> Iterator[str]:
    """Yield a line for each test that came out better on ours, or only there."""
    for test, outcome in sorted(ours.items()):
        expected = stock.get(test)
        if expected is None:
            yield f"{test}: {outcome} on ours, not run on the stock dialect"
        elif outcome < expected:
            yield f"{test}: {expected} on the stock dialect, {outcome} on ours"


def figures(outcomes: Mapping[str, Outcome]) -> str:
    """Return how many passed, failed and were skipped."""
    count = Counter(outcomes.values())
    return ", ".join(
        f"{count[outcome]:5d} {outcome}"
        for outcome in (Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED)
    )
