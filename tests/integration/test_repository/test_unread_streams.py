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
