"""No verb keeps the event loop busy for long, however many rows it has to do with."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.orm import joinedload

from hqt_async_db import (
    Backtest,
    BacktestRepository,
    PaperTradeRepository,
    TradeRepository,
    UserRepository,
)
from tests.integration.steps import longest_step_ms
from tests.integration.test_repository.samples import (
    ORDER,
    add_backtest,
    add_strategy,
    add_user,
    trade_row,
    user_rows,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hqt_async_db import DatabaseManager

ROWS = 2000
# A step aims at less than one; other processes and a cold cache make some longer.
STEP_MS = 10.0
SHORT_MS = 4.0
ATTEMPTS = 3

pytestmark = [
    pytest.mark.backends("sqlite-file", "postgresql", "mariadb"),
    pytest.mark.timeout(60),
]


async def _sleep_and_work(seconds: float) -> None:
    await asyncio.sleep(seconds)
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


async def test_one_long_step_is_noticed() -> None:
    longest, total = await longest_step_ms(_sleep_and_work(0.02))
    assert 20 <= longest <= total < 40


async def _assert_short(
    what: str, work: Callable[[], Awaitable[Any]], report: dict[str, str]
) -> None:
    """Report what takes a long step every time; a busy machine makes one long by chance."""
    for _ in range(ATTEMPTS):
        longest, total = await longest_step_ms(work())
        if longest <= min(STEP_MS, max(SHORT_MS, total / 4)):
            return
    report[what] = f"{longest:.1f} ms at once, of {total:.1f} ms"


async def _drain(stream: Any) -> None:
    async with stream as rows:
        async for _ in rows:
            pass


async def _read_in_session(db: DatabaseManager, backtest_id: int) -> None:
    async with db.session() as session:
        await TradeRepository(session).get_many(backtest_id=backtest_id, limit=ROWS)


async def test_many_rows_are_done_in_steps(db: DatabaseManager) -> None:
    await db.warm_up()
    users, trades = UserRepository(db), TradeRepository(db)
    backtest = await add_backtest(db, await add_strategy(db, await add_user(db)))
    positions = PaperTradeRepository(db)
    key = ["account_id", "client_order_id"]
    orders = [{"account_id": "a", "client_order_id": f"{n}", **ORDER} for n in range(ROWS)]
    await users.create_many(user_rows(2))
    await positions.upsert_many(orders[:2], key)
    too_long: dict[str, str] = {}
    rows = [trade_row(backtest, number, 1.0) for number in range(ROWS)]
    fresh = iter([user_rows((n + 1) * ROWS)[n * ROWS + 2 :] for n in range(ATTEMPTS)])
    work: dict[str, Callable[[], Awaitable[Any]]] = {
        "create_many": lambda: trades.create_many(rows),
        "create_many returning": lambda: users.create_many(next(fresh), returning=True),
        "upsert_many": lambda: positions.upsert_many(orders, key),
        "get_many": lambda: trades.get_many(backtest_id=backtest.id, limit=ROWS),
        "rows": lambda: trades.rows(limit=ROWS),
        "rows as dicts": lambda: trades.rows(limit=ROWS, as_dicts=True),
        "page": lambda: trades.page(limit=ROWS),
        "get_many in a session": lambda: _read_in_session(db, backtest.id),
        "stream": lambda: _drain(trades.stream()),
        "stream of instances": lambda: _drain(trades.stream(entities=True)),
    }
    for what, once in work.items():
        await _assert_short(what, once, too_long)
    assert too_long == {}


@pytest.mark.backends("postgresql")
async def test_what_a_driver_encodes_by_the_half_megabyte_is_encoded_in_steps(
    db: DatabaseManager,
) -> None:
    await db.warm_up()
    backtest = await add_backtest(db, await add_strategy(db, await add_user(db)))
    rows = [trade_row(backtest, number, 1.0) for number in range(5 * ROWS)]
    trades = TradeRepository(db)
    longest = [(await longest_step_ms(trades.create_many(rows)))[0] for _ in range(ATTEMPTS)]
    assert min(longest) < SHORT_MS


async def test_a_thousand_relatives_are_loaded_in_steps(db: DatabaseManager) -> None:
    await db.warm_up()
    strategy = await add_strategy(db, await add_user(db))
    for _ in range(10):
        backtest = await add_backtest(db, strategy)
        await TradeRepository(db).create_many([trade_row(backtest, n, 1.0) for n in range(300)])
    backtests = BacktestRepository(db)
    too_long: dict[str, str] = {}
    for load in (Backtest.trades, joinedload(Backtest.trades)):
        await backtests.get_all(limit=1, load=(load,))
        await _assert_short(f"{load}", partial(backtests.get_all, load=(load,)), too_long)
    assert too_long == {}


async def test_rows_are_checked_in_steps(db: DatabaseManager) -> None:
    users = UserRepository(db)
    wrong = [*user_rows(ROWS), {"username": 5}]
    work = asyncio.gather(users.create_many(iter(wrong)), return_exceptions=True)
    longest, total = await longest_step_ms(work)
    assert total > 4 * longest
    assert longest < STEP_MS
