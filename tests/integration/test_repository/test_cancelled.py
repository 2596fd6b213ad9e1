"""Verbs of several statements, cancelled at each of their awaits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hqt_async_db import (
    PaperTradeRepository,
    StrategyRepository,
    User,
    UserRepository,
    UserSettingRepository,
)
from tests.integration.test_connection.cancelling import Point, cancelled_at, every_await
from tests.integration.test_connection.entries import require_idle
from tests.integration.test_repository.samples import (
    ORDER,
    add_strategy,
    add_user,
    user_row,
    user_rows,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from hqt_async_db import DatabaseManager
    from tests.fixtures.managers import MakeDb

ROWS = 210  # three statements

pytestmark = [
    pytest.mark.backends("sqlite-file", "postgresql", "mariadb"),
    pytest.mark.timeout(90),
]


def rows_of(name: str) -> list[dict[str, Any]]:
    return [user_row(f"{name} {number}") for number in range(ROWS)]


async def create_many(db: DatabaseManager, name: str) -> None:
    await UserRepository(db).create_many(rows_of(name))


async def create_many_returning(db: DatabaseManager, name: str) -> None:
    await UserRepository(db).create_many(rows_of(name), returning=True)


async def upsert_many(db: DatabaseManager, name: str) -> None:
    await UserRepository(db).upsert_many(rows_of(name)[:60], ["username"])


async def get_or_create(db: DatabaseManager, name: str) -> None:
    for is_new in (True, False):
        _, created = await UserRepository(db).get_or_create(**user_row(name))
        assert created is is_new


async def update(db: DatabaseManager, name: str) -> None:
    trades = PaperTradeRepository(db)
    trade, _ = await trades.record("a", name, **ORDER)
    await trades.update(trade, volume=2)
    await trades.delete(trade)


async def set_value(db: DatabaseManager, name: str) -> None:
    [user] = await UserRepository(db).rows("id", username="owner")
    await UserSettingRepository(db).set_value(user.id, name, 1)


async def read(db: DatabaseManager, _name: str) -> None:
    users = UserRepository(db)
    await users.get_many_and_count(load=(User.strategies,))
    await users.page(limit=3)
    await StrategyRepository(db).rows(as_dicts=True)


async def stream(db: DatabaseManager, _name: str) -> None:
    async with UserRepository(db).stream(username="owner") as rows:
        async for _ in rows:
            pass
    async for _ in UserRepository(db).stream(entities=True):
        break


async def cancelled(point: Point, operation: Coroutine[Any, Any, None]) -> None:
    async def work() -> None:
        await cancelled_at(point, operation, lambda: task.cancel())  # noqa: PLW0108 - it is made below

    task = asyncio.create_task(work())
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


@pytest.mark.parametrize(
    "operation",
    [
        create_many, create_many_returning, upsert_many, get_or_create, update, set_value,
        read, stream,
    ],
)  # fmt: skip
async def test_all_or_nothing_and_nothing_left_behind(
    db: DatabaseManager, make_db: MakeDb, operation: Any
) -> None:
    witness = make_db()
    owner = await add_user(db, "owner")
    await add_strategy(db, owner)
    await UserRepository(db).create_many(user_rows(30))
    users = UserRepository(witness)
    known = await users.count()

    async def trial(point: Point) -> None:
        nonlocal known
        await cancelled(point, operation(db, str(point)))
        await require_idle(db, witness)
        added, known = await users.count() - known, await users.count()
        assert added in {0, ROWS, 60, 1}, point

    assert await every_await(trial, "asleep") > 2
    assert await UserRepository(db).exists(username="owner")  # the manager is as usable as before
