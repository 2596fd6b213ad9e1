"""Reads of a session past SQLAlchemy's execution: what the session still promises."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, func, inspect, literal_column, select, text

from hqt_async_db import SessionInUseError, StrategyRepository, User, UserRepository
from tests.integration.test_repository.samples import (
    OTHER_CONNECTIONS,
    add_strategy,
    add_user,
    user_rows,
)

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from hqt_async_db import DatabaseManager
    from hqt_async_db.connection.sessions.session import Session


@pytest.fixture(autouse=True)
async def _users(db: DatabaseManager) -> None:
    await UserRepository(db).create_many(user_rows(5))


def held_by(db: DatabaseManager) -> int:
    """Return how many connections of both pools are in use."""
    return sum(pool["in_use"] for pool in db.pool_status().values())


@pytest.mark.backends("sqlite-file", "sqlite-memory", "postgresql")
@pytest.mark.parametrize("read_only", [False, True])
async def test_a_session_that_has_only_read_holds_no_connection(
    db: DatabaseManager, *, read_only: bool
) -> None:
    async with db.session(read_only=read_only) as session:
        users = UserRepository(session)
        assert await session.get(User, 1)
        assert await users.get_by_username("u00002")
        assert len(await users.rows()) == 5
        assert held_by(db) == 0
        await session.execute(select(func.count()).select_from(User))
        assert held_by(db) == 1
    assert held_by(db) == 0


@pytest.mark.parametrize("has_connection", [False, True])
async def test_one_row_is_one_instance(db: DatabaseManager, *, has_connection: bool) -> None:
    async with db.session() as session:
        if has_connection:
            await session.execute(text("SELECT 1"))
        users = UserRepository(session)
        user = await session.get(User, 1)
        assert user is not None
        assert await session.get(User, 1) is user
        assert await users.get_by_id(1) is user
        assert (await users.get_all())[0] is user
        assert (await users.page(limit=1)).items == [user]
        assert (await session.scalars(select(User).where(User.id == 1))).one() is user
        assert inspect(user).persistent
        assert user in session
        assert await session.get(User, 99) is None
    assert inspect(user).detached


@pytest.mark.parametrize("has_connection", [False, True])
async def test_what_was_read_is_changed_and_stored(
    db: DatabaseManager, *, has_connection: bool
) -> None:
    strategy = await add_strategy(db, await add_user(db), parameters={"fast": [1]})
    async with db.session() as session:
        if has_connection:
            await session.execute(text("SELECT 1"))
        user = await session.get(User, 1)
        same = await StrategyRepository(session).get_by_id(strategy.id)
        assert user is not None
        assert same is not None
        user.full_name = "changed"
        same.parameters["fast"].append(2)
        # A read flushes first what is pending, and sees it.
        assert await UserRepository(session).count(full_name="changed") == 1
    stored = await StrategyRepository(db).get_by_id(strategy.id)
    assert stored is not None
    assert stored.parameters == {"fast": [1, 2]}
    assert await UserRepository(db).count(full_name="changed") == 1


async def test_pending_objects_are_seen(db: DatabaseManager) -> None:
    async with db.session() as session:
        session.add(User(username="new", email="new@x", password_hash="h"))
        found = await UserRepository(session).get_by_username("new")
        assert found is not None
        await session.rollback()
        assert await UserRepository(session).get_by_username("new") is None


async def test_an_expired_instance_is_read_anew(db: DatabaseManager) -> None:
    async with db.session() as session:
        users = UserRepository(session)
        user = await session.get(User, 1)
        assert user is not None
        user.full_name = "undone"
        await session.flush()
        await session.rollback()
        assert await users.get_by_id(1) is user
        assert user.full_name is None


@OTHER_CONNECTIONS
async def test_each_read_sees_what_was_committed_before(db: DatabaseManager) -> None:
    async with db.session() as session, db.session(snapshot=True) as snapshot:
        assert await UserRepository(session).count() == 5
        assert await UserRepository(snapshot).count() == 5
        await add_user(db)
        assert await UserRepository(session).count() == 6
        assert await UserRepository(snapshot).count() == 5


async def test_who_listens_to_the_session_sees_its_statements(db: DatabaseManager) -> None:
    seen: list[object] = []
    async with db.session() as session:
        event.listen(session.sync_session, "do_orm_execute", seen.append)
        assert await session.get(User, 1)
        assert await UserRepository(session).get_by_id(2)
    assert len(seen) == 2


@pytest.mark.parametrize("name", ["after_begin", "after_transaction_create"])
async def test_who_prepares_transactions_prepares_those_that_read(
    db: DatabaseManager, name: str
) -> None:
    begun: list[object] = []
    for read in (_get, lambda session, key: session.get(User, key)):
        async with db.session() as session:
            event.listen(session.sync_session, name, lambda *_: begun.append(None))
            assert await read(session, 1)
    assert len(begun) == 2


@pytest.mark.backends("postgresql")
async def test_reads_with_effects_belong_to_the_transaction(db: DatabaseManager) -> None:
    """A queue in a table: who reads a job has it until his transaction ends."""
    free = func.pg_try_advisory_xact_lock(User.id)
    async with db.session() as session:
        await session.execute(text("CREATE SEQUENCE numbers"))
    async with db.session() as first, db.session() as second:
        assert [user.id for user in await UserRepository(first).get_many(free, id=1)] == [1]
        assert await UserRepository(second).get_many(free, id=1) == []
        assert await UserRepository(second).count(func.nextval("numbers") > 0) == 5
        assert await second.scalar(text("SELECT last_value FROM numbers")) == 5


@pytest.mark.backends("sqlite-file", "sqlite-memory")
async def test_schemas_that_a_transaction_renames(db: DatabaseManager) -> None:
    async with db.session() as session:
        await (await session.connection()).exec_driver_sql("ATTACH DATABASE ':memory:' AS other")
        await session.commit()
        options = {"schema_translate_map": {None: "other"}}
        connection = await session.connection(execution_options=options)
        await connection.run_sync(User.metadata.tables["users"].create)
        assert await UserRepository(session).get_all() == []
        await UserRepository(session).create(username="a", email="a@x", password_hash="h")
        assert await session.scalar(text("SELECT count(*) FROM other.users")) == 1
        assert await session.scalar(text("SELECT count(*) FROM main.users")) == 5
        await session.invalidate()


@OTHER_CONNECTIONS
@pytest.mark.parametrize("read_only", [False, True])
async def test_after_a_rollback_rows_are_read_anew(db: DatabaseManager, *, read_only: bool) -> None:
    async with db.session(read_only=read_only) as session:
        for number in range(3):
            for user in (await session.get(User, 1), await _get(session, 2)):
                assert user is not None
                assert user.full_name == (str(number - 1) if number else None)
            await UserRepository(db).update_many(User.id > 0, values={"full_name": str(number)})
            await session.rollback()


async def test_what_a_commit_left_readable_remains_so(db: DatabaseManager) -> None:
    async with db.session() as session:
        user = await UserRepository(session).get_by_id(1)
        assert user is not None
        await session.commit()
        await session.rollback()
        assert user.username


async def test_tasks_do_not_meet_in_a_session(db: DatabaseManager) -> None:
    async with db.session() as session:
        first = asyncio.create_task(_get(session, 1))
        await asyncio.sleep(0)
        with pytest.raises(SessionInUseError):
            await _get(session, 2)
        assert await first


async def _get(session: Session, key: int) -> User | None:
    return await UserRepository(session).get_by_id(key)


@pytest.mark.backends("sqlite-file")
async def test_a_read_that_is_cancelled_ends_the_transaction(db: DatabaseManager) -> None:
    endless: ColumnElement[int] = literal_column(
        "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n)"
    )
    session = db.session()
    await session.connection()
    session.add(User(username="new", email="new@x", password_hash="h"))
    await session.flush()
    users = UserRepository(session)
    task = asyncio.create_task(users.rows(criteria=(User.id == endless,)))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await add_user(db)  # at once: the turn to write is free
    await session.close()
    assert session.outcome == "rolled_back"
    assert await UserRepository(db).count(username="new") == 0
