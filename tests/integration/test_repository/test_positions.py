"""Positions of live and paper accounts, and what the accounts come to."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

import pytest

from hqt_async_db import (
    AccountSnapshotRepository,
    InvalidInputError,
    LiveTradeRepository,
    MultipleRecordsFoundError,
    PaperTradeRepository,
    StaleRecordError,
)
from tests.integration.test_repository.samples import (
    ORDER,
    add_backtest,
    add_strategy,
    add_user,
    at,
)

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager
    from tests.fixtures.managers import RecordStatements
    from tests.integration.test_repository.samples import Bind

BOTH = pytest.mark.parametrize("kind", [LiveTradeRepository, PaperTradeRepository])


def orders(found: list[Any]) -> list[str]:
    return [trade.client_order_id for trade in found]


@BOTH
async def test_an_order_is_recorded_once(bind: Bind, kind: Any) -> None:
    trades = kind(bind)
    first, is_new = await trades.record("a", "1", **ORDER, strategy_id=None)
    assert (is_new, first.status, first.version) == (True, "pending", 1)
    await trades.update(first, status="submitted")
    again, is_new = await trades.record("a", "1", **ORDER)
    assert (again.id, again.status, again.version, is_new) == (first.id, "submitted", 2, False)
    _, is_new = await trades.record("b", "1", **ORDER)
    assert is_new  # another account has its own names
    assert await trades.count() == 2


async def test_a_replay_in_a_session_finds_what_others_did_meanwhile(db: DatabaseManager) -> None:
    first, _ = await LiveTradeRepository(db).record("a", "1", **ORDER)
    async with db.session() as session:
        trades = LiveTradeRepository(session)
        held = await trades.get_by_client_order_id("a", "1")
        assert held is not None
        await session.commit()  # on SQLite a session that wrote would be in the way
        await LiveTradeRepository(db).mark_open(first, entry_price="1.1")
        with session.no_autoflush:
            held.exit_reason = "mine"
            again, is_new = await trades.record("a", "1", **ORDER)
            assert (again, again.exit_reason, is_new) == (held, "mine", False)
        session.sync_session.expire(held, ["exit_reason"])
        again, is_new = await trades.record("a", "1", **ORDER)
        assert (again, is_new) == (held, False)
        assert (again.status, again.version) == ("open", 2)
        again.exit_reason = "mine"
        again, _ = await trades.record("a", "1", **ORDER)
        assert (again.exit_reason, again.version) == ("mine", 3)


async def test_a_name_used_for_another_order_is_refused(bind: Bind) -> None:
    trades = LiveTradeRepository(bind)
    await trades.record("a", "1", **ORDER)
    for other in ({"symbol": "USDJPY"}, {"direction": "short"}):
        with pytest.raises(InvalidInputError, match="for another order, on EURUSD") as refused:
            await trades.record("a", "1", **{**ORDER, **other})
        assert refused.value.field == "client_order_id"
    with pytest.raises(InvalidInputError, match="volume is required"):
        await trades.record("a", "1", symbol="EURUSD", direction="long")
    assert await trades.count() == 1


async def test_one_of_many_tasks_records_an_order(db: DatabaseManager) -> None:
    trades = LiveTradeRepository(db)
    answers = await asyncio.gather(*(trades.record("a", "1", **ORDER) for _ in range(16)))
    assert sum(is_new for _, is_new in answers) == 1
    assert len({trade.id for trade, _ in answers}) == 1


@BOTH
async def test_a_position_is_opened_and_closed(bind: Bind, kind: Any) -> None:
    trades = kind(bind)
    trade, _ = await trades.record("a", "1", **ORDER)
    with pytest.raises(InvalidInputError, match="is pending; it must be partially_filled or open"):
        await trades.mark_closed(trade, exit_price=1, profit=0)
    await trades.mark_open(trade, entry_price="1.1", entry_time=at(1), venue_order_id="v")
    assert (trade.status, trade.entry_time, trade.venue_order_id) == ("open", at(1), "v")
    with pytest.raises(InvalidInputError, match="is open; it must be pending or submitted"):
        await trades.mark_open(trade, entry_price="1.2")
    await trades.mark_closed(trade, exit_price="1.2", profit="9.99", exit_reason="tp")
    assert (trade.status, trade.exit_reason) == ("closed", "tp")
    assert trade.exit_time > at(1)
    with pytest.raises(InvalidInputError, match="is closed; it must be") as refused:
        await trades.mark_closed(trade, exit_price="1.3", profit="99")
    assert refused.value.field == "status"
    stored = await trades.get_by_client_order_id("a", "1")
    assert (stored.profit, stored.exit_price) == (Decimal("9.99"), Decimal("1.2"))


async def test_a_position_is_closed_by_one_of_two_tasks(db: DatabaseManager) -> None:
    trades = LiveTradeRepository(db)
    trade, _ = await trades.record("a", "1", **ORDER)
    await trades.mark_open(trade, entry_price=1)
    copies = [await trades.get_one() for _ in range(2)]
    closings = (trades.mark_closed(copy, exit_price=2, profit=number + 1)
                for number, copy in enumerate(copies))  # fmt: skip
    outcomes = await asyncio.gather(*closings, return_exceptions=True)
    assert sum(isinstance(outcome, StaleRecordError) for outcome in outcomes) == 1
    assert (await trades.get_one()).version == 3


@BOTH
async def test_positions_are_found_by_what_a_bot_knows(bind: Bind, kind: Any) -> None:
    trades = kind(bind)
    user = await add_user(bind)
    strategy = await add_strategy(bind, user)
    statuses = ["open", "pending", "partially_filled", "closed", "closing", "submitted", "rejected"]
    for number, status in enumerate(statuses):
        await trades.create(
            account_id="ab"[number % 2], client_order_id=f"{number}", status=status,
            **{**ORDER, "symbol": "USDJPY" if number == 2 else "EURUSD"},
            entry_time=at(-number), venue_order_id=f"v{number}",
            user_id=user.id if number == 0 else None,
            strategy_id=strategy.id if number < 3 else None,
        )  # fmt: skip
    assert orders(await trades.get_open()) == ["0", "2", "4"]
    assert orders(await trades.get_open("a")) == ["0", "2", "4"]
    assert orders(await trades.get_open("a", symbol="USDJPY")) == ["2"]
    assert await trades.get_open("b") == []
    assert orders(await trades.get_open(limit=1, order_by="-id")) == ["4"]
    assert orders(await trades.get_unfilled()) == ["1", "5"]
    assert orders(await trades.get_unfilled("a")) == []
    assert orders(await trades.get_by_status("closed")) == ["3"]
    assert orders(await trades.get_by_symbol("EURUSD", limit=2)) == ["6", "5"]
    assert orders(await trades.get_by_user(user.id)) == ["0"]
    assert orders(await trades.get_by_strategy(strategy.id)) == ["2", "1", "0"]
    assert (await trades.get_by_venue_order_id("v3")).client_order_id == "3"
    assert await trades.get_by_venue_order_id("v3", account_id="a") is None
    assert await trades.get_by_client_order_id("b", "0") is None


async def test_two_venues_may_use_the_same_name(bind: Bind) -> None:
    trades = LiveTradeRepository(bind)
    for account in "ab":
        await trades.create(account_id=account, client_order_id="1", venue_order_id="v", **ORDER)
    with pytest.raises(MultipleRecordsFoundError):
        await trades.get_by_venue_order_id("v")
    found = await trades.get_by_venue_order_id("v", account_id="b")
    assert found is not None
    assert found.account_id == "b"


@BOTH
async def test_realised_profit_is_exact(
    db: DatabaseManager, bind: Bind, statements: RecordStatements, kind: Any
) -> None:
    trades = kind(bind)
    amounts = ["0.1", "0.2", "1234567.12345678", "-0.00000001", "0.7", None]
    rows = [
        {"account_id": "a", "client_order_id": f"{hour}", "status": "closed", **ORDER,
         "profit": amount, "exit_time": at(10 * hour)}
        for hour, amount in enumerate(amounts)
    ]  # fmt: skip
    open_position = {"account_id": "a", "client_order_id": "open", **ORDER, "profit": 5}
    await trades.create_many([*rows, open_position])
    total = sum(Decimal(amount) for amount in amounts if amount)
    with statements(db) as sent:
        assert await trades.realised_profit("a") == total
        by_day = await trades.daily_profit("a")
    assert len([statement for statement in sent if "SELECT" in statement]) == 2
    assert list(by_day.items()) == [
        (date(2024, 1, 1), Decimal("1234567.42345678")),
        (date(2024, 1, 2), Decimal("0.69999999")),
    ]
    assert await trades.realised_profit("a", start=at(10), end=at(30)) == Decimal(
        "1234567.32345678"
    )
    assert await trades.realised_profit("nobody") == 0
    closed = await trades.get_closed("a", start=at(20), end=at(40))
    assert orders(closed) == ["2", "3"]
    assert orders(await trades.get_closed("a", limit=1, order_by="-exit_time")) == ["5"]


@BOTH
async def test_a_position_closed_without_a_time_counts_and_is_of_no_day(
    bind: Bind, kind: Any
) -> None:
    trades = kind(bind)
    for order, closed_at in ("1", None), ("2", at(0)):
        await trades.create(
            account_id="a", client_order_id=order, status="closed", **ORDER,
            profit="1234567.12345678", exit_time=closed_at,
        )  # fmt: skip
    with localcontext() as application:
        application.prec = 8
        assert str(await trades.realised_profit("a")) == "2469134.24691356"
        assert str(await trades.realised_profit("a", start=at(0))) == "1234567.12345678"
        assert await trades.daily_profit("a") == {date(2024, 1, 1): Decimal("1234567.12345678")}


async def test_days_are_those_of_utc(db: DatabaseManager) -> None:
    trades = PaperTradeRepository(db)
    for hour in (23.99, 24):
        await trades.create(
            account_id="a", client_order_id=f"{hour}", status="closed", **ORDER,
            profit=1, exit_time=at(hour),
        )  # fmt: skip
    assert await trades.daily_profit("a") == {date(2024, 1, 1): 1, date(2024, 1, 2): 1}


# -- snapshots -----------------------------------------------------------------


async def _snapshots(bind: Bind, account: str, equities: list[Any], **values: Any) -> None:
    rows = [
        {"account_id": account, "balance": 100, "equity": equity, "timestamp": at(hour), **values}
        for hour, equity in enumerate(equities)
    ]
    await AccountSnapshotRepository(bind).create_many(rows)


async def test_the_equity_curve(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    snapshots = AccountSnapshotRepository(bind)
    await _snapshots(bind, "a", [100, "110.5", 90])
    await _snapshots(bind, "b", [1])
    with statements(db) as sent:
        curve = await snapshots.equity_curve("a")
    assert len(sent) == 1
    assert [(row.timestamp, row.balance, row.equity) for row in curve] == [
        (at(0), 100, 100), (at(1), 100, Decimal("110.5")), (at(2), 100, 90),
    ]  # fmt: skip
    assert [row.equity for row in await snapshots.equity_curve("a", start=at(1), end=at(2))] == [
        Decimal("110.5")
    ]
    found = await snapshots.get_by_account("a", end=at(2), order_by="-timestamp")
    assert [snapshot.timestamp for snapshot in found] == [at(1), at(0)]
    assert await snapshots.equity_curve("nobody") == []


async def test_the_deepest_drawdown(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    snapshots = AccountSnapshotRepository(bind)
    await _snapshots(bind, "a", [100, 200, 150, 180, 120, 300, 270])
    await _snapshots(bind, "up", [1, 2, 3])
    await _snapshots(bind, "zero", [0, 0])
    with statements(db) as sent:
        assert await snapshots.max_drawdown("a") == pytest.approx(-40)
    assert len(sent) == 1
    assert await snapshots.max_drawdown("a", start=at(4)) == pytest.approx(-10)
    assert await snapshots.max_drawdown("a", end=at(4)) == pytest.approx(-25)
    assert await snapshots.max_drawdown("up") == 0
    assert await snapshots.max_drawdown("zero") is None
    assert await snapshots.max_drawdown("nobody") is None


async def test_the_latest_snapshots(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    snapshots = AccountSnapshotRepository(bind)
    user = await add_user(bind)
    await _snapshots(bind, "a", [1, 2, 3], user_id=user.id)
    await _snapshots(bind, "b", [4])
    tie = {"account_id": "a", "balance": 0, "equity": 5, "timestamp": at(2), "user_id": user.id}
    await snapshots.create(**tie)
    latest = await snapshots.get_latest("a")
    assert latest is not None
    assert latest.equity == 5
    assert await snapshots.get_latest("nobody") is None
    with statements(db) as sent:
        per_account = await snapshots.get_latest_per_account()
    assert len(sent) == 1
    assert {account: int(snap.equity) for account, snap in per_account.items()} == {"a": 5, "b": 4}
    assert set(await snapshots.get_latest_per_account(user_id=user.id)) == {"a"}
    newest = await snapshots.get_by_user(user.id, limit=2)
    assert [int(snapshot.equity) for snapshot in newest] == [5, 3]


async def test_snapshots_of_a_backtest(bind: Bind) -> None:
    backtest = await add_backtest(bind, await add_strategy(bind, await add_user(bind)))
    await _snapshots(bind, "sim", [1, 2], backtest_id=backtest.id, mode="backtest")
    found = await AccountSnapshotRepository(bind).get_by_backtest(backtest.id)
    assert [snapshot.timestamp for snapshot in found] == [at(0), at(0) + timedelta(hours=1)]
