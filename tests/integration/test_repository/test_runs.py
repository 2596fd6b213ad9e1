"""Strategies, backtests, optimisations and what research makes of them."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from hqt_async_db import (
    BacktestRepository,
    EdgeResultRepository,
    FinanceMetricRepository,
    OptimizationRepository,
    OptimizationResultRepository,
    StrategyRepository,
    TradeRepository,
    TradeStatistics,
)
from tests.integration.test_repository.samples import (
    add_backtest,
    add_optimization,
    add_strategy,
    add_user,
    at,
    owned,
    trade_row,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hqt_async_db import DatabaseManager
    from tests.fixtures.managers import RecordStatements
    from tests.integration.test_repository.samples import Bind


def names(found: Iterable[Any]) -> list[str]:
    return [item.name for item in found]


async def test_strategies_by_user_name_and_activity(bind: Bind) -> None:
    strategies = StrategyRepository(bind)
    user, other = await add_user(bind), await add_user(bind, "other")
    made = [await add_strategy(bind, user, name) for name in ("RSI", "MA")]
    await add_strategy(bind, other, "MA")
    assert names(await strategies.get_by_user(user.id)) == ["MA", "RSI"]
    assert names(await strategies.get_by_user(user.id, order_by="id", limit=1)) == ["RSI"]
    assert [s.user_id for s in await strategies.get_by_name("MA")] == [user.id, other.id]
    assert [s.user_id for s in await strategies.get_by_name("MA", user_id=other.id)] == [other.id]
    assert await strategies.deactivate(made[0]) is made[0]
    assert names(await strategies.get_active(user_id=user.id)) == ["MA"]
    assert len(await strategies.get_active()) == 2
    await strategies.activate(made[0])
    assert len(await strategies.get_active()) == 3


@pytest.mark.parametrize("kind", ["backtest", "optimization"])
async def test_runs_are_found_newest_first(bind: Bind, kind: str) -> None:
    add: Any = add_backtest if kind == "backtest" else add_optimization
    runs: Any = (BacktestRepository if kind == "backtest" else OptimizationRepository)(bind)
    user = await add_user(bind)
    strategy, other = await add_strategy(bind, user), await add_strategy(bind, user, "RSI")
    await add(bind, strategy, name="old", created_at=at(1))
    await add(bind, strategy, name="new", created_at=at(3), timeframe="M5")
    await add(bind, other, name="mid", created_at=at(2), symbol="USDJPY", status="failed")
    assert names(await runs.get_by_user(user.id)) == ["new", "mid", "old"]
    assert names(await runs.get_by_strategy(strategy.id)) == ["new", "old"]
    assert names(await runs.get_by_symbol("EURUSD")) == ["new", "old"]
    assert names(await runs.get_by_symbol("EURUSD", timeframe="H1")) == ["old"]
    assert names(await runs.get_by_status("failed")) == ["mid"]
    assert names(await runs.get_by_status("pending", order_by="created_at")) == ["old", "new"]


async def test_runs_go_from_start_to_end(bind: Bind) -> None:
    backtests = BacktestRepository(bind)
    strategy = await add_strategy(bind, await add_user(bind))
    run = await add_backtest(bind, strategy)
    assert (run.status, run.started_at) == ("pending", None)
    await backtests.start(run)
    assert run.status == "running"
    assert run.started_at is not None
    await backtests.complete(run, total_return=15.0, sharpe_ratio=1.8)
    assert (run.status, run.total_return, run.error_message) == ("completed", 15.0, None)
    assert run.completed_at is not None
    assert run.completed_at >= run.started_at
    failed = await backtests.fail(await add_backtest(bind, strategy), "no prices")
    assert (failed.status, failed.error_message) == ("failed", "no prices")
    cancelled = await backtests.cancel(await add_backtest(bind, strategy))
    assert cancelled.status == "cancelled"
    moment = datetime(2024, 5, 1, tzinfo=UTC)
    late = await backtests.complete(await add_backtest(bind, strategy), completed_at=moment)
    assert late.completed_at == moment


async def test_the_leaderboard_knows_every_metric(bind: Bind) -> None:
    backtests = BacktestRepository(bind)
    strategy = await add_strategy(bind, await add_user(bind))
    for name, ratio, volatility in (("a", 1.0, 5.0), ("b", None, 1.0), ("c", 2.0, 9.0)):
        await add_backtest(
            bind, strategy, name=name, sharpe_ratio=ratio, volatility=volatility,
            status="completed", symbol="EURUSD" if name != "c" else "USDJPY",
        )  # fmt: skip
    await add_backtest(bind, strategy, name="running", sharpe_ratio=9.0, status="running")
    assert names(await backtests.leaderboard()) == ["c", "a"]
    assert names(await backtests.leaderboard(limit=1)) == ["c"]
    assert names(await backtests.leaderboard("volatility", ascending=True)) == ["b", "a", "c"]
    assert names(await backtests.leaderboard(symbol="EURUSD")) == ["a"]
    assert names(await backtests.leaderboard(status="running")) == ["running"]


async def test_trades_of_a_backtest(bind: Bind) -> None:
    trades = TradeRepository(bind)
    strategy = await add_strategy(bind, await add_user(bind))
    backtest, other = await add_backtest(bind, strategy), await add_backtest(bind, strategy)
    profits = [5.0, -2.0, None, 0.0, 1.5]
    rows = [trade_row(backtest, 9 - hour, profit) for hour, profit in enumerate(profits)]
    rows[2]["symbol"] = "USDJPY"
    for row in rows[:2]:
        row["exit_time"] = at(10)
    await trades.create_many([*rows, trade_row(other, 0, 9.0)])

    def profits_of(found: Iterable[Any]) -> list[float | None]:
        return [trade.profit for trade in found]

    assert profits_of(await trades.get_by_backtest(backtest.id)) == profits[::-1]
    assert profits_of(await trades.get_by_backtest(backtest.id, symbol="USDJPY")) == [None]
    assert profits_of(await trades.get_winning_trades(backtest.id)) == [1.5, 5.0]
    assert profits_of(await trades.get_losing_trades(backtest.id)) == [-2.0]
    assert profits_of(await trades.get_open_trades(backtest.id)) == [1.5, 0.0, None]
    assert profits_of(await trades.get_by_symbol("EURUSD")) == [9.0, 1.5, 0.0, -2.0, 5.0]
    best = await trades.get_winning_trades(backtest.id, order_by="-profit", limit=1)
    assert profits_of(best) == [5.0]


async def test_statistics_are_computed_by_the_database(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    trades = TradeRepository(bind)
    strategy = await add_strategy(bind, await add_user(bind))
    backtest, empty = await add_backtest(bind, strategy), await add_backtest(bind, strategy)
    profits = [5.0, -2.0, None, 0.0, 1.5]
    await trades.create_many([trade_row(backtest, i, profit) for i, profit in enumerate(profits)])
    with statements(db) as sent:
        figures = await trades.statistics(backtest.id)
    assert len(sent) == 1
    assert figures == TradeStatistics(
        total_trades=5, winning_trades=2, losing_trades=1, net_profit=4.5,
        gross_profit=6.5, gross_loss=-2.0, best_trade=5.0, worst_trade=-2.0,
    )  # fmt: skip
    assert (figures.profit_factor, figures.avg_win, figures.avg_loss) == (3.25, 3.25, -2.0)
    assert figures.win_rate == pytest.approx(200 / 3)
    nothing = await trades.statistics(empty.id)
    assert (nothing.total_trades, nothing.net_profit, nothing.best_trade) == (0, 0.0, None)
    assert nothing.profit_factor is nothing.win_rate is nothing.avg_win is nothing.avg_loss is None


@pytest.mark.backends("postgresql")
async def test_a_profit_that_is_nan_is_none(bind: Bind) -> None:
    trades = TradeRepository(bind)
    backtest = await add_backtest(bind, await add_strategy(bind, await add_user(bind)))
    profits = [5.0, math.nan, -2.0, 0.0, None, 5e-324]
    await trades.create_many([trade_row(backtest, i, profit) for i, profit in enumerate(profits)])
    assert await trades.statistics(backtest.id) == TradeStatistics(
        total_trades=6, winning_trades=2, losing_trades=1, net_profit=3.0,
        gross_profit=5.0, gross_loss=-2.0, best_trade=5.0, worst_trade=-2.0,
    )  # fmt: skip
    won = await trades.get_winning_trades(backtest.id)
    lost = await trades.get_losing_trades(backtest.id)
    assert ([one.profit for one in won], [one.profit for one in lost]) == ([5.0, 5e-324], [-2.0])


@pytest.mark.backends("postgresql")
async def test_what_could_not_be_computed_leads_no_ranking(bind: Bind) -> None:
    strategy = await add_strategy(bind, await add_user(bind))
    search = await add_optimization(bind, strategy)
    for name, value in (("a", 1.0), ("b", math.nan), ("c", math.inf), ("d", -math.inf)):
        await add_backtest(bind, strategy, name=name, sharpe_ratio=value, status="completed")
        await OptimizationResultRepository(bind).create(
            optimization_id=search.id, parameters={}, score=value
        )
    backtests = BacktestRepository(bind)
    assert names(await backtests.leaderboard()) == ["c", "a", "d"]
    assert names(await backtests.leaderboard(ascending=True)) == ["d", "a", "c"]
    best = await OptimizationResultRepository(bind).get_best(search.id)
    assert [result.score for result in best] == [math.inf, 1.0, -math.inf]


async def test_the_best_results_are_best_in_the_sense_of_the_search(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    results = OptimizationResultRepository(bind)
    strategy = await add_strategy(bind, await add_user(bind))
    scores = [1.0, None, 3.0, -2.0, 3.0]
    for maximize, expected in ((True, [3.0, 3.0, 1.0]), (False, [-2.0, 1.0, 3.0])):
        search = await add_optimization(bind, strategy, maximize=maximize)
        await results.create_many(
            [
                {"optimization_id": search.id, "parameters": {"n": n}, "score": score}
                for n, score in enumerate(scores)
            ]
        )
        with statements(db) as sent:
            best = await results.get_best(search.id, limit=3)
        assert len(sent) == 2
        assert [result.score for result in best] == expected
        stored = await results.get_by_optimization(search.id)
        assert [result.score for result in stored] == scores
        assert len(await results.get_best(search.id)) == 4
    assert await results.get_best(10**6) == []


async def test_many_workers_count_combinations(db: DatabaseManager) -> None:
    searches = OptimizationRepository(db)
    search = await add_optimization(db, await add_strategy(db, await add_user(db)))
    await asyncio.gather(*(searches.advance(search.id, 2) for _ in range(16)))
    [row] = await searches.rows("completed_combinations")
    assert row.completed_combinations == 32
    assert not await searches.advance(10**6)


@pytest.mark.parametrize("kind", [FinanceMetricRepository, EdgeResultRepository])
async def test_research_is_found_newest_first(bind: Bind, kind: Any) -> None:
    research = kind(bind)
    strategy = await add_strategy(bind, await add_user(bind))
    backtest = await add_backtest(bind, strategy)
    about = {**owned(strategy), "symbol": "EURUSD", "timeframe": "H1"}
    for hour, factor in ((1, 1.0), (3, 3.0), (2, 2.0)):
        await research.create(
            **about, backtest_id=backtest.id, profit_factor=factor, created_at=at(hour)
        )
    await research.create(profit_factor=9.0)

    async def factors(found: Any) -> list[float]:
        return [item.profit_factor for item in await found]

    assert await factors(research.get_by_user(strategy.user_id)) == [3.0, 2.0, 1.0]
    assert await factors(research.get_by_strategy(strategy.id, limit=1)) == [3.0]
    assert await factors(research.get_by_backtest(backtest.id)) == [3.0, 2.0, 1.0]
    assert await factors(research.get_by_symbol("EURUSD")) == [3.0, 2.0, 1.0]
    assert await factors(research.get_by_symbol("EURUSD", timeframe="M1")) == []
    latest = await research.get_latest(backtest.id)
    assert latest.profit_factor == 3.0
    assert await research.get_latest(10**6) is None


async def test_metrics_by_account_and_edges_that_are_significant(bind: Bind) -> None:
    metrics, edges = FinanceMetricRepository(bind), EdgeResultRepository(bind)
    strategy = await add_strategy(bind, await add_user(bind))
    for hour in (1, 2):
        await metrics.create(account_id="a", total_return=float(hour), created_at=at(hour))
    await metrics.create(account_id="b")
    assert [m.total_return for m in await metrics.get_by_account("a")] == [2.0, 1.0]
    for significant in (True, False, None):
        await edges.create(
            strategy_id=strategy.id, name=f"{significant}", is_significant=significant
        )
    assert names(await edges.get_significant(strategy.id)) == ["True"]
