"""Instances that were read have their values alone until SQLAlchemy looks for more."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import inspect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hqt_async_db import BaseRepository, StrategyRepository, User, UserRepository
from hqt_async_db.models import Base
from tests.integration.test_repository.samples import add_strategy, user_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import InstanceState

    from hqt_async_db import DatabaseManager

STATE = "_sa_instance_state"


@pytest.fixture
async def user(db: DatabaseManager) -> User:
    """A user that was read, of whom nobody has asked for more than that."""
    await UserRepository(db).create_many(user_rows(3))
    return await UserRepository(db).get_one(id=2)


async def test_whoever_reads_values_pays_for_values(db: DatabaseManager, user: User) -> None:
    await add_strategy(db, user)
    users = UserRepository(db)
    read = [*await users.get_all(), *(await users.page(limit=2)).items]
    if db.dialect_name != "mariadb":  # whose streams are SQLAlchemy's
        async with users.stream(entities=True) as rows:
            read += [row async for row in rows]
    read.append(await users.create(**{**user_rows(1)[0], "username": "new", "email": "n@e.org"}))
    assert [instance.username for instance in read].count("new") == 1
    assert [instance for instance in read if STATE in vars(instance)] == []
    # What tracks the changes in a JSON value has to know whose it is.
    assert STATE in vars(await StrategyRepository(db).get_one())


async def test_a_state_is_that_of_a_stored_detached_instance(user: User) -> None:
    state = inspect(user)
    assert (state.identity, state.detached, state.modified) == ((2,), True, False)
    assert inspect(user) is state
    user.full_name = "changed"
    assert state.attrs.full_name.history.has_changes()
    assert not state.attrs.email.history.has_changes()


async def test_what_is_assigned_first_is_a_change(db: DatabaseManager, user: User) -> None:
    user.full_name = "changed"
    await UserRepository(db).update(user)
    assert (await UserRepository(db).get_one(id=2)).full_name == "changed"


async def test_the_key_is_that_of_the_row_and_not_what_is_assigned(user: User) -> None:
    user.id = 7
    assert inspect(user).identity == (2,)


async def test_it_enters_sessions(db: DatabaseManager, user: User) -> None:
    async with db.session() as session:
        session.add(user)
        assert user in session
        user.full_name = "added"
    other = await UserRepository(db).get_one(id=3)
    async with db.session() as session:
        merged = await session.merge(other)
        merged.full_name = "merged"
    found = await UserRepository(db).get_all()
    assert {row.full_name for row in found} >= {"added", "merged"}


def pickled(user: User) -> User:
    """Return a user after a way to another process."""
    copied: User = pickle.loads(pickle.dumps(user))  # noqa: S301 - our own
    return copied


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickled])
async def test_copies_are_instances_of_their_own(
    user: User, duplicate: Callable[[User], User]
) -> None:
    twin = duplicate(user)
    assert inspect(twin).identity == (2,)
    twin.full_name = "changed"
    assert user.full_name != "changed"
    assert not inspect(user).modified


async def test_threads_find_one_state(user: User) -> None:
    def look_together() -> set[int]:
        start = threading.Barrier(8)

        def look(_number: int) -> InstanceState[User]:
            start.wait()
            return inspect(user)

        with ThreadPoolExecutor(8) as threads:
            return {id(state) for state in threads.map(look, range(8))}

    assert await asyncio.to_thread(look_together) == {id(inspect(user))}


def test_others_have_the_state_that_they_have_without() -> None:
    assert inspect(User(username="u")).transient
    assert STATE in vars(User())
    for without in (User.__new__(User), User, Base.__new__(Base)):
        assert not hasattr(without, STATE)


class ForeignBase(DeclarativeBase):
    """A base that is none of ours."""


class Quote(ForeignBase):
    """A model on it."""

    __tablename__ = "quotes"
    id: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[int]


class QuoteRepository(BaseRepository[Quote]):
    """The quotes."""


async def test_a_model_of_another_base_has_its_state_at_once(db: DatabaseManager) -> None:
    await db.create_all(ForeignBase)
    quotes = QuoteRepository(db)
    await quotes.create_many([{"price": 1}, {"price": 2}])
    for quote in await quotes.get_all():
        assert STATE in vars(quote)
        assert inspect(quote).detached
