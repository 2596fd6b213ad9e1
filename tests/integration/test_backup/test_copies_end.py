"""COPY into PostgreSQL ends where its server was killed or says nothing."""

from __future__ import annotations

import asyncio
import csv
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from hqt_async_db import (
    ConnectionFailedError,
    DatabaseManager,
    DeadlineExceededError,
    UserRepository,
)
from hqt_async_db.backup import DatabaseBackup
from tests.integration.test_backup.loads import stored, user

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from tests.fixtures.managers import MakeDb
    from tests.servers.process import ServerProcess

    Way = Callable[[DatabaseManager, Path], Coroutine[Any, Any, object]]

pytestmark = pytest.mark.backends("postgresql")

# More than sockets hold.
ROWS = 60_000


def rows() -> list[dict[str, Any]]:
    return [user(number, password_hash="h" * 200) for number in range(1, ROWS + 1)]


async def append(db: DatabaseManager, path: Path) -> object:
    return await DatabaseBackup(db).import_table_from_csv("users", path)


async def upsert(db: DatabaseManager, path: Path) -> object:
    return await DatabaseBackup(db).import_table_from_csv("users", path, upsert=True)


async def create(db: DatabaseManager, _path: Path) -> object:
    return await UserRepository(db).create_many(rows())


# Those that wait for a lock of the table itself.
DIRECT_WAYS = pytest.mark.parametrize("way", [append, create])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("copies") / "users.csv"
    with path.open("w") as file:
        writer = csv.DictWriter(file, user(1), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows())
    return path


async def in_copy(db: DatabaseManager, action: str) -> int:
    """Do something to the sessions that copy, once there are any; return their number."""
    statement = text(
        f"SELECT {action} FROM pg_stat_activity WHERE query LIKE 'COPY %' "  # noqa: S608 - ours
        "AND state = 'active' AND datname = current_database()"
    )
    async with db.session(read_only=True) as session:
        while True:
            found = (await session.execute(statement)).all()
            if found:
                return len(found)
            await asyncio.sleep(0.005)


async def killed_while_stuck(db: DatabaseManager, copying: Coroutine[Any, Any, object]) -> Any:
    """Return the task of a COPY that cannot send any more, just as its server is killed."""
    async with db.session() as session:
        await session.execute(text("LOCK TABLE users IN EXCLUSIVE MODE"))
        task = asyncio.create_task(copying)
        await in_copy(db, "pid")
        await asyncio.sleep(0.3)  # until nothing more goes into the sockets
        assert not task.done()
        assert await in_copy(db, "pg_terminate_backend(pid)") == 1
        return task


@DIRECT_WAYS
@pytest.mark.parametrize("limit_s", [None, 30.0])
async def test_a_copy_whose_server_process_was_killed(
    db: DatabaseManager, make_db: MakeDb, path: Path, way: Way, limit_s: float | None
) -> None:
    limited = make_db(statement_timeout_s=limit_s)
    async with asyncio.timeout(10):
        copying = await killed_while_stuck(db, way(limited, path))
        with pytest.raises(ConnectionFailedError):
            await copying
    assert await stored(limited, "users", "id") == []


@DIRECT_WAYS
@pytest.mark.parametrize("after_s", [0, 0.001])
async def test_a_copy_that_is_cancelled_as_it_is_lost(
    db: DatabaseManager, make_db: MakeDb, path: Path, way: Way, after_s: float
) -> None:
    # asyncpg would leave the exception of a handshake for TLS to nobody.
    other = make_db(connect_args={"ssl": False})
    async with asyncio.timeout(10):
        copying = await killed_while_stuck(db, way(other, path))
        await asyncio.sleep(after_s)
        was_over = copying.done()
        copying.cancel()
        await asyncio.wait([copying])
    assert copying.cancelled() or (was_over and copying.exception()), copying.exception()
    if not copying.cancelled():
        assert isinstance(copying.exception(), ConnectionFailedError)


@pytest.mark.parametrize("way", [append, upsert, create])
async def test_a_copy_whose_server_says_nothing(
    private_server: ServerProcess, path: Path, way: Way
) -> None:
    url = private_server.admin.address.render_as_string(hide_password=False)
    async with (
        DatabaseManager(url, statement_timeout_s=1.0, commit_timeout_s=1.0) as db,
        DatabaseManager(url) as other,
        AsyncExitStack() as held,
    ):
        await db.create_all()
        if way is not upsert:  # which copies into a table of its own
            session = await held.enter_async_context(other.session())
            await session.execute(text("LOCK TABLE users IN EXCLUSIVE MODE"))
        copying = asyncio.create_task(way(db, path))
        try:
            await in_copy(db, "pid")
            await asyncio.to_thread(private_server.freeze)
            with pytest.raises(DeadlineExceededError):
                async with asyncio.timeout(8):
                    await copying
        finally:
            await asyncio.to_thread(private_server.thaw)
        await held.aclose()
        assert await stored(db, "users", "id") == []
