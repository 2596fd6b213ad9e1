"""A stream of a session that is not read to its end, and what else the session is asked for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, text

from hqt_async_db import DatabaseClosedError, SessionInUseError, User, UserRepository
from tests.integration.test_repository.samples import user_rows

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager
    from tests.fixtures.managers import MakeDb

MYSQL = pytest.mark.backends("mariadb")


@pytest.fixture
async def _users(db: DatabaseManager) -> None:
    await UserRepository(db).create_many(user_rows(1500))


@MYSQL
@pytest.mark.usefixtures("_users")
@pytest.mark.parametrize("entities", [True, False])
async def test_nothing_else_is_sent_before_the_last_row(
    db: DatabaseManager, *, entities: bool
) -> None:
    async with db.session() as session:
        users = UserRepository(session)
        async with users.stream(entities=entities) as rows:
            read = 0
            async for row in rows:
                if not read:
                    with pytest.raises(SessionInUseError, match="to its end"):
                        await users.update_many(id=row.id, values={"full_name": "x"})
                    with pytest.raises(SessionInUseError, match="to its end"):
                        await users.exists(id=row.id)
                read += 1
        assert read == 1500
        assert await users.update_many(username="u00001", values={"full_name": "x"}) == 1


@MYSQL
@pytest.mark.usefixtures("_users")
async def test_a_result_of_sqlalchemy_is_not_cut_short(db: DatabaseManager) -> None:
    async with db.session() as session:
        options = {"yield_per": 100}
        result = await session.stream(select(User.id), execution_options=options)
        await anext(aiter(result))
        with pytest.raises(SessionInUseError, match="to its end"):
            await session.scalar(text("SELECT 1"))
        assert len([row async for row in result]) == 1499
        assert await session.scalar(text("SELECT 1")) == 1


@pytest.mark.usefixtures("_users")
@pytest.mark.parametrize("is_rolled_back", [True, False])
async def test_a_stream_that_was_left_does_not_harm_its_transaction(
    db: DatabaseManager, *, is_rolled_back: bool
) -> None:
    async with asyncio.timeout(10), db.session() as session:
        users = UserRepository(session)
        await users.update_many(username="u00001", values={"full_name": "important"})
        async for _ in users.stream():
            break
        if is_rolled_back:
            await session.rollback()
    stored = await UserRepository(db).get_by_username("u00001")
    assert stored is not None
    assert stored.full_name == (None if is_rolled_back else "important")


async def read_while_disposing(manager: DatabaseManager, users: UserRepository) -> None:
    read = 0
    async with users.stream() as rows:
        async for _ in rows:
            read += 1
            if read == 10:
                await asyncio.create_task(manager.dispose())


@pytest.mark.usefixtures("_users")
@pytest.mark.backends("mariadb", "postgresql")
async def test_dispose_ends_a_stream_of_a_session(make_db: MakeDb) -> None:
    manager = make_db()

    async def read_in_a_session() -> None:
        async with manager.session() as session:
            await read_while_disposing(manager, UserRepository(session))

    with pytest.raises(DatabaseClosedError):
        await read_in_a_session()


@MYSQL
@pytest.mark.usefixtures("_users")
async def test_dispose_ends_a_stream_of_the_manager(make_db: MakeDb) -> None:
    manager = make_db()
    with pytest.raises(DatabaseClosedError):
        await read_while_disposing(manager, UserRepository(manager))


@MYSQL
@pytest.mark.usefixtures("_users")
async def test_what_was_read_to_its_end_is_in_nobodys_way(db: DatabaseManager) -> None:
    async with asyncio.timeout(10), db.session() as session:
        users = UserRepository(session)
        for entities in (True, False):
            async with users.stream(entities=entities) as rows:
                assert len([row async for row in rows]) == 1500
                assert await users.exists(username="u00001")
        result = await session.stream(select(User))
        assert sum([len(part) async for part in result.partitions(100)]) == 1500
        assert await users.exists(username="u00001")


# MySQL sends nothing beside a stream.
@pytest.mark.backends("sqlite-file", "sqlite-memory", "postgresql")
@pytest.mark.usefixtures("_users")
async def test_savepoints_leave_a_stream_alone(db: DatabaseManager) -> None:
    async with db.session() as session:
        users = UserRepository(session)
        read = 0
        async for _ in users.stream():
            read += 1
            if read % 500 == 0:
                async with session.begin_nested():
                    await users.get_or_create(
                        {"email": f"{read}@y", "password_hash": "-"}, username=f"new{read}"
                    )
    assert read == 1500
    assert await UserRepository(db).count() == 1503


@pytest.mark.usefixtures("_users")
@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize("verb", ["rollback", "close", "commit"])
async def test_a_cancelled_end_ends_beside_a_stream(
    db: DatabaseManager, verb: str, turns: int
) -> None:
    session = db.session()
    users = UserRepository(session)
    await users.update_many(username="u00001", values={"full_name": "x"})
    rows = aiter(users.stream())
    await anext(rows)
    ending = asyncio.create_task(getattr(session, verb)())
    for _ in range(turns):
        await asyncio.sleep(0)
    ending.cancel()
    await asyncio.wait((ending,), timeout=10)
    await session.close()
    assert not session.in_transaction()
    stored = await UserRepository(db).get_by_username("u00001")
    assert stored is not None
    assert (stored.full_name == "x") == (session.outcome == "committed")
    if verb != "commit":
        assert session.outcome == "rolled_back"
    await users_can_write(db)


async def users_can_write(db: DatabaseManager) -> None:
    async with asyncio.timeout(5):
        await UserRepository(db).update_many(username="u00001", values={"full_name": "y"})


@MYSQL
@pytest.mark.usefixtures("_users")
@pytest.mark.parametrize("turns", range(0, 12, 2))
async def test_a_savepoint_that_is_cancelled_beside_a_stream_is_undone(
    db: DatabaseManager, turns: int
) -> None:
    session = db.session()
    users, is_open = UserRepository(session), asyncio.Event()

    async def fail() -> None:
        async with session.begin_nested():
            await users.update_many(username="u00001", values={"full_name": "x"})
            await anext(aiter(users.stream()))
            is_open.set()
            raise LookupError

    failing = asyncio.create_task(fail())
    await is_open.wait()
    for _ in range(turns):
        await asyncio.sleep(0)
    failing.cancel()
    await asyncio.wait((failing,), timeout=10)
    await session.commit()
    await session.close()
    stored = await UserRepository(db).get_by_username("u00001")
    assert stored is not None
    assert stored.full_name is None


@MYSQL
@pytest.mark.usefixtures("_users")
async def test_another_task_is_refused_as_well(db: DatabaseManager) -> None:
    is_reading, may_go_on = asyncio.Event(), asyncio.Event()
    async with db.session() as session:

        async def read() -> int:
            count = 0
            async for _ in UserRepository(session).stream():
                count += 1
                if count == 10:
                    is_reading.set()
                    await may_go_on.wait()
            return count

        reading = asyncio.create_task(read())
        await is_reading.wait()
        with pytest.raises(SessionInUseError, match="to its end"):
            await UserRepository(session).count()
        may_go_on.set()
        assert await reading == 1500
