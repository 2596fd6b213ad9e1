"""An unloaded relationship says what it is and how to load it."""

from __future__ import annotations

import asyncio
import copy
import pickle
import warnings
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import exc, select
from sqlalchemy.orm import exc as orm_exc
from sqlalchemy.orm import selectinload

from hqt_async_db.errors import UnloadedRelationshipError
from hqt_async_db.models import Base, Strategy, User

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager

# What the guard does depends on how a driver waits, and not on SQL.
pytestmark = pytest.mark.backends("sqlite-file", "postgresql")


@pytest.fixture
async def stored(db: DatabaseManager) -> DatabaseManager:
    """Return a database with one user who has one strategy."""
    async with db.session() as session:
        user = User(username="u", email="e", password_hash="h")
        session.add(Strategy(user=user, name="s"))
    return db


@pytest.mark.parametrize(
    ("model", "attribute", "other"), [(User, "strategies", Strategy), (Strategy, "user", User)]
)
async def test_touching_it_raises_attached_and_detached(
    model: type[Base], attribute: str, other: type[Base], stored: DatabaseManager
) -> None:
    name = f"{model.__name__}.{attribute}"
    async with stored.session() as session:
        instance = await session.get_one(model, 1)
        with pytest.raises(UnloadedRelationshipError) as attached:
            getattr(instance, attribute)
    with pytest.raises(UnloadedRelationshipError) as detached:
        getattr(instance, attribute)
    assert attached.value.relationship == detached.value.relationship == name
    assert f"load=({name},)" in str(attached.value)
    assert f"load=({name},)" in str(detached.value)
    assert f"await instance.awaitable_attrs.{attribute}" in str(attached.value)
    assert "awaitable_attrs" not in str(detached.value)
    assert other.__name__ not in str(detached.value)


async def test_it_is_also_the_error_that_sqlalchemy_would_raise(stored: DatabaseManager) -> None:
    async with stored.session() as session:
        user = await session.get_one(User, 1)
        with pytest.raises(exc.MissingGreenlet):
            _ = user.strategies
    with pytest.raises(orm_exc.DetachedInstanceError):
        _ = user.strategies


async def test_awaiting_it_loads_it(stored: DatabaseManager) -> None:
    async with stored.session() as session:
        user = await session.get_one(User, 1)
        (strategy,) = await user.awaitable_attrs.strategies
        assert user.strategies == [strategy]
        assert strategy.user is user  # found in the session, without a statement
    with pytest.raises(UnloadedRelationshipError):
        await user.awaitable_attrs.backtests


async def test_loading_it_with_the_query_is_enough(stored: DatabaseManager) -> None:
    async with stored.session() as session:
        query = select(User).options(selectinload(User.strategies))
        user = (await session.scalars(query)).one()
    assert [strategy.name for strategy in user.strategies] == ["s"]


async def test_it_may_be_loaded_where_sqlalchemy_can_wait(stored: DatabaseManager) -> None:
    async with stored.session() as session:
        names = await session.run_sync(
            lambda sync: [strategy.name for strategy in sync.get_one(User, 1).strategies]
        )
    assert names == ["s"]


async def test_touching_it_sends_nothing_and_leaves_the_session_usable(
    stored: DatabaseManager,
) -> None:
    async with stored.session() as session:
        user = await session.get_one(User, 1)
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            for _ in range(3):
                with pytest.raises(UnloadedRelationshipError):
                    _ = user.strategies
            await asyncio.sleep(0)
        assert heard == []
        user.full_name = "still works"
    async with stored.session() as session:
        assert (await session.get_one(User, 1)).full_name == "still works"


async def test_new_instances_have_empty_relationships(stored: DatabaseManager) -> None:
    assert User().strategies == []
    assert Strategy().user is None
    async with stored.session() as session:
        session.add(User(username="v", email="f", password_hash="h", settings=None))


async def test_changes_go_through_where_nothing_must_be_loaded(stored: DatabaseManager) -> None:
    async with stored.session() as session:
        user = await session.get_one(User, 1)
        strategy = Strategy(name="t", user=user)  # user.strategies stays unloaded
        session.add(strategy)
        await session.flush()
        with pytest.raises(UnloadedRelationshipError):
            user.strategies.append(Strategy(name="u"))
        await session.delete(strategy)
    async with stored.session() as session:
        await session.delete(await session.get_one(User, 1))
    async with stored.session() as session:
        assert (await session.scalars(select(Strategy))).all() == []


async def test_a_pickled_instance_keeps_the_guard(stored: DatabaseManager) -> None:
    async with stored.session() as session:
        user = await session.get_one(User, 1)
    twin: User = pickle.loads(pickle.dumps(user))  # noqa: S301 - ours
    assert twin.username == "u"
    with pytest.raises(UnloadedRelationshipError, match=r"User\.strategies") as caught:
        _ = twin.strategies
    for copied in (pickle.loads(pickle.dumps(caught.value)), copy.copy(caught.value)):  # noqa: S301 - as above
        assert (str(copied), copied.relationship) == (str(caught.value), "User.strategies")
