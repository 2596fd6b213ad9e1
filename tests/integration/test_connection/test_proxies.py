"""SQLAlchemy's asyncio classes as a manager hands them out: they keep their greenlets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from greenlet import getcurrent
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hqt_async_db import DatabaseManager


@pytest.fixture
def greenlets(db: DatabaseManager) -> Iterator[list[object]]:
    """The greenlets in which statements ran."""
    seen: list[object] = []

    def note(*_: Any) -> None:
        seen.append(getcurrent())

    event.listen(db.engine.sync_engine, "before_cursor_execute", note)
    yield seen
    event.remove(db.engine.sync_engine, "before_cursor_execute", note)


async def use(connection: AsyncConnection | AsyncSession) -> None:
    for _ in range(3):
        await connection.execute(text("SELECT 1"))
        assert await connection.scalar(text("SELECT 2")) == 2
        await connection.commit()


async def test_statements_of_a_connection_share_one(
    db: DatabaseManager, greenlets: list[object]
) -> None:
    assert isinstance(db.engine, AsyncEngine)
    async with db.engine.connect() as connection:
        assert isinstance(connection, AsyncConnection)
        await use(connection)
    assert len(greenlets) == 6
    assert len(set(greenlets)) == 1


async def test_so_do_those_of_an_engine_with_options(
    db: DatabaseManager, greenlets: list[object]
) -> None:
    engine = db.engine.execution_options(logging_token="token")
    async with engine.begin() as connection:
        assert connection.engine is engine
        await connection.execute(text("SELECT 1"))
        await connection.execute(text("SELECT 1"))
    assert len(greenlets) == 2
    assert len(set(greenlets)) == 1


async def test_so_do_those_of_a_session(db: DatabaseManager, greenlets: list[object]) -> None:
    async with db.session() as session:
        await use(session)
        async with session.begin_nested():
            await session.execute(text("SELECT 1"))
    assert len(set(greenlets)) == 1


async def test_a_session_s_connection_keeps_them_too(
    db: DatabaseManager, greenlets: list[object]
) -> None:
    async with db.session() as session:
        connection = await session.connection()
        assert await session.connection() is connection
        assert type(connection.engine) is type(db.engine)
        await connection.execute(text("SELECT 1"))
        await connection.execute(text("SELECT 1"))
    assert len(greenlets) == 2
    assert len(set(greenlets)) == 1


async def test_engines_of_others_are_left_alone(db: DatabaseManager) -> None:
    async with db.engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    other = create_async_engine("sqlite+aiosqlite://")
    async with other.connect() as connection:
        assert await connection.run_sync(getcurrent_of) is not await connection.run_sync(
            getcurrent_of
        )
    await other.dispose()


def getcurrent_of(_: object) -> object:
    return getcurrent()
