"""One row written through the manager: a transaction of its own, by primary key."""

from __future__ import annotations

import asyncio
import pickle
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import inspect

from hqt_async_db import (
    DuplicateKeyError,
    InvalidInputError,
    PaperTradeRepository,
    StaleRecordError,
    StrategyRepository,
    User,
    UserRepository,
    UserSettingRepository,
)
from tests.integration.test_repository.samples import (
    ORDER,
    OTHER_CONNECTIONS,
    add_strategy,
    add_user,
    user_row,
    user_rows,
)

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager
    from tests.fixtures.managers import RecordStatements


async def test_instances_are_detached_and_whole(db: DatabaseManager) -> None:
    users = UserRepository(db)
    made = await users.create(**user_row("a"))
    many = await users.create_many([user_row("b")], returning=True)
    upserted = await users.upsert(["username"], **user_row("c"))
    gotten, _ = await users.get_or_create(**user_row("d"))
    read = await users.get_all()
    for user in (made, *many, upserted, gotten, *read):
        state = inspect(user)
        assert state.detached
        assert not state.expired_attributes
        assert user.full_name is None
        assert user.updated_at is not None
        assert pickle.loads(pickle.dumps(user)).username == user.username  # noqa: S301 - our own


async def test_a_later_session_takes_them(db: DatabaseManager) -> None:
    user = await add_user(db)
    async with db.session() as session:
        session.add(user)
        user.full_name = "added"
    async with db.session() as session:
        merged = await session.merge(user)
        merged.email = "merged@x"
    stored = await UserRepository(db).get_one()
    assert (stored.full_name, stored.email) == ("added", "merged@x")


async def test_an_instance_goes_on_with_what_was_stored(db: DatabaseManager) -> None:
    trades = PaperTradeRepository(db)
    trade = await trades.create(account_id="a", client_order_id="1", **ORDER)
    for volume in ("0.2", 0.3, 1):
        before = (trade.version, trade.updated_at)
        await trades.update(trade, volume=volume)
        stored = await trades.get_one()
        assert (trade.version, trade.volume, trade.updated_at) == (
            stored.version, stored.volume, stored.updated_at,
        )  # fmt: skip
        assert trade.version == before[0] + 1
        assert trade.updated_at > before[1]
        assert inspect(trade).detached
        assert not inspect(trade).attrs.volume.history.has_changes()


async def test_a_failed_update_leaves_the_instance_as_it_was(db: DatabaseManager) -> None:
    users, settings = UserRepository(db), UserSettingRepository(db)
    user = await add_user(db)
    await add_user(db, "taken")
    user.full_name = "assigned"
    before = dict(user.__dict__)
    with pytest.raises(DuplicateKeyError):
        await users.update(user, username="taken", is_active=False)
    with pytest.raises(InvalidInputError):
        await users.update(user, email="new@x", is_active="maybe")
    assert user.__dict__ == before
    assert inspect(user).detached
    await users.update(user)
    assert (await users.get_by_id(user.id)) is not None
    assert (await users.count(full_name="assigned")) == 1

    setting = await settings.create(user_id=user.id)
    await settings.update_many(user_id=user.id, values={"theme": "dark"})
    with pytest.raises(StaleRecordError):
        await settings.update(setting, theme="light", settings={"a": 1})
    assert (setting.theme, setting.settings, setting.version) == ("system", {}, 1)


async def test_a_row_that_is_gone(db: DatabaseManager) -> None:
    users = UserRepository(db)
    user = await add_user(db)
    assert await users.delete_by_id(user.id)
    assert not await users.delete_by_id(user.id)
    with pytest.raises(StaleRecordError):
        await users.update(user, full_name="A")
    with pytest.raises(StaleRecordError, match="the User was changed or deleted"):
        await users.delete(user)
    assert user.full_name is None


async def test_two_tasks_that_update_one_instance_do_not_meet_in_it(db: DatabaseManager) -> None:
    users = UserRepository(db)
    user = await add_user(db)
    await asyncio.gather(
        users.update(user, full_name="A"),
        users.update(user, email="new@x"),
        users.update(user, is_active=False),
    )
    stored = await users.get_one()
    assert (stored.full_name, stored.email, stored.is_active) == ("A", "new@x", False)
    assert inspect(user).detached


async def test_only_stored_and_detached_instances(
    db: DatabaseManager, statements: RecordStatements
) -> None:
    users = UserRepository(db)
    async with db.session() as session:
        attached = await add_user(session)
        with statements(db) as sent:
            for verb in (users.update, users.delete):
                with pytest.raises(InvalidInputError, match="never stored; create"):
                    await verb(User(**user_row("new")))
                with pytest.raises(InvalidInputError, match="belongs to an open session"):
                    await verb(attached)
        assert sent == []
    await users.update(attached, full_name="now detached")


async def test_values_lost_in_a_rollback_are_not_written(db: DatabaseManager) -> None:
    await add_user(db)
    async with db.session() as session:
        user = await UserRepository(session).get_one()
        user.full_name = "lost"
        await session.rollback()
    with pytest.raises(InvalidInputError, match="lost its values in a rollback"):
        await UserRepository(db).update(user, email="new@x")


async def test_relationships_are_given_by_key(
    db: DatabaseManager, statements: RecordStatements
) -> None:
    user = await add_user(db)
    strategy = await add_strategy(db, user)
    strategies = StrategyRepository(db)
    with statements(db) as sent:
        for call in (
            strategies.create(user=user, name="s"),
            strategies.update(strategy, user=user),
        ):
            with pytest.raises(InvalidInputError, match="give its foreign key"):
                await call
    assert sent == []
    assert inspect(user).detached


async def test_loaded_relatives_stay_with_an_updated_instance(db: DatabaseManager) -> None:
    await add_strategy(db, await add_user(db))
    user = await UserRepository(db).get_one(load=(User.strategies,))
    await UserRepository(db).update(user, full_name="A")
    assert [strategy.name for strategy in user.strategies] == ["MA"]


@OTHER_CONNECTIONS
async def test_calls_do_not_depend_on_an_open_session(db: DatabaseManager) -> None:
    await UserRepository(db).create_many(user_rows(3))
    async with db.session(snapshot=True) as session:
        assert await UserRepository(session).count() == 3
        await UserRepository(db).delete_many(username="u00000")
        assert await UserRepository(db).count() == 2
        assert await UserRepository(session).count() == 3


async def test_one_call_is_one_transaction(db: DatabaseManager) -> None:
    users = UserRepository(db)
    await add_user(db, "taken")
    rows = [user_row(f"new{number}") for number in range(300)] + [user_row("taken")]
    for call in (users.create_many(rows), users.create_many(rows, returning=True)):
        with pytest.raises(DuplicateKeyError):
            await call
    with pytest.raises(DuplicateKeyError):
        await users.upsert_many([*rows[:-1], user_row("x", email="taken@x")], ["username"])
    assert await users.count() == 1
