"""Rows come in one order, the same on every backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func

from hqt_async_db import (
    AccountSnapshot,
    AccountSnapshotRepository,
    BacktestRepository,
    OptimizationResultRepository,
    User,
    UserRepository,
)
from tests.integration.test_repository.samples import (
    add_backtest,
    add_optimization,
    add_strategy,
    add_user,
    at,
    user_row,
)

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager
    from tests.integration.test_repository.samples import Bind

# In the order of their code points, which no language's dictionary has.
NAMES = [
    " a",
    "!",
    "0",
    "10",
    "9",
    "A",
    "Z",
    "Zz",
    "_",
    "a",
    "a ",
    "a!",
    "aa",
    "z",
    "é",
    "ß",
    "中",
    "😀",
]


@pytest.mark.parametrize("direction", ["", "-"])
async def test_text_is_ordered_by_code_point(bind: Bind, direction: str) -> None:
    users = UserRepository(bind)
    await users.create_many([user_row(name) for name in reversed(NAMES)])
    assert sorted(NAMES) == sorted(NAMES, key=lambda name: [ord(letter) for letter in name])
    found = [user.username for user in await users.get_all(order_by=f"{direction}username")]
    assert found == sorted(NAMES, reverse=direction == "-")


async def test_nulls_come_last_either_way(bind: Bind) -> None:
    users = UserRepository(bind)
    names = ["b", None, "a", None, "c"]
    await users.create_many([user_row(i, full_name=name) for i, name in enumerate(names)])

    async def order(order_by: Any) -> list[tuple[str | None, str]]:
        found = await users.get_all(order_by=order_by)
        return [(user.full_name, user.username) for user in found]

    upwards = [("a", "2"), ("b", "0"), ("c", "4"), (None, "1"), (None, "3")]
    downwards = [("c", "4"), ("b", "0"), ("a", "2"), (None, "3"), (None, "1")]
    assert await order("full_name") == upwards
    assert await order(User.full_name) == upwards
    assert await order(User.full_name.asc()) == upwards
    assert await order([User.full_name.nulls_last(), "id"]) == upwards
    assert await order("-full_name") == downwards  # ties go down as well
    assert await order(User.full_name.desc()) == downwards
    assert await order(User.full_name.desc().nulls_last()) == downwards
    assert await order(["-full_name", "id"]) == [*downwards[:3], *upwards[3:]]


async def test_ties_are_broken_by_the_primary_key(bind: Bind) -> None:
    users = UserRepository(bind)
    made = await users.create_many([user_row(i) for i in range(9)], returning=True)
    keys = [user.id for user in made]
    assert [user.id for user in await users.get_all()] == keys
    assert [user.id for user in await users.get_all(order_by="password_hash")] == keys
    assert [user.id for user in await users.get_all(order_by="-password_hash")] == keys[::-1]
    assert [user.id for user in await users.get_all(order_by=("password_hash", "-id"))] == keys[
        ::-1
    ]


async def test_expressions_order_too(bind: Bind) -> None:
    users = UserRepository(bind)
    await users.create_many([user_row(name) for name in ("B", "a", "c")])
    by_lower = await users.get_many(order_by=func.lower(User.username).desc())
    assert [user.username for user in by_lower] == ["c", "B", "a"]
    by_length = await users.get_many(order_by=(func.length(User.email), "-username"))
    assert [user.username for user in by_length] == ["c", "a", "B"]


async def test_numbers_and_times_are_ordered_as_such(bind: Bind) -> None:
    snapshots = AccountSnapshotRepository(bind)
    amounts = ["9", "10", "-1.5", "0", "0.00000001", "1000000.5"]
    times = [at(-1e6), at(10), at(9), at(0), at(0.001), at(1e6)]
    await snapshots.create_many(
        [
            {"account_id": "a", "balance": amount, "equity": 0, "timestamp": time}
            for amount, time in zip(amounts, times, strict=True)
        ]
    )
    by_balance = [row.balance for row in await snapshots.rows("balance", order_by="balance")]
    assert by_balance == sorted(by_balance)
    assert len(by_balance) == len(amounts)
    by_time = [
        row[0] for row in await snapshots.rows(AccountSnapshot.timestamp, order_by="-timestamp")
    ]
    assert by_time == sorted(times, reverse=True)


async def test_undefined_metrics_come_last(db: DatabaseManager) -> None:
    strategy = await add_strategy(db, await add_user(db))
    search = await add_optimization(db, strategy)
    for score in (1.5, None, -2.0, 1e300, 0.0):
        await OptimizationResultRepository(db).create(
            optimization_id=search.id, parameters={}, score=score
        )
        await add_backtest(db, strategy, sharpe_ratio=score)
    results = await OptimizationResultRepository(db).get_by_optimization(
        search.id, order_by="-score"
    )
    assert [result.score for result in results] == [1e300, 1.5, 0.0, -2.0, None]
    runs = await BacktestRepository(db).get_by_user(strategy.user_id, order_by="sharpe_ratio")
    assert [run.sharpe_ratio for run in runs] == [-2.0, 0.0, 1.5, 1e300, None]
