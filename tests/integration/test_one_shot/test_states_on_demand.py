"""Instances that were read have their values alone until SQLAlchemy looks for more."""

from __future__ import annotations

import asyncio
import copy
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import pytest
from sqlalchemy import MetaData, event, inspect
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
    assert [instance for instance in read if vars(instance)[STATE] is not None] == []
    # What tracks the changes in a JSON value has to know whose it is.
    assert vars(await StrategyRepository(db).get_one())[STATE] is not None


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


async def test_the_values_are_used_as_with_sqlalchemy(user: User) -> None:
    shown = vars(user).copy()
    for name, value in vars(user).items():  # which must not change in size
        if name in inspect(user).mapper.columns:
            setattr(user, name, value)
    del shown[STATE]
    assert set(shown) == set(inspect(User).columns.keys())


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda u: pickle.loads(pickle.dumps(u))])  # noqa: S301
async def test_copies_are_instances_of_their_own(
    user: User, duplicate: Callable[[User], User]
) -> None:
    twin = duplicate(user)
    assert inspect(twin).identity == (2,)
    twin.full_name = "changed"
    assert user.full_name != "changed"
    assert not inspect(user).modified


async def test_shallow_copies_share_a_state_as_with_sqlalchemy(user: User) -> None:
    assert inspect(copy.copy(user)) is inspect(user)


async def test_another_process_reads_what_was_pickled(user: User) -> None:
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).username)"
    command = [sys.executable, "-c", code]
    printed = await asyncio.to_thread(
        subprocess.run, command, input=pickle.dumps(user), capture_output=True, check=True
    )
    assert printed.stdout.decode().strip() == user.username


async def test_who_listens_to_pickles_is_told(user: User) -> None:
    told: list[object] = []

    def note(state: object, _state_dict: object) -> None:
        told.append(state)

    event.listen(User, "pickle", note)
    try:
        pickle.dumps(user)
    finally:
        event.remove(User, "pickle", note)
    assert told == [user]


async def test_threads_find_one_state(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    manager: Any = inspect(User).class_manager
    make = manager._state_constructor  # what each thread would call  # noqa: SLF001

    def make_slowly(*arguments: object) -> object:
        time.sleep(0.05)
        return make(*arguments)

    def look_together() -> set[int]:
        start = threading.Barrier(2)

        def look(_number: int) -> InstanceState[User]:
            start.wait()
            return inspect(user)

        with ThreadPoolExecutor(2) as threads:
            return {id(state) for state in threads.map(look, range(2))}

    monkeypatch.setattr(manager, "_state_constructor", make_slowly)
    found = await asyncio.to_thread(look_together)
    assert found == {id(inspect(user))}


def test_new_instances_are_new() -> None:
    assert inspect(User(username="u")).transient
    for without in (User.__new__(User), User, Base.__new__(Base)):
        assert not hasattr(without, STATE)
    blank = Base.__new__(Base)
    vars(blank)["id"] = 1
    assert inspect(blank, raiseerr=False) is None


class OwnBase(Base):
    """A base of this module's models."""

    __abstract__ = True
    metadata = MetaData()


class Prefilled(OwnBase):
    """A model that begins with values, a key among them."""

    __tablename__ = "prefilled"
    id: Mapped[int] = mapped_column(primary_key=True)
    size: Mapped[int]

    def __new__(cls, **_: object) -> Self:
        """Make one with values."""
        made = super().__new__(cls)
        vars(made).update(id=1, size=3)
        return made


def test_an_instance_that_begins_with_a_key_is_new() -> None:
    assert inspect(Prefilled(size=5)).transient


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
    found = await quotes.get_all()
    assert [(quote.price, inspect(quote).detached) for quote in found] == [(1, True), (2, True)]
    assert [quote for quote in found if vars(quote)[STATE] is None] == []
