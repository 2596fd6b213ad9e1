"""Rows that may exist already, also while others write them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from hqt_async_db import (
    DuplicateKeyError,
    InvalidInputError,
    MultipleRecordsFoundError,
    PaperTradeRepository,
    UserRepository,
    UserSettingRepository,
)
from tests.integration.test_repository.samples import (
    ORDER,
    add_user,
    at,
    user_row,
    user_rows,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hqt_async_db import DatabaseManager, PaperTrade, User
    from tests.fixtures.managers import RecordStatements
    from tests.integration.test_repository.samples import Bind

KEY = ["account_id", "client_order_id"]
TASKS = 16
# Indexes are written in the order in which they were made.
SLOW_BEFORE_THE_KEYS = (
    """CREATE FUNCTION slow(value text) RETURNS text LANGUAGE plpgsql IMMUTABLE
    AS 'BEGIN PERFORM pg_sleep(0.3); RETURN value; END'""",
    "CREATE INDEX slow ON users (slow(username))",
    "ALTER TABLE users DROP CONSTRAINT uq_users_email, DROP CONSTRAINT uq_users_username",
    "ALTER TABLE users ADD CONSTRAINT uq_users_email UNIQUE (email)",
    "ALTER TABLE users ADD CONSTRAINT uq_users_username UNIQUE (username)",
)


async def test_a_row_is_inserted_then_updated(bind: Bind) -> None:
    users = UserRepository(bind)
    new = await users.upsert(["username"], **user_row("a", created_at=at(0), updated_at=at(0)))
    assert (new.email, new.is_active, new.created_at) == ("a@x", True, at(0))
    again = await users.upsert(["username"], **user_row("a", email="new@x", is_active=False))
    assert again.id == new.id
    # A key is for a new row.
    assert (await users.upsert(["username"], id=777, **user_row("a", email="new@x"))).id == new.id
    again = await users.upsert(["username"], **user_row("a", email="new@x", is_active=False))
    assert (again.email, again.is_active, again.created_at) == ("new@x", False, at(0))
    assert again.updated_at > at(0)
    assert await users.count() == 1
    by_mail = await users.upsert(["email"], **user_row("b", email="new@x"))
    assert (by_mail.id, by_mail.username) == (new.id, "b")


async def test_fields_that_are_not_given_stay(bind: Bind) -> None:
    users = UserRepository(bind)
    await users.create(**user_row("a", full_name="A", is_superuser=True))
    stored = await users.upsert(["username"], **user_row("a"))
    assert (stored.full_name, stored.is_superuser) == ("A", True)
    stored = await users.upsert(["username"], **user_row("a", full_name=None))
    assert (stored.full_name, stored.is_superuser) == (None, True)


async def test_versions_go_up(bind: Bind) -> None:
    trades = PaperTradeRepository(bind)
    versions: list[tuple[int, int]] = []
    for volume in (1, 2, 2):
        row = {"account_id": "a", "client_order_id": "1", **ORDER, "volume": volume}
        stored = await trades.upsert(KEY, **row)
        versions.append((stored.version, int(stored.volume)))
    assert versions == [(1, 1), (2, 2), (3, 2)]
    await trades.update(stored, symbol="X")  # the version is the stored one
    assert stored.version == 4


async def test_by_primary_key(bind: Bind) -> None:
    users = UserRepository(bind)
    assert (await users.upsert(["id"], id=7, **user_row("a"))).id == 7
    assert (await users.upsert(["id"], id=7, **user_row("b"))).username == "b"
    assert await users.count() == 1


async def test_another_unique_key_is_never_rewritten(db: DatabaseManager) -> None:
    users = UserRepository(db)
    await add_user(db, "a")
    await add_user(db, "b")
    for row in (user_row("a", email="b@x"), user_row("new", email="b@x")):
        with pytest.raises(DuplicateKeyError) as refused:
            await users.upsert(["username"], **row)
        assert refused.value.columns == ("email",)
    stored = await users.rows("username", "email", order_by="username")
    assert [tuple(row) for row in stored] == [("a", "a@x"), ("b", "b@x")]


async def test_a_null_matches_nothing(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    with statements(db) as sent, pytest.raises(InvalidInputError) as refused:
        await UserRepository(bind).upsert(["id"], **user_row("a"))
    assert refused.value.field == "id"
    assert sent == []


async def test_many_come_back_in_the_order_of_the_rows(bind: Bind) -> None:
    users = UserRepository(bind)
    existing = await users.create_many(user_rows(30), returning=True)
    rows = [row | {"email": f"new{row['username']}@x"} for row in user_rows(60)[::-1]]
    stored = await users.upsert_many(iter(rows), ["username"])
    assert [user.username for user in stored] == [row["username"] for row in rows]
    assert [user.id for user in stored[:-31:-1]] == [user.id for user in existing]
    found = await users.rows("username", "email", order_by="-username")
    assert [tuple(row) for row in found] == [(row["username"], row["email"]) for row in rows]


async def test_many_rows_may_have_different_fields(bind: Bind) -> None:
    users = UserRepository(bind)
    await users.create_many([user_row("a", full_name="A"), user_row("b", full_name="B")])
    stored = await users.upsert_many(
        [user_row("b"), user_row("c", full_name="C"), user_row("a", full_name=None)], ["username"]
    )
    assert [(user.username, user.full_name) for user in stored] == [
        ("b", "B"), ("c", "C"), ("a", None),
    ]  # fmt: skip


async def test_a_thousand_rows_are_not_a_thousand_statements(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    users = UserRepository(bind)
    for most in (20 * 3, 20 * 3):  # all new, then all old
        with statements(db) as sent:
            await users.upsert_many(user_rows(1000), ["username"])
        assert len(sent) <= most
    assert await users.count() == 1000


async def test_one_row_costs_few_statements(
    db: DatabaseManager, bind: Bind, statements: RecordStatements, backend: str
) -> None:
    for most in (3, 3):
        with statements(db) as sent:
            await UserRepository(bind).upsert(["username"], **user_row("a"))
        assert len(sent) == (most if backend == "mariadb" else 1)


async def test_instances_that_the_session_holds_are_refreshed(db: DatabaseManager) -> None:
    async with db.session() as session:
        users = UserRepository(session)
        held = await add_user(session, "a")
        assert await users.upsert(["username"], **user_row("a", full_name="A")) is held
        assert held.full_name == "A"
        held.full_name = "assigned"
        await users.upsert(["username"], **user_row("a", email="new@x"))
        assert (held.full_name, held.email) == ("assigned", "new@x")


# -- races ---------------------------------------------------------------------


async def _race(call: Callable[[int], Awaitable[object]]) -> list[object]:
    """Call from so many tasks that all begin at the same moment."""
    start = asyncio.Event()

    async def run(number: int) -> object:
        await start.wait()
        return await call(number)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run(number)) for number in range(TASKS)]
        start.set()
    return [task.result() for task in tasks]


async def test_upserts_of_one_row_by_many_tasks(db: DatabaseManager) -> None:
    trades = PaperTradeRepository(db)

    async def upsert(number: int) -> PaperTrade:
        row = {"account_id": "a", "client_order_id": "1", **ORDER, "volume": number + 1}
        return await trades.upsert(KEY, **row)

    stored = await _race(upsert)
    assert len({trade.id for trade in stored if hasattr(trade, "id")}) == 1
    [row] = await trades.rows("version", "volume")
    assert row.version == TASKS  # each of them counted
    assert row.volume in range(1, TASKS + 1)


async def test_upserts_of_many_rows_by_many_tasks_in_different_orders(db: DatabaseManager) -> None:
    users = UserRepository(db)
    rows = user_rows(40)

    async def upsert(number: int) -> list[User]:
        mine = rows[number:] + rows[:number]
        return await users.upsert_many(mine[:: -1 if number % 2 else 1], ["username"])

    await _race(upsert)
    assert await users.count() == 40


@pytest.mark.backends("postgresql")
async def test_another_key_is_no_duplicate_because_somebody_was_quicker(
    db: DatabaseManager, statements: RecordStatements
) -> None:
    """ON CONFLICT looks at the username; both find none, and then meet at the email."""
    users = UserRepository(db)

    async def race(name: str) -> None:
        first, second = await asyncio.gather(
            users.upsert(["username"], **user_row(name, full_name="1")),
            users.upsert(["username"], **user_row(name, full_name="2")),
        )
        assert first.id == second.id

    async with db.session() as one, db.session() as two:  # the connections are open by then
        await one.execute(text("SELECT 1"))
        for statement in SLOW_BEFORE_THE_KEYS:
            await two.execute(text(statement))
    await race("b")
    with statements(db) as sent:  # by sessions
        await race("a")
    assert len(sent) == 3  # one of them once more
    with statements(db) as sent, pytest.raises(DuplicateKeyError) as refused:
        await users.upsert(["username"], **user_row("a", email="b@x"))
    assert refused.value.columns == ("email",)
    assert len(sent) == 2


@pytest.mark.backends("postgresql")
async def test_a_key_that_the_database_makes_is_no_other_each_time(
    db: DatabaseManager, statements: RecordStatements
) -> None:
    users = UserRepository(db)
    await users.create_many([user_row(name, id=key) for key, name in enumerate("abc", start=1)])
    with statements(db) as sent, pytest.raises(DuplicateKeyError) as refused:
        await users.upsert(["username"], **user_row("d"))
    assert refused.value.columns == ("id",)
    assert len(sent) == 1


async def test_one_of_many_tasks_creates_the_row(db: DatabaseManager) -> None:
    users = UserRepository(db)

    async def get_or_create(number: int) -> tuple[User, bool]:
        further = {"email": f"{number}@x", "password_hash": "h"}
        return await users.get_or_create(further, username="a")

    answers = await _race(get_or_create)
    created = [answer for answer in answers if isinstance(answer, tuple) and answer[1]]
    assert len(created) == 1
    assert await users.count() == 1


async def test_sessions_race_as_well(db: DatabaseManager) -> None:
    async def get_or_create(number: int) -> bool:
        async with db.session() as session:
            further = {"email": f"{number}@x", "password_hash": "h"}
            users = UserRepository(session)
            user, created = await users.get_or_create(further, username="a")
            await UserSettingRepository(session).get_or_create(user_id=user.id)
        return created

    assert sum(bool(created) for created in await _race(get_or_create)) == 1
    assert await UserSettingRepository(db).count() == 1


# -- get_or_create -------------------------------------------------------------


async def test_get_or_create_gets_or_creates(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    users = UserRepository(bind)
    further = {"email": "a@x", "password_hash": "h"}
    user, created = await users.get_or_create(further, username="a", full_name=None)
    assert (user.email, user.full_name, created) == ("a@x", None, True)
    with statements(db) as sent:
        again, created = await users.get_or_create(further, username="a", full_name=None)
    assert (again.id, created) == (user.id, False)
    assert len(sent) == 1


async def test_get_or_create_does_not_choose(bind: Bind) -> None:
    users = UserRepository(bind)
    await users.create_many(user_rows(2))
    with pytest.raises(MultipleRecordsFoundError):
        await users.get_or_create({"username": "c", "email": "c@x"}, password_hash="h")


async def test_get_or_create_names_another_key_that_is_taken(db: DatabaseManager) -> None:
    await add_user(db, "a")
    async with db.session() as session:
        users = UserRepository(session)
        with pytest.raises(DuplicateKeyError) as refused:
            await users.get_or_create({"email": "a@x", "password_hash": "h"}, username="b")
        assert refused.value.columns == ("email",)
        await add_user(session, "c")  # only the savepoint was rolled back
    assert await UserRepository(db).count() == 2
