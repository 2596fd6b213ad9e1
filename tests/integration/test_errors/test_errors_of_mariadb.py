"""What MariaDB's drivers would get wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from hqt_async_db import (
    DatabaseLockedError,
    DatabaseManager,
    NotificationRepository,
    UserRepository,
    ValueRefusedError,
)

if TYPE_CHECKING:
    from sqlalchemy import URL

    from tests.servers.admin import Admin

pytestmark = pytest.mark.drivers("asyncmy", "aiomysql")


@pytest.mark.parametrize("password", ["plain", "pässwörd", "€uro ключ"])
async def test_a_password_may_have_any_letters(
    url: URL, server: Admin, driver: str, password: str
) -> None:
    user = f"u{abs(hash((url.database, driver, password))) % 10**9}"
    await asyncio.to_thread(server.execute, f"CREATE USER {user}@'%' IDENTIFIED BY '{password}'")
    try:
        grant = f"GRANT ALL ON `{url.database}`.* TO {user}@'%'"
        await asyncio.to_thread(server.execute, grant)
        own = url.set(username=user, password=password)
        async with DatabaseManager(own) as db:
            assert await db.ping() > 0
        async with DatabaseManager(
            own.set(password=None), connect_args={"password": password}
        ) as db:
            assert await db.ping() > 0
    finally:
        await asyncio.to_thread(server.execute, f"DROP USER {user}@'%'")


async def test_a_read_only_session_goes_on_after_a_lock_timeout(db: DatabaseManager) -> None:
    async with db.engine.connect() as holder, db.session(read_only=True) as session:
        await holder.exec_driver_sql("LOCK TABLES users WRITE")
        with pytest.raises(DatabaseLockedError):
            await session.execute(text("SELECT * FROM users"))
        assert await session.scalar(text("SELECT 1")) == 1
        await holder.exec_driver_sql("UNLOCK TABLES")


async def test_a_row_that_the_server_does_not_take_is_no_lost_connection(
    db: DatabaseManager,
) -> None:
    user = (await UserRepository(db).get_all())[0]
    with pytest.raises(ValueRefusedError, match="max_allowed_packet") as caught:
        await NotificationRepository(db).create(
            user_id=user.id, title="t", level="info", message="x" * 20_000_000
        )
    assert not caught.value.retryable
    async with db.session() as session:
        with pytest.raises(ValueRefusedError, match="max_allowed_packet"):
            await NotificationRepository(session).create(
                user_id=user.id, title="t", level="info", message="x" * 20_000_000
            )
        await session.rollback()
    assert await NotificationRepository(db).count() == 0
