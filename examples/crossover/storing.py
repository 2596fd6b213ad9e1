"""Store what research found out.

Each function below takes a session and writes what belongs together; who
calls it decides what is one transaction. Running the demo again finds the
user, the settings and the strategy by their natural keys, and replaces the
backtests and the optimisation of the same name: their trades, snapshots and
figures go with them, because the schema's foreign keys say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossover.metrics import of_account
from crossover.research import (
    CURRENCY,
    FAST_PERIODS,
    FIRST_GUESS,
    INITIAL_CAPITAL,
    OBJECTIVE,
    SLOW_PERIODS,
    SYMBOL,
    TIMEFRAME,
    best_of,
)
from hqt_async_db import (
    AccountMode,
    AccountSnapshotRepository,
    BacktestRepository,
    EdgeResultRepository,
    FinanceMetricRepository,
    NotificationLevel,
    NotificationRepository,
    OptimizationRepository,
    OptimizationResultRepository,
    PaperTradeRepository,
    StrategyRepository,
    TradeRepository,
    TradeStatus,
    UserRepository,
    UserSettingRepository,
)

if TYPE_CHECKING:
    from crossover.research import BacktestRun, TriedParameters
    from hqt_async_db import Backtest, Optimization, Session

NO_LOGIN = "!"  # no hash equals it, so nobody can log in as the demo's user
RESULT_COLUMNS = (
    *("total_return", "sharpe_ratio", "max_drawdown"),
    *("profit_factor", "win_rate", "total_trades"),
)


@dataclass(frozen=True)
class Owner:
    """Whose research it is."""

    user_id: int
    strategy_id: int


async def store_owner(session: Session) -> Owner:
    """Find or create the user, the settings and the strategy."""
    user, _ = await UserRepository(session).get_or_create(
        username="demo",
        defaults={
            "email": "demo@example.com",
            "password_hash": NO_LOGIN,
            "full_name": "Demo Trader",
        },
    )
    await UserSettingRepository(session).upsert(
        ["user_id"],
        user_id=user.id,
        default_symbol=SYMBOL,
        default_timeframe=TIMEFRAME,
        risk_per_trade=2.0,
        settings={"chart": {"type": "candles", "averages": FIRST_GUESS.as_dict()}},
    )
    strategy, _ = await StrategyRepository(session).get_or_create(
        user_id=user.id,
        name="MA crossover",
        defaults={
            "description": "Long while the fast average is above the slow one, else short",
            "class_name": "crossover.research.MovingAverageCrossover",
            "parameters": FIRST_GUESS.as_dict(),
        },
    )
    return Owner(user.id, strategy.id)


async def store_backtest(session: Session, owner: Owner, run: BacktestRun) -> Backtest:
    """Store one backtest with its trades, its equity curve and its figures."""
    name = f"{SYMBOL} {TIMEFRAME} MA crossover {run.parameters}"
    backtests = BacktestRepository(session)
    await backtests.delete_many(user_id=owner.user_id, name=name)
    backtest = await backtests.create(
        user_id=owner.user_id,
        strategy_id=owner.strategy_id,
        name=name,
        symbol=SYMBOL,
        timeframe=TIMEFRAME,
        start_date=run.start,
        end_date=run.end,
        parameters=run.parameters.as_dict(),
        initial_capital=INITIAL_CAPITAL,
    )
    await backtests.complete(backtest, **run.metrics)
    await TradeRepository(session).create_many(
        {"backtest_id": backtest.id, **trade} for trade in run.trades
    )
    await _store_equity(session, backtest, run)
    await _store_figures(session, backtest, run)
    found = f"{backtest.total_trades} trades, return {backtest.total_return:+.2f} %"
    await _notify(session, backtest, found)
    return backtest


async def _store_equity(session: Session, backtest: Backtest, run: BacktestRun) -> None:
    await AccountSnapshotRepository(session).create_many(
        {
            "user_id": backtest.user_id,
            "backtest_id": backtest.id,
            "account_id": f"backtest-{run.parameters}",
            "mode": AccountMode.BACKTEST,
            "timestamp": time,
            "currency": CURRENCY,
            "balance": equity,
            "equity": equity,
        }
        for time, equity in run.equity
    )


async def _store_figures(session: Session, backtest: Backtest, run: BacktestRun) -> None:
    about = {
        "user_id": backtest.user_id,
        "strategy_id": backtest.strategy_id,
        "backtest_id": backtest.id,
        "symbol": SYMBOL,
        "timeframe": TIMEFRAME,
        "period_start": run.start,
        "period_end": run.end,
    }
    await FinanceMetricRepository(session).create(**about, **run.finance)
    await EdgeResultRepository(session).create(**about, name="profit per trade", **run.edge)


async def _notify(session: Session, about: Backtest | Optimization, message: str) -> None:
    await NotificationRepository(session).get_or_create(
        user_id=about.user_id,
        category="research",
        title=f"{about.name} is done",
        defaults={"level": NotificationLevel.INFO, "message": message},
    )


async def store_optimization(
    session: Session, owner: Owner, tried: list[TriedParameters], run: BacktestRun
) -> Optimization:
    """Store the search through the grid with every combination it tried."""
    name = f"{SYMBOL} {TIMEFRAME} MA crossover grid"
    best = best_of(tried)
    optimizations = OptimizationRepository(session)
    await optimizations.delete_many(user_id=owner.user_id, name=name)
    optimization = await optimizations.create(
        user_id=owner.user_id,
        strategy_id=owner.strategy_id,
        name=name,
        symbol=SYMBOL,
        timeframe=TIMEFRAME,
        start_date=run.start,
        end_date=run.end,
        objective=OBJECTIVE,
        parameter_space={"fast_period": list(FAST_PERIODS), "slow_period": list(SLOW_PERIODS)},
        total_combinations=len(tried),
    )
    await OptimizationResultRepository(session).create_many(
        {
            "optimization_id": optimization.id,
            "parameters": one.parameters.as_dict(),
            "score": one.metrics[OBJECTIVE],
            **{column: one.metrics[column] for column in RESULT_COLUMNS},
            "metrics": one.metrics,
        }
        for one in tried
    )
    await _notify(session, optimization, f"the best of {len(tried)} is {best.parameters}")
    return await optimizations.complete(
        optimization,
        completed_combinations=len(tried),
        best_score=best.metrics[OBJECTIVE],
        best_parameters=best.parameters.as_dict(),
    )


async def store_account_figures(session: Session, owner: Owner, account_id: str) -> None:
    """Store the figures of the paper account, or bring those of an earlier run up to date."""
    snapshots = await AccountSnapshotRepository(session).rows(
        "timestamp", "equity", account_id=account_id, order_by="timestamp"
    )
    closed = await PaperTradeRepository(session).rows(
        "profit", account_id=account_id, status=TradeStatus.CLOSED, order_by="exit_time"
    )
    figures = of_account(
        [float(snapshot.equity) for snapshot in snapshots],
        [float(trade.profit) for trade in closed],
    )
    repository = FinanceMetricRepository(session)
    metric, _ = await repository.get_or_create(
        user_id=owner.user_id, strategy_id=owner.strategy_id, account_id=account_id
    )
    await repository.update(
        metric,
        symbol=SYMBOL,
        timeframe=TIMEFRAME,
        period_start=snapshots[0].timestamp,
        period_end=snapshots[-1].timestamp,
        **figures,
    )
