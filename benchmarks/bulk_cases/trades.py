"""A database that holds backtests with very many trades."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from hqt_async_db import (
    BacktestRepository,
    DatabaseManager,
    StrategyRepository,
    TradeRepository,
    UserRepository,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE: Final = "backtest_trades"
_BACKTESTS: Final = 100
_PIECE: Final = 20_000
_EPOCH: Final = datetime(2024, 1, 1, tzinfo=UTC)
_SYMBOLS: Final = ("EURUSD", "GBPUSD", "USDJPY", "AUDUSD", "XAUUSD", "BTCUSD")
_REASONS: Final = ("tp", "sl", "signal", None)


async def fill(url: str, rows: int, seed: int) -> None:
    """Make the schema, the backtests and so many trades of theirs."""
    async with DatabaseManager(url) as db:
        await db.create_all()
        await _add_backtests(db)
        trades = TradeRepository(db)
        for piece in _pieces(random.Random(seed), rows):
            await trades.create_many(piece)
        await db.optimize()


async def empty(db: DatabaseManager) -> None:
    """Take all trades out again."""
    verb = "TRUNCATE" if db.dialect_name == "postgresql" else "DELETE FROM"
    async with db.session() as session:
        await session.execute(text(f"{verb} {TABLE}"))


async def _add_backtests(db: DatabaseManager) -> None:
    row = {"username": "bench", "email": "b@x", "password_hash": "-"}
    owner = await UserRepository(db).create(**row)
    strategy = await StrategyRepository(db).create(user_id=owner.id, name="MA")
    run: dict[str, Any] = {"symbol": "EURUSD", "timeframe": "H1", "initial_capital": 10_000.0}
    span = {"start_date": _EPOCH, "end_date": _EPOCH + timedelta(days=365)}
    keys = {"user_id": owner.id, "strategy_id": strategy.id}
    await BacktestRepository(db).create_many(
        [{**keys, **run, **span, "name": f"run {number}"} for number in range(_BACKTESTS)]
    )


def _pieces(chance: random.Random, rows: int) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, rows, _PIECE):
        yield [_trade(chance, number) for number in range(start, min(start + _PIECE, rows))]


def _trade(chance: random.Random, number: int) -> dict[str, Any]:
    entry, profit = round(chance.uniform(0.9, 1.3), 5), round(chance.gauss(5, 80), 2)
    moment = _EPOCH + timedelta(seconds=37 * number, microseconds=chance.randrange(10**6))
    return {
        "backtest_id": number % _BACKTESTS + 1,
        "symbol": _SYMBOLS[number % len(_SYMBOLS)],
        "direction": "long" if number % 2 else "short",
        "volume": round(chance.uniform(0.01, 2), 2),
        "entry_time": moment,
        "entry_price": entry,
        "exit_time": moment + timedelta(hours=5),
        "exit_price": round(entry + profit / 1e4, 5),
        "exit_reason": _REASONS[number % len(_REASONS)],
        "stop_loss": round(entry - 0.005, 5) if number % 3 else None,
        "take_profit": round(entry + 0.01, 5) if number % 3 else None,
        "commission": 0.7,
        "swap": -0.1,
        "profit": profit,
        "profit_pct": profit / entry / 1e3,
        "mae": round(chance.uniform(-90, 0), 2),
        "mfe": round(chance.uniform(0, 90), 2),
    }
