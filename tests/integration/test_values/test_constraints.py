"""The database itself refuses what came by another way than the models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, func, insert, literal_column, select, text, update

from hqt_async_db.errors import (
    CheckViolationError,
    DuplicateKeyError,
    ForeignKeyViolationError,
    NotNullViolationError,
    StaleRecordError,
)
from hqt_async_db.models import (
    AccountSnapshot,
    Backtest,
    BacktestTrade,
    Base,
    EdgeResult,
    FinanceMetric,
    LiveTrade,
    Notification,
    Optimization,
    OptimizationResult,
    PaperTrade,
    Strategy,
    User,
    UserSetting,
)
from hqt_async_db.models.types import Choice, utc_now

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager

RUN = {"symbol": "EURUSD", "timeframe": "H1"}
ORDER = {"account_id": "a", "client_order_id": "1", "symbol": "EURUSD", "direction": "long"}


def everything() -> User:
    """Return a user who owns one row of each table, trades and live money aside."""
    user = User(username="u", email="e", password_hash="h", settings=UserSetting())
    strategy = Strategy(user=user, name="s")
    span: dict[str, Any] = {"start_date": utc_now(), "end_date": utc_now()}
    backtest = Backtest(user=user, strategy=strategy, name="b", initial_capital=1, **RUN, **span)
    trade = {"symbol": "EURUSD", "direction": "long", "volume": 1, "entry_price": 1}
    backtest.trades.append(BacktestTrade(entry_time=utc_now(), **trade))
    backtest.account_snapshots.append(AccountSnapshot(account_id="b", balance=1, equity=1))
    backtest.finance_metrics.append(FinanceMetric(user=user, strategy=strategy))
    backtest.edge_results.append(EdgeResult(user=user, strategy=strategy))
    search = Optimization(user=user, strategy=strategy, name="o", **RUN)
    search.results.append(OptimizationResult(parameters={}))
    user.notifications.append(Notification(title="t", message="m"))
    return user


async def count_rows(db: DatabaseManager) -> dict[str, int]:
    async with db.session() as session:
        return {
            name: await session.scalar(select(func.count()).select_from(table)) or 0
            for name, table in Base.metadata.tables.items()
        }


async def test_every_closed_vocabulary_is_closed_in_the_database(db: DatabaseManager) -> None:
    async with db.session() as session:
        session.add(everything())
        session.add_all([LiveTrade(volume=1, **ORDER), PaperTrade(volume=1, **ORDER)])
    closed = [
        column
        for table in Base.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, Choice)
    ]
    assert len(closed) == 10
    for column in closed:
        for word in ("up", "LONG", "long ", ""):
            async with db.session() as session:
                smuggled = update(column.table).values({column.name: literal_column(f"'{word}'")})
                with pytest.raises(CheckViolationError):
                    await session.execute(smuggled)
                await session.rollback()


async def test_every_allowed_word_is_allowed_in_the_database(db: DatabaseManager) -> None:
    async with db.session() as session:
        session.add(everything())
        session.add_all([LiveTrade(volume=1, **ORDER), PaperTrade(volume=1, **ORDER)])
        await session.flush()
        for table in Base.metadata.tables.values():
            for column in table.columns:
                for word in column.type.vocabulary if isinstance(column.type, Choice) else ():
                    await session.execute(update(table).values({column.name: word}))


async def test_deleting_a_user_takes_the_research_along(db: DatabaseManager) -> None:
    async with db.session() as session:
        session.add(everything())
    before = await count_rows(db)
    assert {name for name, rows in before.items() if not rows} == {"live_trades", "paper_trades"}
    async with db.session() as session:
        await session.delete(await session.get_one(User, 1))
    assert set((await count_rows(db)).values()) == {0}


async def test_rows_deleted_in_bulk_take_theirs_along(db: DatabaseManager) -> None:
    async with db.session() as session:
        session.add(everything())
    async with db.session() as session:
        await session.execute(delete(Strategy))
    left = await count_rows(db)
    assert {name for name, rows in left.items() if rows} == {
        "users",
        "user_settings",
        "notifications",
    }


@pytest.mark.parametrize("kind", [LiveTrade, PaperTrade, AccountSnapshot])
async def test_a_user_with_money_cannot_be_deleted(
    kind: type[LiveTrade | PaperTrade | AccountSnapshot], db: DatabaseManager
) -> None:
    async with db.session() as session:
        user = everything()
        money: dict[str, Any] = {"account_id": "a", "balance": 1, "equity": 1}
        given = money if kind is AccountSnapshot else ORDER | {"volume": 1}
        session.add(kind(user=user, **given))
    before = await count_rows(db)
    async with db.session() as session:
        await session.delete(await session.get_one(User, 1))
        with pytest.raises(ForeignKeyViolationError):
            await session.flush()
        await session.rollback()
    assert await count_rows(db) == before


async def test_a_strategy_with_trades_cannot_be_deleted(db: DatabaseManager) -> None:
    async with db.session() as session:
        user = everything()
        session.add(LiveTrade(volume=1, strategy=user.strategies[0], **ORDER))
    async with db.session() as session:
        with pytest.raises(ForeignKeyViolationError):
            await session.execute(delete(Strategy))
        await session.rollback()


@pytest.mark.parametrize("kind", [LiveTrade, PaperTrade])
async def test_an_order_is_recorded_once(
    kind: type[LiveTrade | PaperTrade], db: DatabaseManager
) -> None:
    async with db.session() as session:
        session.add(kind(volume=1, **ORDER))
        session.add(kind(volume=1, **ORDER | {"account_id": "b"}))
    async with db.session() as session:
        with pytest.raises(DuplicateKeyError) as refusal:
            await session.execute(insert(kind), [{"volume": 1, **ORDER}])
        await session.rollback()
    assert refusal.value.columns == ("account_id", "client_order_id")


async def test_a_required_column_is_required_by_the_database(db: DatabaseManager) -> None:
    async with db.session() as session:
        with pytest.raises(NotNullViolationError):
            await session.execute(insert(User), [{"username": "u", "email": "e"}])
        await session.rollback()


async def test_a_user_has_one_row_of_settings(db: DatabaseManager) -> None:
    async with db.session() as session:
        session.add(everything())
    async with db.session() as session:
        session.add(UserSetting(user_id=1))
        with pytest.raises(DuplicateKeyError):
            await session.flush()
        await session.rollback()


async def test_a_stale_position_is_not_saved(db: DatabaseManager) -> None:
    async with db.session() as session:
        session.add(LiveTrade(id=1, volume=1, **ORDER))
    async with db.session() as session:
        stale = await session.get_one(LiveTrade, 1)
    async with db.session() as session:
        (await session.get_one(LiveTrade, 1)).status = "open"
    async with db.session() as session:
        session.add(stale)
        stale.status = "cancelled"
        with pytest.raises(StaleRecordError):
            await session.flush()
        await session.rollback()
    async with db.session() as session:
        row = await session.execute(text("SELECT status, version FROM live_trades"))
        assert tuple(row.one()) == ("open", 2)
