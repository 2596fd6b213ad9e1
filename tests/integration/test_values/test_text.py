"""Text: kept, compared and sorted by code point on every backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, select

from hqt_async_db.errors import DuplicateKeyError, InvalidInputError
from hqt_async_db.models import Base, Notification, User

if TYPE_CHECKING:
    from collections.abc import Callable

    from hqt_async_db import DatabaseManager

USERS = Base.metadata.tables["users"]

NAMES = [
    "",
    " ",
    "trader1",
    "trader1 ",
    "trader1  ",
    "Trader1",
    "TRADER1",
    " trader1",
    "tråder1",
    "tra\u030ader1",  # the same letter, as two code points
    "strasse",
    "straße",
    "😀",
    "\U0010ffff",
    "\uffff",
    "\ufeff",
    "\n\t\r\\'\"`%s%%:x;--",
    "\x01\x1a\x7f",
    "x" * 50,
    "😀" * 50,
]


def user(name: str) -> User:
    return User(username=name, email=f"{name}@example.com", password_hash=name or "-")


async def test_text_is_kept_to_the_code_point_and_tells_names_apart(
    db: DatabaseManager, reopened: Callable[[], DatabaseManager]
) -> None:
    async with db.session() as session:
        session.add_all([user(name) for name in NAMES])
    async with reopened().session() as session:
        for name in NAMES:
            found = await session.scalars(select(User).where(User.username == name))
            assert found.one().password_hash == (name or "-")


async def test_text_sorts_by_code_point(db: DatabaseManager) -> None:
    async with db.session() as session:
        session.add_all([user(name) for name in NAMES])
        names = select(User.username)
        ordered = (await session.scalars(names.order_by(User.username))).all()
        assert ordered == sorted(NAMES)
        after = (await session.scalars(names.where(User.username > "trader1"))).all()
        assert set(after) == {name for name in NAMES if name > "trader1"}


async def test_a_unique_name_is_unique_by_code_point(db: DatabaseManager) -> None:
    async with db.session() as session:
        session.add_all([user("trader1"), user("Trader1"), user("trader1 ")])

    async def again() -> None:
        async with db.session() as session:
            session.add(user("trader1 "))

    with pytest.raises(DuplicateKeyError):
        await again()


async def test_text_that_no_backend_should_take_is_refused(db: DatabaseManager) -> None:
    unfit = {
        "x" * 51: "is longer than 50 characters",
        "planted" * 1500: "is longer than 50 characters",
        "planted\0": "contains a NUL",
        "planted\ud800": "contains a lone surrogate",
    }
    async with db.session() as session:
        for name, reason in unfit.items():
            with pytest.raises(InvalidInputError, match=rf"users\.username {reason}") as refusal:
                user(name)
            assert refusal.value.field == "users.username"
            assert "planted" not in str(refusal.value)
            row = {"username": name, "email": "e", "password_hash": "h"}
            with pytest.raises(InvalidInputError, match=rf"users\.username {reason}"):
                await session.execute(insert(USERS), [row])
            with pytest.raises(InvalidInputError, match=rf"users\.username {reason}"):
                await session.execute(select(USERS).where(USERS.c.username == name))


async def test_long_text_is_bounded_by_nothing_but_the_server(
    db: DatabaseManager, reopened: Callable[[], DatabaseManager]
) -> None:
    message = "😀é\n" * 50_000
    async with db.session() as session:
        owner = user("owner")
        session.add(Notification(user=owner, title="t", message=message))
    async with reopened().session() as session:
        assert await session.scalar(select(Notification.message)) == message


async def test_none_is_no_empty_text(
    db: DatabaseManager, reopened: Callable[[], DatabaseManager]
) -> None:
    async with db.session() as session:
        for name, full_name in (("a", ""), ("b", None)):
            session.add(User(username=name, email=name, password_hash="h", full_name=full_name))
    async with reopened().session() as session:
        names = await session.scalars(select(User.full_name).order_by(User.username))
        assert names.all() == ["", None]
