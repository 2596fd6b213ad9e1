"""The comparison of the two dialects, whose own mistakes would hide theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.dialect.outcomes import Outcome, figures, gains, read, shortfalls

if TYPE_CHECKING:
    from pathlib import Path

PASSED, SKIPPED, FAILED = Outcome.PASSED, Outcome.SKIPPED, Outcome.FAILED

REPORT = """<testsuites><testsuite>
<testcase classname="suite.ATest_sqlite+hqt_async_3_40_1" name="test_passed"/>
<testcase classname="suite.ATest_sqlite+hqt_async_3_40_1" name="test_noisy[a b]">
  <system-out>words</system-out></testcase>
<testcase classname="suite.ATest_sqlite+hqt_async_3_40_1" name="test_failed"><failure/></testcase>
<testcase classname="suite.ATest_sqlite+hqt_async_3_40_1" name="test_setup"><error/></testcase>
<testcase classname="suite.ATest_sqlite+hqt_async_3_40_1" name="test_skipped"><skipped/></testcase>
<testcase classname="suite.PlainTest" name="test_teardown"/>
<testcase classname="suite.PlainTest" name="test_teardown"><error/></testcase>
</testsuite></testsuites>"""


def test_a_report_is_read_without_the_name_of_the_dialect(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    assert read(report) == {
        "suite.ATest::test_passed": PASSED,
        "suite.ATest::test_noisy[a b]": PASSED,
        "suite.ATest::test_failed": FAILED,
        "suite.ATest::test_setup": FAILED,
        "suite.ATest::test_skipped": SKIPPED,
        "suite.PlainTest::test_teardown": FAILED,
    }


@pytest.mark.parametrize(
    ("stock", "ours"),
    [(PASSED, FAILED), (PASSED, SKIPPED), (SKIPPED, FAILED), (PASSED, None), (FAILED, None)],
)
def test_a_worse_outcome_is_told(stock: Outcome, ours: Outcome | None) -> None:
    (line,) = shortfalls({"t": stock}, {} if ours is None else {"t": ours})
    assert line.startswith(f"t: {stock} on the stock dialect")
    assert not list(gains({"t": stock}, {} if ours is None else {"t": ours}))


@pytest.mark.parametrize(("stock", "ours"), [(FAILED, PASSED), (SKIPPED, PASSED), (None, PASSED)])
def test_a_better_outcome_is_told_and_no_shortfall(stock: Outcome | None, ours: Outcome) -> None:
    known = {} if stock is None else {"t": stock}
    assert len(list(gains(known, {"t": ours}))) == 1
    assert not list(shortfalls(known, {"t": ours}))


def test_figures_count_each_outcome() -> None:
    outcomes = {"a": PASSED, "b": PASSED, "c": FAILED, "d": SKIPPED}
    assert figures(outcomes).split() == ["2", "passed,", "1", "failed,", "1", "skipped"]
