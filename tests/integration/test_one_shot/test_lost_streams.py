"""A stream whose connection the server ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from hqt_async_db import ConnectionFailedError, UserRepository
from tests.integration.test_repository.samples import user_rows

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager
    from hqt_async_db.connection.executors.streams import RowStream
    from tests.fixtures.managers import MakeDb

pytestmark = pytest.mark.backends("postgresql")
OTHERS = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


async def lose(rows: RowStream[object], killer: DatabaseManager) -> None:
    read = 0
    async for _ in rows:
        read += 1
        if read == 10:
            async with killer.session() as session:
                assert await session.scalar(text(OTHERS))


@pytest.mark.parametrize("entities", [True, False])
@pytest.mark.parametrize("is_one_shot", [True, False])
async def test_it_is_a_lost_connection_to_be_tried_again(
    make_db: MakeDb, db: DatabaseManager, *, entities: bool, is_one_shot: bool
) -> None:
    await UserRepository(db).create_many(user_rows(1500))
    manager, killer = make_db(), make_db()
    await killer.ping()

    async def read() -> None:
        if is_one_shot:
            async with UserRepository(manager).stream(entities=entities) as rows:
                await lose(rows, killer)
        else:
            async with (
                manager.session() as session,
                UserRepository(session).stream(entities=entities) as rows,
            ):
                await lose(rows, killer)

    with pytest.raises(ConnectionFailedError) as caught:
        await read()
    assert caught.value.retryable
    assert await UserRepository(manager).count() == 1500


async def test_rows_that_are_all_there_are_not_in_doubt(
    make_db: MakeDb, db: DatabaseManager
) -> None:
    await UserRepository(db).create_many(user_rows(50))
    manager, killer = make_db(), make_db()
    async with UserRepository(manager).stream() as rows:
        assert len([row async for row in rows]) == 50
        async with killer.session() as session:
            assert await session.scalar(text(OTHERS))
    assert await UserRepository(manager).count() == 50
