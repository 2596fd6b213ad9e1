"""Bad input is refused with the field's name, before anything is sent."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, text
from sqlalchemy.orm import joinedload

from hqt_async_db import (
    AccountSnapshotRepository,
    BacktestRepository,
    InvalidInputError,
    LiveTradeRepository,
    NotificationRepository,
    OptimizationRepository,
    Strategy,
    StrategyRepository,
    User,
    UserRepository,
)
from tests.integration.test_repository.samples import ORDER, add_user, user_row

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hqt_async_db import DatabaseManager
    from tests.fixtures.managers import RecordStatements
    from tests.integration.test_repository.samples import Bind


async def _refused(field: str, call: Awaitable[Any]) -> None:
    with pytest.raises(InvalidInputError) as refused:
        await call
    assert refused.value.field is not None
    assert field in refused.value.field, refused.value
    assert isinstance(refused.value, ValueError)


async def _all_refused(
    db: DatabaseManager, statements: RecordStatements, calls: list[tuple[str, Awaitable[Any]]]
) -> None:
    with statements(db) as sent:
        for field, call in calls:
            await _refused(field, call)
    assert sent == []


BAD_VALUES = [
    ("username", 5),
    ("username", "x" * 10_240),
    ("username", "a\0b"),
    ("username", "\ud800"),
    ("username", b"a"),
    ("id", "1"),
    ("id", 1.5),
    ("id", True),
    ("id", 2**70),
    ("is_active", "yes"),
    ("is_active", 2),
    ("created_at", "2024-01-01"),
    ("created_at", date(2024, 1, 1)),
]


async def test_filters_of_every_read(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    users: Any = UserRepository(bind)
    reads: list[Callable[..., Awaitable[Any]]] = [
        users.get_one, users.get_one_or_none, users.get_many, users.get_many_and_count,
        users.page, users.rows, users.exists, users.count, users.delete_many,
    ]  # fmt: skip
    calls = [(field, read(**{field: value})) for read in reads for field, value in BAD_VALUES[:6]]
    calls += [(field, users.get_many(**{field: value})) for field, value in BAD_VALUES]
    calls += [(field, users.get_many(**{field: [value]})) for field, value in BAD_VALUES]
    calls += [(name, read(**{name: 1})) for read in reads for name in ("nonsense", "strategies")]
    calls += [("criteria", users.get_many(wrong)) for wrong in (True, "id = 1", None, User, 1)]
    calls += [("criteria", users.get_many(User.strategies))]
    calls += [("username", users.get_many(username=["x"] * 501))]
    calls += [("x", users.get_many(**{"x" * 10_240: 1}))]
    await _all_refused(db, statements, calls)


async def test_a_stream_is_refused_when_it_is_asked_for(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    users: Any = UserRepository(bind)
    with statements(db) as sent:
        for keywords in ({"nonsense": 1}, {"order_by": "nonsense"}, {"columns": ["nonsense"]}):
            with pytest.raises(InvalidInputError, match="has no column 'nonsense'; it has created"):
                users.stream(**keywords)
        with pytest.raises(InvalidInputError, match="exclude each other"):
            users.stream(columns=["id"], entities=True)
    assert sent == []


async def test_names_are_listed_where_one_is_wrong(bind: Bind) -> None:
    users: Any = UserRepository(bind)
    with pytest.raises(InvalidInputError) as refused:
        await users.get_many(**{"user-name" * 1000: 1})
    assert "it has created_at, email, full_name, id" in str(refused.value)
    assert len(str(refused.value)) < 300


async def test_limits_orders_and_loads(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    users: Any = UserRepository(bind)
    reads: list[Callable[..., Awaitable[Any]]] = [
        users.get_all, users.get_many, users.get_many_and_count, users.rows, users.page,
    ]  # fmt: skip
    limits = (-1, True, 1.5, "5", 2**31)
    calls = [("limit", read(limit=wrong)) for read in reads for wrong in limits]
    calls += [("limit", users.page(limit=wrong)) for wrong in (0, None)]
    calls += [("offset", read(offset=wrong)) for read in reads[:4] for wrong in limits]
    for wrong in (5, object(), text("id"), User, User.strategies, User.id.desc().nulls_first(),
                  Strategy.name, Strategy.name.desc(), func.lower(Strategy.name).desc(),
                  Strategy.parameters["a"].as_string(), ["id", 5], {"id"}):  # fmt: skip
        calls += [("order_by", read(order_by=wrong)) for read in reads]
    strategies: Any = StrategyRepository(bind)
    for wrong in ("-parameters", Strategy.parameters.desc(), Strategy.parameters["a"]):
        for read in (strategies.get_all, strategies.rows, strategies.page):
            calls += [("order_by", read(order_by=wrong))]
    for name in ("nonsense", "-nonsense", "", "-", "id desc", "strategies", "password_hash;"):
        calls += [(name.lstrip("-"), read(order_by=name)) for read in reads]
    calls += [("order_by", users.page(order_by=func.lower(User.username)))]
    for load in (User.strategies, "strategies", ("strategies",), (User.id,), (Strategy.user,), {1}):
        calls += [("load", read(load=load)) for read in (*reads[:3], users.page)]
        calls += [("load", users.get_by_id(1, load=load))]
    calls += [("load", users.get_many(load=joinedload(User.strategies)))]
    calls += [("columns", users.rows(5, User))]
    calls += [("nonsense", users.rows("id", "nonsense"))]
    await _all_refused(db, statements, calls)


async def test_primary_keys(db: DatabaseManager, bind: Bind, statements: RecordStatements) -> None:
    users: Any = UserRepository(bind)
    wrong_keys = (None, "1", 1.5, True, 2**70, (1, 2), (), (None,), [1], {1}, {"id": 1}, b"1")
    calls = [("id", users.get_by_id(wrong)) for wrong in wrong_keys]
    calls += [("id", users.delete_by_id(wrong)) for wrong in wrong_keys]
    await _all_refused(db, statements, calls)


async def test_values_of_every_write(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    user = await add_user(bind)
    users: Any = UserRepository(bind)
    before = (user.username, user.updated_at)
    calls: list[tuple[str, Awaitable[Any]]] = []
    for field, value in [*BAD_VALUES, ("nonsense", 1), ("email", None)]:
        row = (
            user_row("b", **{field: value})
            if field != "username"
            else user_row("b") | {field: value}
        )
        calls += [
            (field, users.create(**row)),
            (field, users.update(user, full_name="new", **{field: value})),
            (field, users.create_many([user_row("c"), row])),
            (field, users.create_many([row], returning=True)),
            (field, users.upsert(["username"], **row)),
            (field, users.upsert_many([user_row("c"), row], ["username"])),
            (field, users.update_many(id=user.id, values={field: value})),
            (field, users.get_or_create(row, full_name="x")),
        ]
    missing = {"username": "d", "email": "d@x"}
    calls += [
        ("password_hash", users.create(**missing)),
        ("password_hash", users.create_many([missing])),
        ("password_hash", users.upsert(["username"], **missing)),
        ("password_hash", users.get_or_create(username="d", email="d@x")),
        ("strategies", users.create_many([user_row("d", strategies=[])])),
        ("strategies", users.update_many(id=1, values={"strategies": []})),
    ]
    await _all_refused(db, statements, calls)
    assert (user.username, user.updated_at, user.full_name) == (*before, None)


async def test_a_new_row_has_what_was_looked_for(db: DatabaseManager, bind: Bind) -> None:
    user = await add_user(db, "a")
    notifications = NotificationRepository(bind)
    values = {"title": "t", "message": "m", "user_id": user.id}
    await _refused("level", notifications.get_or_create(values, level=None))  # it has a default
    assert await notifications.count() == 0


async def test_rows_are_named_by_their_number(bind: Bind) -> None:
    rows = [user_row(number) for number in range(3)]
    rows[2]["is_active"] = "maybe"
    with pytest.raises(InvalidInputError, match=r"^row 2: users\.is_active must be True or False"):
        await UserRepository(bind).create_many(iter(rows))
    assert await UserRepository(bind).count() == 0


async def test_writes_of_many_rows_need_a_criterion(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    users: Any = UserRepository(bind)
    await _all_refused(db, statements, [
        ("criteria", users.delete_many()),
        ("criteria", users.update_many(values={"full_name": "x"})),
        ("values", users.update_many(id=1, values={})),
        ("filters", users.get_or_create({"username": "a"})),
        ("defaults", users.get_or_create({"username": "a"}, username="b")),
    ])  # fmt: skip


async def test_only_a_position_is_marked(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    trades: Any = LiveTradeRepository(bind)
    await _all_refused(db, statements, [
        ("instance", trades.mark_open("x", entry_price=1)),
        ("instance", trades.mark_closed(None, exit_price=1, profit=0)),
    ])  # fmt: skip


async def test_a_key_to_match_must_be_a_unique_one(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    users: Any = UserRepository(bind)
    trades: Any = LiveTradeRepository(bind)
    order = {"account_id": "a", **ORDER}
    await _all_refused(db, statements, [
        ("match_fields", users.upsert(["full_name"], **user_row("a"))),
        ("match_fields", users.upsert(["username", "email"], **user_row("a"))),
        ("match_fields", users.upsert([], **user_row("a"))),
        ("match_fields", users.upsert("username", **user_row("a"))),
        ("match_fields", users.upsert(None, **user_row("a"))),
        ("match_fields", users.upsert(["nonsense"], **user_row("a"))),
        ("match_fields", trades.upsert(["client_order_id"], client_order_id="1", **order)),
        ("id", users.upsert(["id"], **user_row("a"))),
        ("rows", users.upsert_many([user_row("a"), user_row("b"), user_row("a")], ["username"])),
        ("rows", users.upsert_many([user_row("a"), user_row("a")], ["username"])),
        ("full_name", users.upsert(["username"], **user_row("a", full_name=func.now()))),
        ("full_name", users.create_many([user_row("a", full_name=func.now())])),
    ])  # fmt: skip
    with pytest.raises(InvalidInputError, match=r"unique key of User: email; id; username$"):
        await users.upsert(["full_name"], **user_row("a"))


async def test_instances_of_another_kind(bind: Bind) -> None:
    user = await add_user(bind)
    strategies: Any = StrategyRepository(bind)
    for verb in (strategies.update, strategies.delete):
        for wrong in (user, None, 1, {"id": 1}):
            with pytest.raises(InvalidInputError, match="expected a Strategy, not") as refused:
                await verb(wrong)
            assert refused.value.field == "instance"


async def test_damaged_cursors(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    users: Any = UserRepository(bind)
    damaged = ("", "x", "????", "e30", "W10", "WzFd", "é", "a" * 10_000, 5, b"x")
    calls = [("after", users.page(order_by="username", after=cursor)) for cursor in damaged]
    await _all_refused(db, statements, calls)


async def test_numbers_that_a_backend_cannot_hold(
    db: DatabaseManager, bind: Bind, statements: RecordStatements, backend: str
) -> None:
    backtests: Any = BacktestRepository(bind)
    snapshots: Any = AccountSnapshotRepository(bind)
    calls: list[tuple[str, Awaitable[Any]]] = [
        ("equity", snapshots.get_many(equity=float("nan"))),
        ("equity", snapshots.get_many(equity=Decimal("1e30"))),
        ("equity", snapshots.create(account_id="a", balance=1, equity="a lot")),
    ]
    if backend != "postgresql":
        calls += [("sharpe_ratio", backtests.get_many(sharpe_ratio=float("nan")))]
        calls += [
            ("sharpe_ratio", backtests.update_many(id=1, values={"sharpe_ratio": float("inf")}))
        ]
    if backend.startswith("sqlite"):
        exact = Decimal("12345678.12345678")
        calls += [("equity", snapshots.get_many(equity=exact))]
        calls += [("equity", snapshots.create(account_id="a", balance=1, equity=exact))]
    await _all_refused(db, statements, calls)
    assert await snapshots.count() == 0  # a session is as usable as before


async def test_queries_of_the_repositories(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    backtests: Any = BacktestRepository(bind)
    notes: Any = NotificationRepository(bind)
    calls: list[tuple[str, Awaitable[Any]]] = [
        ("metric", backtests.leaderboard("name")),
        ("metric", backtests.leaderboard("initial_capital")),
        ("metric", backtests.leaderboard("sharpe_ratio; DROP TABLE users")),
        ("limit", backtests.leaderboard(limit=-1)),
        ("symbol", backtests.get_by_symbol(5)),
        ("status", backtests.get_by_status("done")),
        ("user_id", backtests.get_by_user("1")),
        ("level", notes.get_by_level("loud")),
        ("text", UserRepository(bind).search("")),
        ("combinations", OptimizationRepository(bind).advance(1, 2**80)),
        ("combinations", OptimizationRepository(bind).advance(1, -1)),
        ("username", UserRepository(bind).get_by_username("x" * 51)),
        ("limit", LiveTradeRepository(bind).get_open("a", limit=-1)),
    ]
    await _all_refused(db, statements, calls)
