"""Replay the newest candles to a trader, while other tasks read along.

All tasks share one event loop and one `DatabaseManager`. Each takes a
session, or makes a one-shot call, when it needs one; none of them ever holds
up another. `asyncio.TaskGroup` ends all of them if one fails.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossover.trader import ACCOUNT, Trader
from hqt_async_db import AccountSnapshotRepository, PaperTradeRepository

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from decimal import Decimal

    from crossover.research import Candle, Parameters
    from crossover.storing import Owner
    from hqt_async_db import DatabaseManager

LOOK_EVERY_S = 0.01
QUEUED_CANDLES = 10


@dataclass
class Watch:
    """How often watchers read while the trader wrote, and how long it took."""

    reads: int = 0
    slowest_ms: float = 0.0


async def trade_on_paper(
    db: DatabaseManager,
    owner: Owner,
    parameters: Parameters,
    candles: list[Candle],
    balance: Decimal,
) -> Watch:
    """Trade all candles but the first ones, which only warm the averages up."""
    watch = Watch()
    trader = Trader(db, owner, parameters, balance)
    trader.warm_up(candles[: parameters.slow])
    feed: asyncio.Queue[Candle | None] = asyncio.Queue(QUEUED_CANDLES)
    async with asyncio.TaskGroup() as tasks:
        trading = tasks.create_task(trader.run(feed), name="trader")
        tasks.create_task(_feed(feed, candles[parameters.slow :]), name="feed")
        for look in (_open_positions, _newest_equity, _drawdown):
            tasks.create_task(_watch(look, db, trading, watch), name=look.__name__)
    return watch


async def _feed(feed: asyncio.Queue[Candle | None], candles: list[Candle]) -> None:
    """Hand over the candles as fast as the trader takes them."""
    for candle in candles:
        await feed.put(candle)
    await feed.put(None)


async def _watch(
    look: Callable[[DatabaseManager], Awaitable[object]],
    db: DatabaseManager,
    trading: asyncio.Task[None],
    watch: Watch,
) -> None:
    """Read again and again until the trading is over."""
    while not trading.done():
        started = time.perf_counter()
        await look(db)
        watch.reads += 1
        watch.slowest_ms = max(watch.slowest_ms, (time.perf_counter() - started) * 1e3)
        await asyncio.sleep(LOOK_EVERY_S)


async def _open_positions(db: DatabaseManager) -> object:
    """Ask what is in the market now."""
    return await PaperTradeRepository(db).get_open(ACCOUNT)


async def _newest_equity(db: DatabaseManager) -> object:
    """Ask for the end of the equity curve, as plain rows instead of instances."""
    return await AccountSnapshotRepository(db).rows(
        "timestamp", "equity", account_id=ACCOUNT, order_by="-timestamp", limit=50
    )


async def _drawdown(db: DatabaseManager) -> object:
    """Ask for the largest drawdown so far; the database computes it."""
    return await AccountSnapshotRepository(db).max_drawdown(ACCOUNT)
