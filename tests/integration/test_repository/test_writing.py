"""One row written in a session: flushed, never committed, and never a stranger's."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import false

from hqt_async_db import (
    DuplicateKeyError,
    ForeignKeyViolationError,
    InvalidInputError,
    PaperTrade,
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
    add_backtest,
    add_strategy,
    add_user,
    user_row,
)

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager
    from tests.fixtures.managers import RecordStatements
    from tests.integration.test_repository.samples import Bind


async def test_a_new_row_comes_back_with_its_key_and_defaults(bind: Bind) -> None:
    user = await UserRepository(bind).create(**user_row("a"))
    assert user.id > 0
    assert (user.is_active, user.is_superuser, user.full_name) == (True, False, None)
    assert user.updated_at - user.created_at < timedelta(seconds=1)
    assert user.created_at.utcoffset() is not None
    stored = await UserRepository(bind).get_by_id(user.id)
    assert stored is not None
    assert (stored.username, stored.created_at) == ("a", user.created_at)


async def test_one_statement_each(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    users = UserRepository(bind)
    with statements(db) as sent:
        user = await users.create(**user_row("a"))
        assert [statement.split()[0] for statement in sent] == ["INSERT"]
        await users.update(user, full_name="A")
        assert [statement.split()[0] for statement in sent] == ["INSERT", "UPDATE"]
        await users.update(user, full_name="A", is_active=True)  # nothing changes
        assert len(sent) == 2
        await users.delete(user)
        assert sent[2].startswith("DELETE")
        assert len(sent) == 3
        assert not await users.delete_by_id(user.id)
        assert len(sent) == 4


async def test_an_update_sends_only_what_changes(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    user = await add_user(bind)
    before = user.updated_at
    with statements(db) as sent:
        returned = await UserRepository(bind).update(user, full_name="A", username="trader")
    assert returned is user
    assert "full_name=" in sent[0].replace(" = ", "=")
    assert "username" not in sent[0]
    assert "password_hash" not in sent[0]
    assert (user.full_name, user.updated_at > before) == ("A", True)
    stored = (await UserRepository(bind).rows("full_name", "updated_at"))[0]
    assert tuple(stored) == (user.full_name, user.updated_at)


async def test_what_was_assigned_before_is_stored_too(bind: Bind) -> None:
    strategy = await add_strategy(bind, await add_user(bind), parameters={"fast": 1})
    strategy.description = "assigned"
    strategy.parameters["slow"] = 2
    await StrategyRepository(bind).update(strategy)
    [row] = await StrategyRepository(bind).rows("description", "parameters")
    assert tuple(row) == ("assigned", {"fast": 1, "slow": 2})


async def test_json_is_tracked_after_an_update_as_before(bind: Bind) -> None:
    strategies = StrategyRepository(bind)
    strategy = await add_strategy(bind, await add_user(bind), parameters={"fast": 1})
    await strategies.update(strategy, parameters={"fast": 2})
    strategy.parameters["slow"] = {"deep": [1]}
    await strategies.update(strategy)
    strategy.parameters["slow"]["deep"].append(2)
    await strategies.update(strategy, name="renamed")
    [row] = await strategies.rows("name", "parameters")
    assert tuple(row) == ("renamed", {"fast": 2, "slow": {"deep": [1, 2]}})


async def test_versions_go_up_and_guard_against_lost_updates(
    db: DatabaseManager, bind: Bind
) -> None:
    trades = PaperTradeRepository(bind)
    trade = await trades.create(account_id="a", client_order_id="1", **ORDER)
    assert trade.version == 1
    await trades.update(trade, symbol="USDJPY")
    assert trade.version == 2
    await trades.update_many(id=trade.id, values={"volume": "0.2"})
    if bind is db:
        with pytest.raises(StaleRecordError):
            await trades.update(trade, symbol="lost")
        with pytest.raises(StaleRecordError, match="changed or deleted since it was read"):
            await trades.delete(trade)
        assert (trade.symbol, trade.version) == ("USDJPY", 2)
    else:  # the session was told
        assert (trade.version, str(trade.volume)) == (3, "0.20000000")
        await trades.update(trade, symbol="kept")
    assert (await trades.rows("version"))[0].version == (3 if bind is db else 4)


@OTHER_CONNECTIONS
async def test_two_sessions_do_not_overwrite_each_other(db: DatabaseManager) -> None:
    await PaperTradeRepository(db).create(account_id="a", client_order_id="1", **ORDER)

    async def overwrite() -> None:
        async with db.session() as session:
            trade = await PaperTradeRepository(session).get_one()
            await PaperTradeRepository(db).update_many(account_id="a", values={"volume": 9})
            await PaperTradeRepository(session).update(trade, volume=1)

    with pytest.raises(StaleRecordError):
        await overwrite()
    assert (await PaperTradeRepository(db).get_one()).volume == 9


@OTHER_CONNECTIONS
async def test_a_row_that_is_gone_cannot_be_deleted(db: DatabaseManager) -> None:
    users, trades = UserRepository(db), PaperTradeRepository(db)
    await add_user(db)
    await trades.create(account_id="a", client_order_id="1", **ORDER)
    async with db.session() as session:
        user = await UserRepository(session).get_one()
        trade = await PaperTradeRepository(session).get_one()
        await users.delete_by_id(user.id)
        await trades.update_many(id=trade.id, values={"volume": 5})
        with pytest.raises(StaleRecordError, match="the User was changed or deleted"):
            await UserRepository(session).delete(user)
        with pytest.raises(StaleRecordError, match="the PaperTrade was changed or deleted"):
            await PaperTradeRepository(session).delete(trade)
        await add_user(session, "after")  # the session is as usable as before
    assert await users.count() == 1
    assert await trades.count() == 1


async def test_deleting_follows_the_schema(db: DatabaseManager, bind: Bind) -> None:
    user = await add_user(bind)
    strategy = await add_strategy(bind, user)
    await add_backtest(bind, strategy)
    await UserSettingRepository(bind).create(user_id=user.id)
    await UserRepository(bind).delete(user)
    assert await StrategyRepository(bind).count() == 0
    assert await UserSettingRepository(bind).count() == 0
    owner = await add_user(bind, "owner")
    trades = PaperTradeRepository(bind)
    await trades.create(account_id="a", client_order_id="1", user_id=owner.id, **ORDER)
    if bind is not db:
        return  # an error would end the session's transaction
    with pytest.raises(ForeignKeyViolationError):
        await UserRepository(bind).delete(owner)
    with pytest.raises(ForeignKeyViolationError):
        await add_strategy(bind, User(id=10**6))


async def test_nothing_is_committed_but_by_the_session(db: DatabaseManager) -> None:
    async with db.session() as session:
        user = await add_user(session)
        await UserRepository(session).update(user, full_name="A")
        await UserRepository(session).create_many([user_row("b")])
        await UserRepository(session).upsert(["username"], **user_row("c"))
        await UserRepository(session).get_or_create(**user_row("d"))
        await session.rollback()
    assert await UserRepository(db).count() == 0


async def test_a_deleted_instance_is_back_after_the_savepoint_is_rolled_back(
    db: DatabaseManager,
) -> None:
    async with db.session() as session:
        users = UserRepository(session)
        for delete in (users.delete, lambda user: users.delete_many(id=user.id)):
            user = await users.create(**user_row(f"{delete}"[:20]))
            savepoint = await session.begin_nested()
            await delete(user)
            assert user not in session
            await savepoint.rollback()
            assert user in session
            await users.update(user, full_name="kept")
    assert await UserRepository(db).count(full_name="kept") == 2


async def test_related_instances_of_the_session_may_be_given(db: DatabaseManager) -> None:
    async with db.session() as session:
        user = await add_user(session)
        strategy = await StrategyRepository(session).create(user=user, name="MA")
        assert strategy.user_id == user.id
        other = await add_user(session, "other")
        await StrategyRepository(session).update(strategy, user=other)
        assert strategy.user_id == other.id
        fresh = User(**user_row("fresh"))
        assert (await StrategyRepository(session).create(user=fresh, name="s")).user_id == fresh.id


async def test_strangers_are_refused(db: DatabaseManager, statements: RecordStatements) -> None:
    detached = await add_user(db)
    strategy = await add_strategy(db, detached)
    async with db.session() as session:
        users, strategies = UserRepository(session), StrategyRepository(session)
        own = await strategies.get_one()
        with statements(db) as sent:
            for stranger in (detached, User(**user_row("new"))):
                for verb in (users.update, users.delete):
                    with pytest.raises(
                        InvalidInputError, match=r"await session\.merge\(instance\)"
                    ):
                        await verb(stranger)
            with pytest.raises(
                InvalidInputError, match=r"Strategy\.user does not belong"
            ) as refused:
                await strategies.create(user=detached, name="s")
            assert refused.value.field == "user"
            with pytest.raises(InvalidInputError, match=r"Strategy\.user does not belong"):
                await strategies.update(own, user=detached)
            with pytest.raises(InvalidInputError, match=r"User\.strategies does not belong"):
                await users.create(**user_row("new", strategies=[strategy]))
        assert sent == []
        merged = await session.merge(detached)
        await users.update(merged, full_name="merged")
    assert (await UserRepository(db).get_one()).full_name == "merged"


async def test_unsaved_changes_are_seen_by_every_verb(db: DatabaseManager) -> None:
    async with db.session() as session:
        users = UserRepository(session)
        user = await add_user(session)
        user.full_name = "assigned"
        assert await users.exists(full_name="assigned")
        user.full_name = "again"
        assert await users.update_many(full_name="again", values={"email": "new@x"}) == 1
        assert (user.email, user.full_name) == ("new@x", "again")
        session.add(User(**user_row("pending")))
        assert await users.delete_many(username="pending") == 1
        await session.flush()
        assert await users.count() == 1


async def test_a_failed_insert_names_the_key_and_a_savepoint_saves_the_rest(
    db: DatabaseManager,
) -> None:
    async with db.session() as session:
        users = UserRepository(session)
        await add_user(session)
        with pytest.raises(DuplicateKeyError) as refused:
            async with session.begin_nested():
                await users.create(**user_row("trader", email="new@x"))
        assert refused.value.table == "users"
        assert refused.value.columns == ("username",)
        await add_user(session, "b")
    assert await UserRepository(db).count() == 2


async def test_relationships_stay_loaded_through_an_update_of_many(db: DatabaseManager) -> None:
    await add_strategy(db, await add_user(db))
    async with db.session() as session:
        user = await UserRepository(session).get_one(load=(User.strategies,))
        await UserRepository(session).update_many(id=user.id, values={"full_name": "A"})
        assert user.full_name == "A"
        assert [strategy.name for strategy in user.strategies] == ["MA"]


async def test_sql_computes_values(db: DatabaseManager, bind: Bind) -> None:
    trades = PaperTradeRepository(bind)
    trade = await trades.create(account_id="a", client_order_id="1", **ORDER)
    changed = await trades.update_many(
        PaperTrade.volume < 1, values={"volume": PaperTrade.volume * 2}, symbol="EURUSD"
    )
    assert changed == 1
    assert str((await trades.rows("volume"))[0].volume) == "0.20000000"
    if bind is not db:
        assert str(trade.volume) == "0.20000000"
    assert await trades.update_many(false(), values={"volume": 5}) == 0
