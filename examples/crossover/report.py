"""Read the results back from the database, and lay them out as tables."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from crossover.metrics import drawdown_pct
from crossover.picture import Curve
from crossover.research import CURRENCY
from crossover.trader import ACCOUNT
from hqt_async_db import (
    AccountSnapshot,
    AccountSnapshotRepository,
    BacktestRepository,
    EdgeResultRepository,
    FinanceMetricRepository,
    LiveTradeRepository,
    NotificationRepository,
    OptimizationRepository,
    OptimizationResultRepository,
    PaperTradeRepository,
    StrategyRepository,
    TradeRepository,
    UserRepository,
    UserSettingRepository,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import ColumnElement

    from crossover.paper import Watch
    from hqt_async_db import DatabaseManager, OptimizationResult, PaperTrade
    from hqt_async_db.monitor import StallReport

REPOSITORIES = (
    UserRepository,
    UserSettingRepository,
    StrategyRepository,
    BacktestRepository,
    TradeRepository,
    OptimizationRepository,
    OptimizationResultRepository,
    FinanceMetricRepository,
    EdgeResultRepository,
    AccountSnapshotRepository,
    PaperTradeRepository,
    LiveTradeRepository,
    NotificationRepository,
)
BEST_SHOWN = 5


@dataclass(frozen=True)
class Performance:
    """One account as a trader looks at it; the profits are those of closed trades."""

    curve: Curve
    profits: list[float]

    @property
    def winners(self) -> list[float]:
        """Return the profits above zero."""
        return [profit for profit in self.profits if profit > 0]

    @property
    def losers(self) -> list[float]:
        """Return the profits below zero."""
        return [profit for profit in self.profits if profit < 0]


async def count_rows(db: DatabaseManager) -> dict[str, int]:
    """Return the rows of each table; the tables are counted at the same time."""
    counts = await asyncio.gather(*(repository(db).count() for repository in REPOSITORIES))
    names = [repository(db).model.__tablename__ for repository in REPOSITORIES]
    return dict(zip(names, counts, strict=True))


async def read_curve(db: DatabaseManager, label: str, of: ColumnElement[bool]) -> Curve:
    """Stream an equity curve: thousands of rows, and the loop stays responsive."""
    curve = Curve(label, [], [])
    snapshots = AccountSnapshotRepository(db).stream(
        of, columns=("timestamp", "equity"), order_by="timestamp"
    )
    async with snapshots as rows:
        async for row in rows:
            curve.times.append(row.timestamp)
            curve.equity.append(float(row.equity))
    return curve


async def read_backtest(db: DatabaseManager, label: str, backtest_id: int) -> Performance:
    """Return a backtest's curve and the profits of its trades."""
    trades = TradeRepository(db)
    winners = await trades.get_winning_trades(backtest_id)
    losers = await trades.get_losing_trades(backtest_id)
    curve = await read_curve(db, label, AccountSnapshot.backtest_id == backtest_id)
    return Performance(curve, [trade.profit or 0.0 for trade in winners + losers])


async def read_paper_account(db: DatabaseManager, label: str) -> Performance:
    """Return the paper account's curve and the profits of its closed trades."""
    curve = await read_curve(db, label, AccountSnapshot.account_id == ACCOUNT)
    profits = [trade.profit for trade in await paper_trades(db)]
    return Performance(curve, [float(profit) for profit in profits if profit is not None])


async def paper_trades(db: DatabaseManager) -> list[PaperTrade]:
    """Return what the bot traded, oldest first."""
    return await PaperTradeRepository(db).get_many(account_id=ACCOUNT, order_by="entry_time")


async def best_results(db: DatabaseManager, optimization_id: int) -> list[OptimizationResult]:
    """Return the combinations with the highest scores."""
    return await OptimizationResultRepository(db).get_best(optimization_id, BEST_SHOWN)


def performance_table(accounts: list[Performance]) -> Table:
    """Lay backtests and paper account side by side."""
    table = _table("Winners and losers", f"money in {CURRENCY}")
    for account in accounts:
        table.add_column(account.curve.label, justify="right")
    rows: dict[str, Callable[[Performance], str]] = {
        "candles": lambda account: f"{len(account.curve.times):,}",
        "closed trades": lambda account: str(len(account.profits)),
        "winners": lambda account: str(len(account.winners)),
        "losers": lambda account: str(len(account.losers)),
        "best trade": lambda account: f"{max(account.profits):+,.2f}",
        "worst trade": lambda account: f"{min(account.profits):+,.2f}",
        "first equity": lambda account: f"{account.curve.equity[0]:,.2f}",
        "final equity": lambda account: f"{account.curve.equity[-1]:,.2f}",
        "largest drawdown": lambda account: f"{min(drawdown_pct(account.curve.equity)):.2f} %",
    }
    for name, cell in rows.items():
        table.add_row(name, *map(cell, accounts))
    return table


def parameters_table(results: list[OptimizationResult], tried: int) -> Table:
    """List the best combinations that the grid found."""
    table = _table(f"Best parameters of {tried} combinations tried", "periods")
    for heading in ("Sharpe", "return", "drawdown", "profit factor", "trades", "win rate"):
        table.add_column(heading, justify="right")
    for result in results:
        table.add_row(
            f"{result.parameters['fast_period']}/{result.parameters['slow_period']}",
            _shown(result.sharpe_ratio, "{:.2f}"),
            _shown(result.total_return, "{:+.2f} %"),
            _shown(result.max_drawdown, "{:.2f} %"),
            _shown(result.profit_factor, "{:.2f}"),
            _shown(result.total_trades, "{}"),
            _shown(result.win_rate, "{:.1f} %"),
        )
    return table


def rows_table(counts: dict[str, int]) -> Table:
    """List how many rows each table holds."""
    table = _table("Rows in the database", "table")
    table.add_column("rows", justify="right")
    for name, count in counts.items():
        table.add_row(name, f"{count:,}")
    table.add_section()
    table.add_row("total", f"{sum(counts.values()):,}")
    return table


def paper_trades_table(trades: list[PaperTrade]) -> Table:
    """List what the bot traded; an open position has no exit yet."""
    table = _table("Trades of the bot", "opened")
    table.add_column("closed")
    table.add_column("side")
    for heading in ("entry", "exit", "costs", "profit"):
        table.add_column(heading, justify="right")
    for trade in trades:
        table.add_row(
            _shown(trade.entry_time, "{:%d %b %H:%M}"),
            _shown(trade.exit_time, "{:%d %b %H:%M}"),
            trade.direction,
            _shown(trade.entry_price, "{:.5f}"),
            _shown(trade.exit_price, "{:.5f}"),
            f"{trade.commission:.2f}",
            _shown(trade.profit, "{:+.2f}"),
        )
    return table


def stalls_table(whole: StallReport, trading: StallReport, watch: Watch) -> Table:
    """Tell how long the event loop ever kept other tasks waiting."""
    table = _table("How long the event loop was ever stalled", "milliseconds")
    for heading in ("longest", "99.9 %", "99 %", "own CPU", "measured"):
        table.add_column(heading, justify="right")
    for name, stalls in (("while trading", trading), ("whole run", whole)):
        table.add_row(
            name,
            f"{stalls.max_stall_ms:.1f}",
            f"{stalls.p999_ms:.1f}",
            f"{stalls.p99_ms:.1f}",
            f"{stalls.max_cpu_ms:.1f}",
            f"{stalls.duration_s:.1f} s",
        )
    table.add_section()
    table.add_row("slowest read", f"{watch.slowest_ms:.1f}", "", "", "", f"{watch.reads:,} reads")
    table.caption = "own CPU: the work of the loop itself; the rest is waiting"
    table.caption_justify = "left"
    return table


def _table(title: str, first_column: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.add_column(first_column)
    return table


def _shown(value: object, form: str) -> str:
    return "-" if value is None else form.format(value)
