"""Backtest a moving-average crossover on real candles; no database here.

This is CPU work of some seconds. It runs in worker processes, because a
thread would share the GIL with the event loop. What comes back is plain
Python (floats, datetimes, dicts), ready to be sent and stored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product
from typing import Any

from backtesting import Backtest, Strategy
from backtesting.lib import crossover
from backtesting.test import EURUSD, SMA

from crossover import metrics

SYMBOL = "EURUSD"
TIMEFRAME = "H1"
CURRENCY = "USD"
INITIAL_CAPITAL = 10_000.0
UNITS_PER_LOT = 100_000
POSITION_UNITS = 20_000
SPREAD = 0.00003  # of the price: about a third of a pip
COMMISSION = 0.00003  # of the value, on each side: 3 dollars per 100,000
LEVERAGE = 30  # what a European retail account is allowed
REPLAYED_CANDLES = 1_000  # the newest ones: research never sees them, the paper account does

FAST_PERIODS = (10, 15, 20, 30, 40, 50)
SLOW_PERIODS = (60, 80, 100, 120, 150, 180, 200)
OBJECTIVE = "sharpe_ratio"  # what the best combination has most of


@dataclass(frozen=True)
class Parameters:
    """The two periods of a crossover, in candles."""

    fast: int
    slow: int

    def as_dict(self) -> dict[str, int]:
        """Return them as a JSON column stores them."""
        return {"fast_period": self.fast, "slow_period": self.slow}

    def __str__(self) -> str:
        """Return the usual short form, such as 20/100."""
        return f"{self.fast}/{self.slow}"


FIRST_GUESS = Parameters(fast=20, slow=100)
GRID = tuple(Parameters(fast, slow) for fast, slow in product(FAST_PERIODS, SLOW_PERIODS))


@dataclass(frozen=True)
class Candle:
    """The prices of one hour; ``time`` is its beginning."""

    time: datetime
    open: Decimal
    close: Decimal


@dataclass(frozen=True)
class TriedParameters:
    """One combination of the grid; ``metrics`` has the columns of a backtest."""

    parameters: Parameters
    metrics: dict[str, float | None]


@dataclass(frozen=True)
class BacktestRun:
    """Everything that one backtest found out, by column of its table."""

    parameters: Parameters
    start: datetime
    end: datetime
    metrics: dict[str, float | None]
    finance: dict[str, float | None]
    edge: dict[str, float | None]
    trades: list[dict[str, Any]]
    equity: list[tuple[datetime, float]]


class MovingAverageCrossover(Strategy):  # type: ignore[misc]  # backtesting has no types
    """Be long while the fast average is above the slow one, else short."""

    fast = FIRST_GUESS.fast
    slow = FIRST_GUESS.slow

    def init(self) -> None:
        """Compute both averages once, over all candles."""
        self.fast_average = self.I(SMA, self.data.Close, self.fast)
        self.slow_average = self.I(SMA, self.data.Close, self.slow)

    def next(self) -> None:
        """Turn the position round at every crossing."""
        if crossover(self.fast_average, self.slow_average):
            self.position.close()
            self.buy(size=POSITION_UNITS)
        elif crossover(self.slow_average, self.fast_average):
            self.position.close()
            self.sell(size=POSITION_UNITS)


def try_parameters(parameters: Parameters) -> TriedParameters:
    """Backtest one combination and keep its figures only (50 ms of CPU)."""
    stats = _run(parameters)
    return TriedParameters(parameters, metrics.of_backtest(stats))


def run_backtest(parameters: Parameters) -> BacktestRun:
    """Backtest one combination and keep everything (100 ms of CPU)."""
    stats = _run(parameters)
    trades = [_trade(row) for row in stats["_trades"].itertuples()]
    return BacktestRun(
        parameters=parameters,
        start=_utc(stats["Start"]),
        end=_utc(stats["End"]),
        metrics=metrics.of_backtest(stats),
        finance=metrics.of_finance(stats),
        edge=metrics.of_edge(trades),
        trades=trades,
        equity=[
            (_utc(time), float(equity)) for time, equity in stats["_equity_curve"]["Equity"].items()
        ],
    )


def best_of(tried: list[TriedParameters]) -> TriedParameters:
    """Return the combination with the highest objective; the first if several."""
    return max(tried, key=lambda one: one.metrics[OBJECTIVE] or -math.inf)


def replayed_candles(warm_up: int) -> list[Candle]:
    """Return the candles kept from research, after ``warm_up`` older ones."""
    newest = EURUSD.iloc[-REPLAYED_CANDLES - warm_up :]
    return [
        Candle(_utc(row.Index), Decimal(str(row.Open)), Decimal(str(row.Close)))
        for row in newest.itertuples()
    ]


def _run(parameters: Parameters) -> Any:
    backtest = Backtest(
        EURUSD.iloc[:-REPLAYED_CANDLES],
        MovingAverageCrossover,
        cash=INITIAL_CAPITAL,
        spread=SPREAD,
        commission=COMMISSION,
        margin=1 / LEVERAGE,
        finalize_trades=True,
    )
    return backtest.run(fast=parameters.fast, slow=parameters.slow)


def _trade(row: Any) -> dict[str, Any]:
    """Turn one row of the package's table of trades into columns of ours."""
    held = EURUSD.iloc[row.EntryBar : row.ExitBar]
    reached = [*held["Low"], *held["High"], row.ExitPrice]
    open_profits = [float(row.Size * (price - row.EntryPrice)) for price in reached]
    last_bar = len(EURUSD) - REPLAYED_CANDLES - 1
    return {
        "symbol": SYMBOL,
        "direction": "long" if row.Size > 0 else "short",
        "volume": abs(row.Size) / UNITS_PER_LOT,
        "entry_time": _utc(row.EntryTime),
        "entry_price": float(row.EntryPrice),
        "exit_time": _utc(row.ExitTime),
        "exit_price": float(row.ExitPrice),
        "exit_reason": "end of data" if row.ExitBar == last_bar else "crossover",
        "commission": float(row.Commission),
        "profit": float(row.PnL),
        "profit_pct": float(row.ReturnPct) * 100,
        "mae": min(0.0, *open_profits),
        "mfe": max(0.0, *open_profits),
    }


def _utc(time: Any) -> datetime:
    """Return a pandas timestamp, whose missing zone means UTC, as a datetime."""
    moment: datetime = time.to_pydatetime()
    return moment.replace(tzinfo=UTC)
