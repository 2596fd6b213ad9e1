"""Many rows in few statements, all or none."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, make_url, true

from hqt_async_db import (
    BacktestTrade,
    DatabaseManager,
    DuplicateKeyError,
    InvalidInputError,
    LiveTradeRepository,
    NotificationRepository,
    PaperTradeRepository,
    StrategyRepository,
    TradeRepository,
    User,
    UserRepository,
)
from tests.integration.test_repository.samples import (
    ORDER,
    add_backtest,
    add_strategy,
    add_user,
    at,
    trade_row,
    user_row,
    user_rows,
)

if TYPE_CHECKING:
    from tests.fixtures.managers import RecordStatements
    from tests.integration.test_repository.samples import Bind


@pytest.mark.parametrize("returning", [False, True])
async def test_a_thousand_rows_are_a_handful_of_statements(
    db: DatabaseManager,
    bind: Bind,
    statements: RecordStatements,
    returning: bool,  # noqa: FBT001 - a parameter
) -> None:
    users = UserRepository(bind)
    with statements(db) as sent:
        await users.create_many([user_row("one")], returning=returning)
        assert len(sent) == 1
        made = await users.create_many(user_rows(1000), returning=returning)
    assert len(sent) <= 1 + 20
    assert await users.count() == 1001
    if isinstance(made, int):
        assert made == 1000
        return
    assert [user.username for user in made] == [row["username"] for row in user_rows(1000)]
    assert len({user.id for user in made}) == 1000
    stored = {row.id: row.username for row in await users.rows("id", "username")}
    assert all(stored[user.id] == user.username for user in made)


async def test_nulls_and_missing_fields_do_not_split_the_statement(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    backtest = await add_backtest(bind, await add_strategy(bind, await add_user(bind)))
    rows = []
    for number in range(40):
        further: dict[str, Any] = {"exit_price": 1.2} if number % 2 else {}
        rows.append(trade_row(backtest, number, None if number % 3 else 1.0, **further))
    with statements(db) as sent:
        await TradeRepository(bind).create_many(rows)
    assert len(sent) == 1
    stored = await TradeRepository(bind).rows("profit", "exit_price", "commission")
    expected = [(row["profit"], row.get("exit_price"), 0.0) for row in rows]
    assert [tuple(row) for row in stored] == expected


@pytest.mark.parametrize("returning", [False, True])
async def test_each_row_has_its_own_fields(bind: Bind, returning: bool) -> None:  # noqa: FBT001 - a parameter
    rows = [
        user_row("a"),
        user_row("b", full_name="B"),
        user_row("c", is_active=False),
        user_row("d", full_name=None, is_active=None, created_at=at(1)),
        user_row("e", full_name="E", is_superuser=True),
        user_row("f"),
    ]
    made = await UserRepository(bind).create_many(iter(rows), returning=returning)
    stored = await UserRepository(bind).get_all(order_by="username")
    assert [(user.full_name, user.is_active, user.is_superuser) for user in stored] == [
        (None, True, False), ("B", True, False), (None, False, False),
        (None, True, False), ("E", True, True), (None, True, False),
    ]  # fmt: skip
    assert stored[3].created_at == at(1)
    assert stored[0].created_at > at(1)
    if not isinstance(made, int):
        assert [user.username for user in made] == list("abcdef")


async def test_no_rows_need_no_statement(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    users = UserRepository(bind)
    with statements(db) as sent:
        assert await users.create_many([]) == 0
        assert await users.create_many(iter(()), returning=True) == []
        assert await users.upsert_many([], ["username"]) == []
    assert sent == []


async def test_values_are_checked_and_normalised_as_in_one_row(bind: Bind) -> None:
    trades = PaperTradeRepository(bind)
    rows = [
        {"account_id": "a", "client_order_id": f"{number}", **ORDER, "volume": volume}
        for number, volume in enumerate((1, 0.1, "0.000000005", "1e-8"))
    ]
    made = await trades.create_many(rows, returning=True)
    assert [str(trade.volume) for trade in made] == ["1.00000000", "0.10000000", "0", "1E-8"]
    assert {trade.version for trade in made} == {1}
    stored = await trades.get_all()
    assert [(trade.volume, trade.status) for trade in stored] == [
        (trade.volume, "pending") for trade in made
    ]


async def test_strategies_keep_their_json(bind: Bind) -> None:
    user = await add_user(bind)
    rows = [
        {"user_id": user.id, "name": "a", "parameters": {"deep": [1, {"x": None}]}},
        {"user_id": user.id, "name": "b", "parameters": '{"text": true}'},
        {"user_id": user.id, "name": "c"},
    ]
    made = await StrategyRepository(bind).create_many(rows, returning=True)
    expected = [{"deep": [1, {"x": None}]}, {"text": True}, {}]
    assert [strategy.parameters for strategy in made] == expected
    assert [row[0] for row in await StrategyRepository(bind).rows("parameters")] == expected
    made[0].parameters["deep"].append(2)
    await StrategyRepository(bind).update(made[0])
    [row] = await StrategyRepository(bind).rows("parameters", name="a")
    assert row.parameters == {"deep": [1, {"x": None}, 2]}


async def test_explicit_keys_come_back_in_the_order_of_the_rows(bind: Bind) -> None:
    keys = [7, 3, 9, 1]
    rows = [user_row(key, id=key) for key in keys]
    made = await UserRepository(bind).create_many(rows, returning=True)
    assert [(user.id, user.username) for user in made] == [(key, f"{key}") for key in keys]


async def test_all_rows_or_none(db: DatabaseManager) -> None:
    with pytest.raises(DuplicateKeyError):
        await UserRepository(db).create_many([*user_rows(500), user_row("u00003")])
    assert await UserRepository(db).count() == 0


async def test_update_many_counts_versions_and_times(bind: Bind) -> None:
    trades = LiveTradeRepository(bind)
    rows = [{"account_id": "a", "client_order_id": f"{number}", **ORDER} for number in range(5)]
    made = await trades.create_many(rows, returning=True)
    before = made[0].updated_at
    changed = await trades.update_many(client_order_id=["1", "2"], values={"status": "submitted"})
    assert changed == 2
    stored = await trades.get_all(order_by="client_order_id")
    assert [(trade.status, trade.version) for trade in stored[:3]] == [
        ("pending", 1), ("submitted", 2), ("submitted", 2),
    ]  # fmt: skip
    assert stored[1].updated_at >= before
    assert await trades.update_many(true(), values={"version": 1, "symbol": "X"}) == 5
    assert {row.version for row in await trades.rows("version", client_order_id=["1", "2"])} == {3}


async def test_update_many_sets_the_time_of_the_change(db: DatabaseManager) -> None:
    users = UserRepository(db)
    user = await users.create(**user_row("a", created_at=at(0), updated_at=at(0)))
    assert await users.update_many(id=user.id, values={"full_name": None}) == 1
    [row] = await users.rows("created_at", "updated_at")
    assert row.created_at == at(0)
    assert row.updated_at - at(0) > timedelta(days=300)


async def test_instances_of_the_session_are_brought_up_to_date(
    db: DatabaseManager, statements: RecordStatements
) -> None:
    async with db.session() as session:
        users = UserRepository(session)
        held = await users.create_many(user_rows(600), returning=True)
        other = await users.create(**user_row("z"))
        with statements(db) as sent:
            await users.update_many(User.username < "u00300", values={"full_name": "low"})
        assert len(sent) == 1 + 2  # 601 instances are read again, 500 at a time
        assert {user.full_name for user in held[:300]} == {"low"}
        assert {user.full_name for user in [*held[300:], other]} == {None}
        assert not any(session.is_modified(user) for user in held)
        assert await users.delete_many(full_name="low") == 300
        assert all((user in session) == (user.full_name is None) for user in held)
    assert await UserRepository(db).count() == 301


async def test_one_statement_where_the_session_holds_none(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    users = UserRepository(bind)
    await users.create_many(user_rows(1000))
    with statements(db) as sent:
        assert await users.update_many(true(), values={"full_name": "x"}) == 1000
        assert await users.delete_many(User.username >= "u00500", full_name="x") == 500
    assert [statement.split()[0] for statement in sent] == ["UPDATE", "DELETE"]


async def test_a_naive_time_in_a_criterion_is_utc(bind: Bind) -> None:
    user = await add_user(bind)
    notes = NotificationRepository(bind)
    row = {"user_id": user.id, "title": "t", "message": "m"}
    made = await notes.create_many(
        [row | {"created_at": at(hour)} for hour in range(4)], returning=True
    )
    naive = at(2).replace(tzinfo=None)
    changed = await notes.update_many(type(made[0]).created_at < naive, values={"is_read": True})
    assert changed == 2
    assert await notes.delete_many(type(made[0]).created_at >= naive) == 2


async def test_a_column_may_depend_on_others(bind: Bind) -> None:
    backtest = await add_backtest(bind, await add_strategy(bind, await add_user(bind)))
    trades = TradeRepository(bind)
    await trades.create_many([trade_row(backtest, hour, float(hour)) for hour in range(3)])
    await trades.update_many(
        backtest_id=backtest.id,
        values={"profit_pct": BacktestTrade.profit * 2, "exit_reason": func.upper("tp")},
    )
    found = await trades.rows("profit_pct", "exit_reason", order_by="entry_time")
    assert [tuple(row) for row in found] == [(0.0, "TP"), (2.0, "TP"), (4.0, "TP")]


@pytest.mark.backends("mariadb")
@pytest.mark.parametrize("driver", ["asyncmy", "aiomysql"])
@pytest.mark.parametrize("verb", ["create_many", "upsert_many", "create", "upsert"])
async def test_the_first_call_of_a_manager_finds_out_what_its_server_can_do(
    db: DatabaseManager, database_url: str, driver: str, verb: str
) -> None:
    """With this name of the dialect SQLAlchemy takes it for MySQL until it has connected."""
    url = make_url(database_url).set(drivername=f"mysql+{driver}")
    fresh = DatabaseManager(url.render_as_string(hide_password=False))
    async with fresh, fresh.session() as session:
        users = UserRepository(session)
        if verb == "create_many":
            made = await users.create_many(user_rows(3), returning=True)
        elif verb == "upsert_many":
            made = await users.upsert_many(user_rows(3), ["username"])
        elif verb == "create":
            made = [await users.create(**user_row("one"))]
        else:
            made = [await users.upsert(["username"], **user_row("one"))]
    assert [user.id for user in made] == [
        user.id for user in await UserRepository(db).get_many(order_by="id")
    ]


async def test_doubles_come_back_as_doubles(bind: Bind, db: DatabaseManager) -> None:
    backtest = await add_backtest(db, await add_strategy(db, await add_user(db, "a")))
    trades = TradeRepository(bind)
    rows = [trade_row(backtest, hour, -0.0, entry_price=2.0) for hour in range(3)]
    made = await trades.create_many(rows, returning=True)
    again = await trades.upsert(["id"], id=made[0].id, **rows[0])
    for trade in (*made, again):
        assert [repr(trade.entry_price), repr(trade.profit)] == ["2.0", "0.0"]


@pytest.mark.parametrize("returning", [False, True])
async def test_what_is_no_row_is_refused(bind: Bind, *, returning: bool) -> None:
    for wrong in (None, 5, "name"):
        rows: Any = [wrong]
        with pytest.raises(InvalidInputError, match="row 0: a row must be a dictionary"):
            await UserRepository(bind).create_many(rows, returning=returning)
