"""The demo, run as a user runs it: twice, on every kind of database."""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hqt_async_db import AccountSnapshotRepository, PaperTradeRepository

if TYPE_CHECKING:
    from tests.fixtures.managers import MakeDb

CHECKOUT = Path(__file__).parents[2]
EXAMPLES = CHECKOUT / "examples"
DEMO = EXAMPLES / "ma_crossover.py"
ACCOUNT = "paper-ma-crossover"
FINAL_EQUITY = Decimal("11012.51")  # the candles are fixed, so this is, on every backend
ROWS = {
    "users": 1,
    "user_settings": 1,
    "strategies": 1,
    "backtests": 2,
    "backtest_trades": 86,
    "optimizations": 1,
    "optimization_results": 42,
    "finance_metrics": 3,
    "edge_results": 2,
    "account_snapshots": 9_000,
    "paper_trades": 6,
    "live_trades": 0,
    "notifications": 8,
}


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The demo as a module, for what needs no process of its own."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("crossover.demo")


def run_demo(url: str, directory: Path) -> str:
    """Run the demo in a process and return what it printed."""
    completed = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", DEMO, "--url", url],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    assert completed.stderr == ""
    return completed.stdout


def png_size(path: Path) -> tuple[int, int]:
    """Return the width and height that the header of a PNG file states."""
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.endswith(b"IEND\xaeB`\x82")
    return int.from_bytes(content[16:20]), int.from_bytes(content[20:24])


def backtested_entries() -> list[tuple[datetime, str]]:
    """Return when and how the backtesting package opens trades on the bot's candles."""
    research = importlib.import_module("crossover.research")
    best = research.Parameters(50, 200)
    candles = research.EURUSD.iloc[-research.REPLAYED_CANDLES - best.slow :]
    backtest = research.Backtest(
        candles, research.MovingAverageCrossover, margin=1 / 30, finalize_trades=True
    )
    trades = backtest.run(fast=best.fast, slow=best.slow)["_trades"].sort_values("EntryTime")
    return [
        (row.EntryTime.to_pydatetime().replace(tzinfo=UTC), "long" if row.Size > 0 else "short")
        for row in trades.itertuples()
    ]


@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("ignore:DatetimeIndex.dayofweek")  # backtesting 0.6 with pandas 3.1
@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_second_run_adds_nothing(
    make_db: MakeDb, database_url: str, tmp_path: Path, demo: Any
) -> None:
    db = make_db()
    for _ in range(2):
        printed = await asyncio.to_thread(run_demo, database_url, tmp_path)
        assert await demo.report.count_rows(db) == ROWS
        last = await AccountSnapshotRepository(db).get_latest(ACCOUNT)
        assert last is not None
        assert last.equity == FINAL_EQUITY
        assert f"{FINAL_EQUITY:,}" in printed
    width, height = await asyncio.to_thread(png_size, tmp_path / "equity.png")
    assert width >= 1_000
    assert height >= 600
    for shown in ("50/200", "final equity", "largest drawdown", "ever stalled", "winners"):
        assert shown in printed
    trades = await PaperTradeRepository(db).get_many(account_id=ACCOUNT, order_by="entry_time")
    assert [trade.status for trade in trades] == [*["closed"] * 5, "open"]
    expected = await asyncio.to_thread(backtested_entries)
    assert [(trade.entry_time, trade.direction) for trade in trades] == expected


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("oracle://demo:planted@localhost/hqt", "oracle"),
        ("postgresql://demo:planted@127.0.0.1:1/hqt", "server"),
        ("mysql://demo:planted@127.0.0.1:1/hqt", "127.0.0.1"),
        ("sqlite:///missing/directory/hqt.db", "hqt.db"),
        ("sqlite:///{tmp_path}", "{tmp_path}"),
        ("no url at all", "does not parse"),
    ],
)
def test_wrong_url_is_one_line_and_no_traceback(
    url: str, names: str, demo: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = demo.main(["--url", url.format(tmp_path=tmp_path)])
    printed = capsys.readouterr().err
    assert status == 2
    assert printed.count("\n") == 1
    assert names.format(tmp_path=tmp_path) in printed
    assert "planted" not in printed


@pytest.mark.parametrize("name", ["missing/equity.png", "equity.txt"])
def test_wrong_picture_is_refused_before_any_work(
    name: str, demo: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        demo.main(["--output", name])
    assert refused.value.code == 2
    assert name in capsys.readouterr().err
