"""Pages: every row once, whatever the order and whoever writes meanwhile."""

from __future__ import annotations

import base64
import json
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from hqt_async_db import (
    AccountSnapshotRepository,
    Backtest,
    BacktestRepository,
    InvalidInputError,
    NotificationRepository,
    Strategy,
    StrategyRepository,
    User,
    UserRepository,
)
from tests.integration.test_repository.samples import (
    OTHER_CONNECTIONS,
    DeskRepository,
    LimitRepository,
    OwnBase,
    add_backtest,
    add_strategy,
    add_user,
    at,
    user_row,
    user_rows,
)

if TYPE_CHECKING:
    from hqt_async_db import BaseRepository, DatabaseManager
    from tests.fixtures.managers import RecordStatements
    from tests.integration.test_repository.samples import Bind


async def _walk(repository: BaseRepository[Any], limit: int = 2, **options: Any) -> list[Any]:
    """Return the items of all pages, one after the other."""
    items: list[Any] = []
    cursor = None
    while True:
        page = await repository.page(limit=limit, after=cursor, **options)
        items += page.items
        if page.next_cursor is None:
            assert len(page.items) <= limit
            return items
        assert len(page.items) == limit
        cursor = page.next_cursor


async def test_pages_of_a_user_interface(bind: Bind) -> None:
    users = UserRepository(bind)
    assert (await users.page()).items == []
    await users.create_many(user_rows(5))
    first = await users.page(order_by="-username", limit=2)
    assert [user.username for user in first.items] == ["u00004", "u00003"]
    rest = await users.page(order_by="-username", limit=3, after=first.next_cursor)
    assert [user.username for user in rest.items] == ["u00002", "u00001", "u00000"]
    assert rest.next_cursor is None
    filtered = await users.page(User.username > "u00001", is_active=True, limit=5)
    assert len(filtered.items) == 3


ORDERS = [
    None, "full_name", "-full_name", "is_active", "-is_active", "created_at", "-username",
    ("full_name", "-username"), ("-full_name", "username"), ("is_active", "-full_name"),
    User.full_name.desc(), (User.is_active.asc(), User.full_name),
]  # fmt: skip


async def test_every_order_with_ties_and_nulls(bind: Bind) -> None:
    users = UserRepository(bind)
    values = product((None, "a", "B", "é"), (True, False), range(2))
    rows = [
        user_row(f"{number:02}", full_name=name, is_active=active, created_at=at(number % 3))
        for number, (name, active, _) in enumerate(values)
    ]
    await users.create_many(rows)
    for order_by in ORDERS:
        expected = [user.id for user in await users.get_all(order_by=order_by)]
        assert len(expected) == len(rows)
        for limit in (1, 3, 16):
            walked = [user.id for user in await _walk(users, limit, order_by=order_by)]
            assert walked == expected, (order_by, limit)


async def test_money_and_doubles_keep_their_type_in_the_cursor(db: DatabaseManager) -> None:
    snapshots = AccountSnapshotRepository(db)
    amounts = ["0.1", "0.10000001", "-3", "99999.5", "0", "0.1", None]
    await snapshots.create_many(
        [{"account_id": "a", "balance": 1, "equity": 2, "profit": amount} for amount in amounts]
    )
    for order_by in ("profit", "-profit", ("profit", "-timestamp")):
        expected = [row.id for row in await snapshots.get_all(order_by=order_by)]
        assert [row.id for row in await _walk(snapshots, 1, order_by=order_by)] == expected
    strategy = await add_strategy(db, await add_user(db))
    for ratio in (0.1, 0.1 + 2**-55, 5e-324, 1.7e308, -0.0, None):
        await add_backtest(db, strategy, sharpe_ratio=ratio)
    for order_by in ("sharpe_ratio", "-sharpe_ratio"):
        ratios = [
            run.sharpe_ratio for run in await _walk(BacktestRepository(db), 1, order_by=order_by)
        ]
        found = [
            run.sharpe_ratio for run in await BacktestRepository(db).get_all(order_by=order_by)
        ]
        assert ratios == found
        assert len(ratios) == 6


async def test_rows_written_between_two_pages_neither_repeat_nor_hide_others(bind: Bind) -> None:
    notes = NotificationRepository(bind)
    user = await add_user(bind)

    async def write(title: str, hour: int) -> None:
        await notes.create(user_id=user.id, title=title, message="m", created_at=at(hour))

    for hour in range(6):
        await write(f"{hour}", hour)
    seen: list[str] = []
    cursor = None
    for step in range(3):
        page = await notes.page(order_by="-created_at", limit=2, after=cursor, user_id=user.id)
        seen += [note.title for note in page.items]
        cursor = page.next_cursor
        await write(f"newer {step}", 100 + step)  # before the cursor: not seen
        await notes.delete_many(title="newer 0")
    assert seen == ["5", "4", "3", "2", "1", "0"]


@OTHER_CONNECTIONS
async def test_the_cursor_follows_the_database_not_older_instances(db: DatabaseManager) -> None:
    await UserRepository(db).create_many(
        [user_row(number, full_name=f"n{number}") for number in range(4)]
    )
    async with db.session() as session:
        users = UserRepository(session)
        held = await users.get_all()
        await UserRepository(db).update_many(username="0", values={"full_name": "n15"})
        walked = [user.username for user in await _walk(users, 2, order_by="full_name")]
        assert walked == ["1", "0", "2", "3"]
        assert held[0].full_name == "n0"  # a read does not change what the session holds


async def test_deep_pages_start_at_an_index(
    db: DatabaseManager, statements: RecordStatements
) -> None:
    users = UserRepository(db)
    await users.create_many(user_rows(5))
    cursor = (await users.page(order_by="username", limit=1)).next_cursor
    with statements(db) as sent:
        await users.page(order_by="username", limit=1, after=cursor)
    assert "users.username >= " in sent[0]


async def test_a_cursor_of_another_order_or_model_is_refused(bind: Bind) -> None:
    users, strategies = UserRepository(bind), StrategyRepository(bind)
    await users.create_many(user_rows(3))
    cursor = (await users.page(limit=1)).next_cursor
    assert cursor is not None
    assert set(cursor) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
    for other in ("-id", "username", ("id", "username")):
        with pytest.raises(InvalidInputError, match="of another order"):
            await users.page(order_by=other, after=cursor)
    with pytest.raises(InvalidInputError, match="of another order"):
        await strategies.page(after=cursor)
    await users.page(order_by="id", after=cursor)  # the same order, said differently


async def test_a_forged_value_is_refused_like_any_other(bind: Bind) -> None:
    users = UserRepository(bind)
    await users.create_many(user_rows(2))
    cursor = (await users.page(order_by="created_at", limit=1)).next_cursor or ""
    order, values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    forged: list[Any] = [
        None,
        "x",
        5,
        True,
        ["x"],
        {},
        "1e999",
        "2024-01-01T00:00:00+25:00",
        "9" * 5000,
    ]
    for value, position in product(forged, (0, 1)):
        changed = [value if index == position else kept for index, kept in enumerate(values)]
        document = json.dumps([order, changed]).encode()
        with pytest.raises(InvalidInputError, match="the page cursor is damaged"):
            await users.page(
                order_by="created_at", after=base64.urlsafe_b64encode(document).decode()
            )
    wrongs: list[Any] = [[], values[:1], [*values, 1], None, 5, {}]
    for wrong in wrongs:
        document = json.dumps([order, wrong]).encode()
        with pytest.raises(InvalidInputError, match="the page cursor is damaged"):
            await users.page(
                order_by="created_at", after=base64.urlsafe_b64encode(document).decode()
            )


async def test_only_columns_that_fit_into_a_cursor(bind: Bind) -> None:
    with pytest.raises(
        InvalidInputError, match=r"cannot order by strategies\.parameters"
    ) as refused:
        await StrategyRepository(bind).page(order_by=Strategy.parameters)
    assert refused.value.field == "order_by"
    with pytest.raises(InvalidInputError, match="is no column of Backtest"):
        await BacktestRepository(bind).page(order_by=Strategy.name)


async def test_relationships_are_loaded_with_a_page(
    db: DatabaseManager, statements: RecordStatements
) -> None:
    strategy = await add_strategy(db, await add_user(db))
    for _ in range(5):
        await add_backtest(db, strategy)
    with statements(db) as sent:
        page = await BacktestRepository(db).page(limit=3, load=(Backtest.strategy,))
    assert len(sent) == 2
    assert [backtest.strategy.name for backtest in page.items] == ["MA"] * 3


async def test_keys_of_two_columns(db: DatabaseManager, bind: Bind) -> None:
    await db.create_all(OwnBase)
    await DeskRepository(bind).create_many([{"id": 1, "title": "a"}, {"id": 2, "title": "b"}])
    keys = [(desk, symbol) for desk in (1, 2) for symbol in ("A", "B", "C")]
    await LimitRepository(bind).create_many(
        [{"desk_id": desk, "symbol": symbol, "size": len(symbol) % 2} for desk, symbol in keys]
    )
    walked = [(limit.desk_id, limit.symbol) for limit in await _walk(LimitRepository(bind))]
    assert walked == keys
    walked = [
        (limit.desk_id, limit.symbol)
        for limit in await _walk(LimitRepository(bind), order_by=("-symbol", "size"))
    ]
    assert walked == [(1, "C"), (2, "C"), (1, "B"), (2, "B"), (1, "A"), (2, "A")]
