"""What people do wrong, and what they are told."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import exists, make_url, select
from sqlalchemy.exc import PendingRollbackError
from sqlalchemy.pool import QueuePool

from hqt_async_db import (
    ConfigurationError,
    ConnectionFailedError,
    DatabaseClosedError,
    DatabaseManager,
    DuplicateKeyError,
    InvalidInputError,
    PaperTrade,
    Strategy,
    StrategyRepository,
    TransactionEndedError,
    User,
    UserRepository,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import ColumnElement

    from hqt_async_db import Session
    from tests.fixtures.managers import MakeDb, RecordStatements

TRADER = {"username": "trader1", "email": "t@example.com", "password_hash": "hunter2-planted"}


async def test_a_criterion_about_another_table_touches_nothing(
    db: DatabaseManager, statements: RecordStatements
) -> None:
    users = UserRepository(db)
    await users.create(**TRADER)
    foreign = PaperTrade.account_id == "a"
    with statements(db) as sent:
        calls = [
            users.delete_many(foreign),
            users.update_many(foreign, values={"full_name": "x"}),
            users.get_many(foreign),
            users.count(foreign),
            users.rows(criteria=[foreign]),
        ]
        for call in calls:
            with pytest.raises(InvalidInputError, match="about paper_trades, not about User"):
                await call
    assert sent == []


@pytest.mark.parametrize(
    "criterion",
    [
        lambda: exists().where(Strategy.user_id == User.id),
        lambda: User.id.in_(select(Strategy.user_id)),
        lambda: User.strategies.any(Strategy.name == "s"),
    ],
)
async def test_another_table_may_be_asked_in_a_subquery(
    db: DatabaseManager, criterion: Callable[[], ColumnElement[bool]]
) -> None:
    users = UserRepository(db)
    owner = await users.create(**TRADER)
    await users.create(username="other", email="o@example.com", password_hash="hash")
    await StrategyRepository(db).create(user_id=owner.id, name="s", class_name="m.S")
    assert [user.id for user in await users.get_many(criterion())] == [owner.id]


@pytest.mark.parametrize("driver", ["sqlite", "sqlite+aiosqlite"])
@pytest.mark.parametrize(
    "database",
    ["m?mode=memory&uri=true", "m?mode=memory&cache=shared&uri=true", ":memory:?uri=true"],
)
async def test_a_uri_in_memory_is_one_database(driver: str, database: str) -> None:
    async with DatabaseManager(f"{driver}:///file:{database}") as db:
        await db.create_all()
        users = UserRepository(db)
        written = await users.create(**TRADER)
        assert [user.id for user in await users.get_all()] == [written.id]
        for options in ({}, {"write": True}, {"snapshot": True}, {"read_only": True}):
            async with db.session(**options) as session:
                assert await UserRepository(session).count() == 1


async def test_what_a_session_is_for_is_true_or_false(db: DatabaseManager) -> None:
    options: dict[str, Any]
    for options in ({"read_only": "yes"}, {"write": 1}, {"snapshot": None}):
        with pytest.raises(InvalidInputError, match="must be True or False"):
            db.session(**options)


async def test_a_session_ends_with_its_block(db: DatabaseManager) -> None:
    async with db.session() as session:
        users = UserRepository(session)
    with pytest.raises(DatabaseClosedError, match="block of this session has ended"):
        await users.create(**TRADER)
    assert await UserRepository(db).count() == 0
    async with session:
        assert await users.count() == 0


async def test_going_on_after_an_error_is_refused_with_the_way_out(db: DatabaseManager) -> None:
    await UserRepository(db).create(**TRADER)
    async with db.session() as session:
        users = UserRepository(session)
        with pytest.raises(DuplicateKeyError):
            await users.create(**TRADER)
        for further in (users.count(), users.create(username="b", email="b", password_hash="-")):
            with pytest.raises(TransactionEndedError, match="begin_nested") as caught:
                await further
            assert isinstance(caught.value, PendingRollbackError)
        await session.rollback()
        assert await users.count() == 1


async def test_rows_show_a_password_hash_to_those_who_ask_by_name(db: DatabaseManager) -> None:
    users = UserRepository(db)
    await users.create(**TRADER)
    assert "hunter2-planted" not in repr(await users.rows())
    assert "hunter2-planted" not in repr(await users.rows(as_dicts=True))
    async with users.stream() as rows:
        assert "hunter2-planted" not in repr([row async for row in rows])
    assert await users.rows("password_hash") == [("hunter2-planted",)]


async def test_containers_of_the_wrong_kind_are_refused(
    db: DatabaseManager, statements: RecordStatements
) -> None:
    users = UserRepository(db)
    wrong: Any
    with statements(db) as sent:
        for wrong in ({"username": "a"}, "rows", 5, [User(**TRADER)], ["row"]):
            with pytest.raises(InvalidInputError) as caught:
                await users.create_many(wrong)
            assert caught.value.field == "rows"
        swapped: Any = (["username"], [TRADER])
        with pytest.raises(InvalidInputError, match="match_fields"):
            await users.upsert_many(*swapped)
        for wrong in (lambda _: 1, "work", 5):
            with pytest.raises(InvalidInputError, match="async function"):
                await db.run(wrong)
        for wrong in ("users", 5):
            with pytest.raises(InvalidInputError, match="declarative base"):
                await db.create_all(wrong)
    assert sent == []


async def test_retries_let_every_contender_through(db: DatabaseManager) -> None:
    owner = await UserRepository(db).create(**TRADER)
    strategies = StrategyRepository(db)
    stored = await strategies.create(
        user_id=owner.id, name="s", class_name="m.S", parameters={"runs": 0}
    )

    async def work(session: Session) -> None:
        own = StrategyRepository(session)
        strategy = await own.get_one(id=stored.id)
        runs = strategy.parameters["runs"]
        await asyncio.sleep(0)
        await own.update(strategy, parameters={"runs": runs + 1})

    await asyncio.gather(*(db.run(work, write=True) for _ in range(10)))
    assert (await strategies.get_one(id=stored.id)).parameters == {"runs": 10}


@pytest.mark.backends("sqlite-file")
async def test_the_file_is_whole_after_dispose(
    database_url: str, make_db: MakeDb, tmp_path: Path
) -> None:
    db = make_db()
    await db.create_all()
    await UserRepository(db).create(**TRADER)
    assert await UserRepository(db).count() == 1
    await db.dispose()
    file = str(make_url(database_url).database)

    def read_a_copy() -> int:
        copy = tmp_path / "copy.db"
        with open(file, "rb") as source:  # noqa: PTH123 - a plain path
            copy.write_bytes(source.read())
        with sqlite3.connect(copy) as connection:
            (count,) = connection.execute("SELECT count(*) FROM users").fetchone()
        connection.close()
        return int(count)

    assert await asyncio.to_thread(read_a_copy) == 1


def test_a_password_with_a_bare_at_sign_is_not_shown() -> None:
    with pytest.raises(ConfigurationError, match="percent-encoded") as caught:
        DatabaseManager("mysql://hqt:p@hunter2-planted@127.0.0.1/hqt")
    assert "hunter2" not in str(caught.value)


def test_a_synchronous_pool_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="QueuePool"):
        DatabaseManager("sqlite:///x.db", poolclass=QueuePool)


async def test_connect_args_that_the_driver_does_not_know(make_db: MakeDb) -> None:
    db = make_db(connect_args={"no_such_argument": 1})
    with pytest.raises(ConfigurationError, match="no_such_argument"):
        await db.create_all()


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
async def test_an_unreachable_server_is_named(scheme: str) -> None:
    async with DatabaseManager(f"{scheme}://u:hunter2@127.0.0.1:1/d") as db:
        with pytest.raises(ConnectionFailedError, match=r"^127\.0\.0\.1:1/d: ") as caught:
            await db.ping()
        assert "hunter2" not in str(caught.value)


async def test_a_file_that_does_not_exist_yet_says_so(tmp_path: Path) -> None:
    async with DatabaseManager(f"sqlite:///{tmp_path}/new.db") as db:
        with pytest.raises(ConnectionFailedError, match=r"new\.db: .*create_all"):
            await UserRepository(db).count()
