"""Every query that a repository offers goes through an index."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event

from hqt_async_db import (
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
from tests.integration.test_repository.samples import at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from hqt_async_db import DatabaseManager

Calls = list["Callable[[], Awaitable[Any]]"]
pytestmark = pytest.mark.backends("sqlite-memory")


def calls_of(db: DatabaseManager) -> dict[str, Calls]:
    """Return the queries of every repository, those that read a whole table aside."""
    calls = {
        "users": _user_calls(UserRepository(db), UserSettingRepository(db)),
        "strategies": _strategy_calls(StrategyRepository(db)),
        "trades": _trade_calls(TradeRepository(db)),
        "results": _result_calls(OptimizationResultRepository(db)),
        "snapshots": _snapshot_calls(AccountSnapshotRepository(db)),
        "notifications": _notification_calls(NotificationRepository(db)),
    }
    for research in (FinanceMetricRepository(db), EdgeResultRepository(db)):
        calls[f"research {research.model.__name__}"] = _research_calls(research)
    for runs in (BacktestRepository(db), OptimizationRepository(db)):
        calls[f"runs {runs.model.__name__}"] = _run_calls(runs)
    for positions in (LiveTradeRepository(db), PaperTradeRepository(db)):
        calls[f"positions {positions.model.__name__}"] = _position_calls(positions)
    return calls


def _user_calls(users: UserRepository, settings: UserSettingRepository) -> Calls:
    return [
        lambda: users.get_by_id(1),
        lambda: users.get_by_username("a"),
        lambda: users.get_by_email("a"),
        lambda: users.get_active(limit=5),
        lambda: users.deactivate_many([1, 2]),
        lambda: users.page(order_by="username", limit=5),
        lambda: settings.get_by_user(1),
        lambda: settings.get_value(1, "a"),
    ]


def _strategy_calls(strategies: StrategyRepository) -> Calls:
    return [
        lambda: strategies.get_by_user(1),
        lambda: strategies.get_by_name("a"),
        lambda: strategies.get_by_name("a", user_id=1),
        strategies.get_active,
        lambda: strategies.get_active(user_id=1),
    ]


def _trade_calls(trades: TradeRepository) -> Calls:
    return [
        lambda: trades.get_by_backtest(1),
        lambda: trades.get_by_backtest(1, symbol="E"),
        lambda: trades.get_by_symbol("E"),
        lambda: trades.get_winning_trades(1),
        lambda: trades.get_losing_trades(1),
        lambda: trades.get_open_trades(1),
        lambda: trades.statistics(1),
    ]


def _result_calls(results: OptimizationResultRepository) -> Calls:
    return [lambda: results.get_by_optimization(1), lambda: results.get_best(1)]


def _snapshot_calls(snapshots: AccountSnapshotRepository) -> Calls:
    return [
        lambda: snapshots.get_by_account("a", start=at(0), end=at(1)),
        lambda: snapshots.get_by_backtest(1),
        lambda: snapshots.get_by_user(1),
        lambda: snapshots.get_latest("a"),
        lambda: snapshots.get_latest_per_account(user_id=1),
        lambda: snapshots.equity_curve("a", start=at(0)),
        lambda: snapshots.max_drawdown("a"),
    ]


def _notification_calls(notes: NotificationRepository) -> Calls:
    return [
        lambda: notes.get_by_user(1),
        lambda: notes.get_unread(1),
        lambda: notes.get_by_level("error"),
        lambda: notes.count_unread(1),
        lambda: notes.mark_all_read(1),
        lambda: notes.delete_read(1, at(0)),
    ]


def _research_calls(research: Any) -> Calls:
    own: Calls = (
        [lambda: research.get_by_account("a")]
        if isinstance(research, FinanceMetricRepository)
        else [lambda: research.get_significant(1)]
    )
    return [
        *own,
        lambda: research.get_by_user(1),
        lambda: research.get_by_strategy(1),
        lambda: research.get_by_backtest(1),
        lambda: research.get_by_symbol("E"),
        lambda: research.get_by_symbol("E", timeframe="H1"),
        lambda: research.get_latest(1),
    ]


def _run_calls(runs: Any) -> Calls:
    calls: Calls = [
        lambda: runs.get_by_user(1),
        lambda: runs.get_by_strategy(1),
        lambda: runs.get_by_symbol("E"),
        lambda: runs.get_by_symbol("E", timeframe="H1"),
        lambda: runs.get_by_status("failed"),
    ]
    if isinstance(runs, BacktestRepository):
        calls += [runs.leaderboard, lambda: runs.leaderboard(symbol="E")]
        return calls
    return [*calls, lambda: runs.advance(1)]


def _position_calls(positions: Any) -> Calls:
    return [
        lambda: positions.get_by_client_order_id("a", "1"),
        lambda: positions.get_by_venue_order_id("v"),
        lambda: positions.get_by_venue_order_id("v", account_id="a"),
        positions.get_open,
        lambda: positions.get_open("a"),
        lambda: positions.get_open("a", symbol="E"),
        positions.get_unfilled,
        lambda: positions.get_unfilled("a"),
        lambda: positions.get_closed("a", start=at(0)),
        lambda: positions.get_by_user(1),
        lambda: positions.get_by_strategy(1),
        lambda: positions.get_by_symbol("E"),
        lambda: positions.get_by_status("open"),
        lambda: positions.realised_profit("a"),
        lambda: positions.daily_profit("a", start=at(0), end=at(1)),
    ]


@contextmanager
def _sent_with_parameters(db: DatabaseManager) -> Iterator[list[tuple[str, Any]]]:
    sent: list[tuple[str, Any]] = []

    def record(_connection: object, _cursor: object, sql: str, parameters: Any, *_: object) -> None:
        sent.append((sql, parameters))

    event.listen(db.engine.sync_engine, "before_cursor_execute", record)
    yield sent
    event.remove(db.engine.sync_engine, "before_cursor_execute", record)


async def _plan(db: DatabaseManager, sql: str, parameters: Any) -> list[str]:
    async with db.engine.connect() as connection:
        rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters)
        return [row.detail for row in rows]


async def test_no_query_reads_a_whole_table(db: DatabaseManager) -> None:
    scans: dict[str, list[str]] = {}
    checked = 0
    for repository, calls in calls_of(db).items():
        for number, call in enumerate(calls):
            with _sent_with_parameters(db) as sent:
                await call()
            for sql, parameters in sent:
                checked += 1
                plan = await _plan(db, sql, parameters)
                reads = [step for step in plan if step.startswith("SCAN ")]
                through_index = [step for step in reads if " USING " in step or "subquery" in step]
                if len(through_index) < len(reads) or not plan:
                    scans[f"{repository} {number}"] = plan
    assert scans == {}
    assert checked > 90


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("newest of a user", lambda db: BacktestRepository(db).get_by_user(1, limit=5)),
        ("equity curve", lambda db: AccountSnapshotRepository(db).equity_curve("a")),
        ("last snapshot", lambda db: AccountSnapshotRepository(db).get_latest("a")),
        ("unread", lambda db: NotificationRepository(db).get_unread(1, limit=5)),
        ("trades", lambda db: TradeRepository(db).get_by_backtest(1, limit=5)),
        ("closed", lambda db: LiveTradeRepository(db).get_closed("a", limit=5)),
        ("best", lambda db: OptimizationResultRepository(db).get_best(1, limit=5)),
        ("page", lambda db: UserRepository(db).page(order_by="-username", limit=5)),
    ],
)
async def test_the_first_rows_need_no_sorting_of_all(
    db: DatabaseManager, name: str, call: Any
) -> None:
    with _sent_with_parameters(db) as sent:
        await call(db)
    plan = await _plan(db, *sent[-1])
    assert not [step for step in plan if "TEMP B-TREE" in step], (name, plan)


async def test_results_without_a_score_are_passed_over_in_the_index(db: DatabaseManager) -> None:
    with _sent_with_parameters(db) as sent:
        await OptimizationResultRepository(db).get_best(1)
    plan = await _plan(db, *sent[-1])
    assert any("(optimization_id=? AND score>?)" in step for step in plan), plan
