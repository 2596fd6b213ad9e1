"""Finding one row, many rows, and whether there are any."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, true
from sqlalchemy.orm import joinedload, selectinload

from hqt_async_db import (
    Backtest,
    BacktestRepository,
    InvalidInputError,
    MultipleRecordsFoundError,
    RecordNotFoundError,
    Strategy,
    StrategyRepository,
    TradeRepository,
    UnloadedRelationshipError,
    User,
    UserRepository,
)
from tests.integration.test_repository.samples import (
    OTHER_CONNECTIONS,
    add_backtest,
    add_strategy,
    add_user,
    trade_row,
    user_row,
    user_rows,
)

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager
    from tests.fixtures.managers import RecordStatements
    from tests.integration.test_repository.samples import Bind


async def test_one_row_is_found_by_key_by_name_or_not_at_all(bind: Bind) -> None:
    users = UserRepository(bind)
    user = await add_user(bind, "a")
    assert (await users.get_by_id(user.id)) is not None
    assert (await users.get_one(username="a")).id == user.id
    assert (await users.get_one(User.username == "a", is_active=True)).id == user.id
    assert await users.get_by_id(user.id + 1) is None
    assert await users.get_one_or_none(username="b") is None


async def test_one_that_must_exist_is_missed_by_name_not_by_value(bind: Bind) -> None:
    await UserRepository(bind).create_many(user_rows(2))
    with pytest.raises(RecordNotFoundError, match=r"User\(username=…, 1 criteria\)") as missing:
        await UserRepository(bind).get_one(true(), username="secret")
    assert "secret" not in str(missing.value)
    with pytest.raises(MultipleRecordsFoundError, match=r"more than one User\(password_hash=…\)"):
        await UserRepository(bind).get_one(password_hash="h")
    with pytest.raises(MultipleRecordsFoundError):
        await UserRepository(bind).get_one_or_none()


async def test_filters_mean_what_they_say(bind: Bind) -> None:
    users = UserRepository(bind)
    await users.create_many([user_row("a"), user_row("b", full_name="B"), user_row("c")])

    async def names(**filters: Any) -> list[str]:
        return [user.username for user in await users.get_many(**filters)]

    assert await names(full_name=None) == ["a", "c"]
    assert await names(full_name="B") == ["b"]
    assert await names(username=["a", "b", "x"]) == ["a", "b"]
    assert await names(username={"c"}) == ["c"]
    assert await names(username=()) == []
    assert await names(full_name=["B", None]) == ["a", "b", "c"]
    assert await names(full_name=[None]) == ["a", "c"]
    assert await names(username="a", full_name="B") == []
    assert await names(username="A") == []  # capitals count on every backend
    assert await names(username=func.lower("A")) == ["a"]


async def test_slices_counts_and_existence(bind: Bind) -> None:
    users = UserRepository(bind)
    await users.create_many(user_rows(5))
    names = [user.username for user in await users.get_all(limit=2, offset=1)]
    assert names == ["u00001", "u00002"]
    assert [user.username for user in await users.get_all(offset=4)] == ["u00004"]
    assert await users.get_all(limit=0) == []
    some, total = await users.get_many_and_count(User.username > "u00001", limit=1)
    assert ([user.username for user in some], total) == (["u00002"], 3)
    assert await users.count() == 5
    assert await users.count(username=["u00000", "u00004"]) == 2
    assert await users.exists(username="u00000")
    assert not await users.exists(User.id < 0)


async def test_each_read_is_one_statement(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    users = UserRepository(bind)
    user = await add_user(bind)
    with statements(db) as sent:
        await users.get_by_id(user.id)
        await users.get_one(username="trader")
        await users.get_one_or_none(username="trader")
        await users.get_all()
        await users.get_many(User.id > 0, order_by="-username", limit=3)
        await users.page()
        await users.rows("id")
        await users.exists(username="trader")
        await users.count()
        assert len(sent) == 9
        await users.get_many_and_count()
    assert len(sent) == 11


@pytest.mark.parametrize("count", [1, 1000])
async def test_relationships_cost_a_statement_per_500_rows_not_one_per_row(
    db: DatabaseManager, statements: RecordStatements, count: int
) -> None:
    await UserRepository(db).create_many(user_rows(count))
    owners = [user.id for user in await UserRepository(db).get_all()]
    await StrategyRepository(db).create_many([{"user_id": owner, "name": "s"} for owner in owners])
    with statements(db) as sent:
        users = await UserRepository(db).get_all(load=(User.strategies,))
    assert len(sent) == 1 + -(-count // 500)
    assert all(user.strategies[0].name == "s" for user in users)


async def test_backtests_come_with_their_trades(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    strategy = await add_strategy(bind, await add_user(bind))
    for number in range(3):
        backtest = await add_backtest(bind, strategy)
        rows = [trade_row(backtest, hour, 1.0) for hour in range(number)]
        await TradeRepository(bind).create_many(rows)
    with statements(db) as sent:
        found = await BacktestRepository(bind).get_by_user(
            strategy.user_id, order_by="id", load=(Backtest.trades, Backtest.strategy)
        )
    assert len(sent) <= 3
    assert [len(backtest.trades) for backtest in found] == [0, 1, 2]
    assert {backtest.strategy.name for backtest in found} == {"MA"}


async def test_loader_options_load_paths_of_several_steps(db: DatabaseManager) -> None:
    strategy = await add_strategy(db, await add_user(db))
    await add_backtest(db, strategy)
    path = selectinload(User.strategies).selectinload(Strategy.backtests)
    user = (await UserRepository(db).get_all(load=(path,)))[0]
    assert user.strategies[0].backtests[0].symbol == "EURUSD"
    joined = await UserRepository(db).page(load=(joinedload(User.strategies),), limit=5)
    assert joined.items[0].strategies[0].name == "MA"
    with pytest.raises(UnloadedRelationshipError, match=r"User\.backtests is not loaded"):
        _ = joined.items[0].backtests


async def test_a_row_is_locked_alone_where_others_are_loaded_beside_it(db: DatabaseManager) -> None:
    user = await add_user(db)
    async with db.session() as session:
        found = await UserRepository(session).get_by_id(
            user.id, load=(joinedload(User.settings),), for_update=True
        )
        assert found is not None
        assert found.settings is None


async def test_a_key_of_0_is_a_key(bind: Bind) -> None:
    users = UserRepository(bind)
    assert (await users.create(id=0, **user_row("zero"))).id == 0
    await users.create_many([user_row("next")])
    found = await users.get_by_id(0)
    assert found is not None
    assert found.username == "zero"
    assert await users.count(User.id > 0) == 1


async def test_rows_are_locked_until_the_session_ends(db: DatabaseManager) -> None:
    user = await add_user(db)
    order: list[str] = []

    async def rename(name: str, hold: asyncio.Event) -> None:
        async with db.session() as session:
            locked = await UserRepository(session).get_by_id(user.id, for_update=True)
            assert locked is not None
            order.append(f"{name} sees {locked.full_name}")
            await hold.wait()
            await UserRepository(session).update(locked, full_name=name)

    first, second = asyncio.Event(), asyncio.Event()
    second.set()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(rename("first", first))
        await asyncio.sleep(0.05)
        tasks.create_task(rename("second", second))
        await asyncio.sleep(0.05)
        first.set()
    assert order == ["first sees None", "second sees first"]


@OTHER_CONNECTIONS
async def test_a_locked_read_refreshes_what_the_session_holds(db: DatabaseManager) -> None:
    user = await add_user(db)
    async with db.session() as session:
        held = await UserRepository(session).get_one(username="trader")
        await UserRepository(db).update(user, full_name="new")
        again = await UserRepository(session).get_many(username="trader", for_update=True)
        assert again == [held]
        assert held.full_name == "new"


async def test_there_is_nothing_to_lock_without_a_session(
    db: DatabaseManager, statements: RecordStatements
) -> None:
    users = UserRepository(db)
    with statements(db) as sent:
        for read in (users.get_by_id(1, for_update=True), users.get_many(for_update=True)):
            with pytest.raises(InvalidInputError, match="bound to a session") as refused:
                await read
            assert refused.value.field == "for_update"
    assert sent == []


@OTHER_CONNECTIONS
async def test_a_session_sees_its_own_rows_and_others_do_not(db: DatabaseManager) -> None:
    async with db.session() as session:
        user = await add_user(session)
        assert await UserRepository(session).exists(id=user.id)
        assert not await UserRepository(db).exists(id=user.id)
