"""The model's type goes from the repository to whoever awaits it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, assert_type

from sqlalchemy import Row
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hqt_async_db import (
    AccountSnapshotRepository,
    BacktestRepository,
    BaseRepository,
    DatabaseManager,
    LiveTrade,
    LiveTradeRepository,
    Page,
    Session,
    Strategy,
    StrategyRepository,
    TradeRepository,
    TradeStatistics,
    User,
    UserRepository,
)


class Base(DeclarativeBase):
    """Somebody else's base."""


class Fill(Base):
    """Somebody else's model."""

    __tablename__ = "fills"

    id: Mapped[int] = mapped_column(primary_key=True)


class FillRepository(BaseRepository[Fill]):
    """The model is the type argument."""


class OldFillRepository(BaseRepository[Fill]):
    """As users of the synchronous layer write it."""

    def __init__(self, session: Session) -> None:
        super().__init__(session, Fill)


async def one_row(db: DatabaseManager, session: Session) -> None:
    users = UserRepository(session)
    assert_type(await users.create(username="a"), User)
    assert_type(await users.get_by_id(1), User | None)
    assert_type(await users.get_one(username="a"), User)
    assert_type(await users.get_one_or_none(username="a"), User | None)
    assert_type(await users.get_by_username("a"), User | None)
    assert_type(await users.update(User(), full_name="A"), User)
    assert_type(await users.upsert(["username"], username="a"), User)
    assert_type(await users.get_or_create(username="a"), tuple[User, bool])
    assert_type(await FillRepository(db).get_by_id(1), Fill | None)
    assert_type(await OldFillRepository(session).get_all(), list[Fill])
    assert_type(await BaseRepository[Fill](db).get_all(), list[Fill])
    assert_type(await BaseRepository(db, Fill).get_all(), list[Fill])
    assert_type(FillRepository(db).model, type[Fill])


async def many_rows(db: DatabaseManager, *, returning: bool) -> None:
    users = UserRepository(db)
    assert_type(await users.get_all(), list[User])
    assert_type(await users.get_many(User.id > 1, username="a"), list[User])
    assert_type(await users.get_many_and_count(), tuple[list[User], int])
    page = await users.page()
    assert_type(page, Page[User])
    assert_type(page.items, list[User])
    assert_type(page.next_cursor, str | None)
    assert_type(await users.create_many([]), int)
    assert_type(await users.create_many([], returning=True), list[User])
    assert_type(await users.create_many([], returning=returning), int | list[User])
    assert_type(await users.upsert_many([], ["username"]), list[User])
    assert_type(await users.update_many(id=1, values={}), int)
    assert_type(await users.delete_many(id=1), int)
    assert_type(await users.count(), int)
    assert_type(await users.exists(), bool)


async def columns(db: DatabaseManager) -> None:
    users = UserRepository(db)
    assert_type(await users.rows("id"), list[Row[Any]])
    assert_type(await users.rows(User.id, as_dicts=True), list[dict[str, Any]])
    name: str = (await users.rows("username"))[0].username
    async with users.stream(columns=[User.username]) as rows:
        async for row in rows:
            name = row.username
    print(name)  # noqa: T201 - nothing runs this


async def queries(db: DatabaseManager) -> None:
    assert_type(
        await StrategyRepository(db).get_by_user(1, limit=5, order_by="-id"), list[Strategy]
    )
    assert_type(await StrategyRepository(db).get_active(load=(Strategy.user,)), list[Strategy])
    assert_type(await LiveTradeRepository(db).get_open("a"), list[LiveTrade])
    assert_type(await LiveTradeRepository(db).record("a", "1"), tuple[LiveTrade, bool])
    assert_type(await LiveTradeRepository(db).realised_profit("a"), Decimal)
    assert_type(await TradeRepository(db).statistics(1), TradeStatistics)
    assert_type(await AccountSnapshotRepository(db).max_drawdown("a"), float | None)
    await BacktestRepository(db).leaderboard("sharpe_ratio", limit=5, symbol="EURUSD")
