"""What the database computes itself fits its column, whichever way it is asked to."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import func, inspect, literal, update
from sqlalchemy.engine import make_url

from hqt_async_db import (
    AccountSnapshotRepository,
    BaseRepository,
    DatabaseManager,
    FinanceMetricRepository,
    UserRepository,
    ValueRefusedError,
)
from hqt_async_db.models import AccountSnapshot, FinanceMetric, User

TRADER = {"username": "trader1", "email": "t@example.com", "password_hash": "hash"}


async def by_update_many(db: DatabaseManager, kind: Any, row: Any, values: dict[str, Any]) -> None:
    await kind(db).update_many(id=row.id, values=values)


async def by_update(db: DatabaseManager, kind: Any, row: Any, values: dict[str, Any]) -> None:
    await kind(db).update(row, **values)


async def in_session(db: DatabaseManager, kind: Any, row: Any, values: dict[str, Any]) -> None:
    async with db.session() as session:
        await kind(session).update_many(id=row.id, values=values)


async def by_assigning(db: DatabaseManager, kind: Any, row: Any, values: dict[str, Any]) -> None:
    async with db.session() as session:
        held = await kind(session).get_by_id(row.id)
        for name, value in values.items():
            setattr(held, name, value)


async def by_core(db: DatabaseManager, _: Any, row: Any, values: dict[str, Any]) -> None:
    table: Any = inspect(type(row)).local_table
    async with db.session() as session:
        await session.execute(update(table).where(table.c.id == row.id).values(values))


async def by_orm(db: DatabaseManager, _: Any, row: Any, values: dict[str, Any]) -> None:
    model = type(row)
    async with db.session() as session:
        await session.execute(update(model).where(model.id == row.id).values(values))


WAYS = [by_update_many, by_update, in_session, by_assigning, by_core, by_orm]
every_way = pytest.mark.parametrize("store", WAYS)
# SQLite's own round() makes 753613695744.9999 of the first.
SUMS = [
    ("753613695745", "0"),
    ("85158485.35", "69.63"),
    ("494581704.80", "83.71"),
    ("340406662379.60", "-4.33"),
    ("0.1", "0.2"),
]


@every_way
async def test_money_that_is_computed_is_exact(db: DatabaseManager, store: Any) -> None:
    snapshots = AccountSnapshotRepository(db)
    both = AccountSnapshot.balance + AccountSnapshot.equity
    for account, (balance, equity) in enumerate(SUMS):
        row = await snapshots.create(account_id=str(account), balance=balance, equity=equity)
        wanted = Decimal(balance) + Decimal(equity)
        assert await snapshots.rows(both, id=row.id) == [(wanted,)]
        assert await snapshots.rows(func.sum(both), id=row.id) == [(wanted,)]
        await store(db, AccountSnapshotRepository, row, {"profit": both, "margin": None})
        assert [found.id for found in await snapshots.get_many(profit=wanted)] == [row.id]
        read = await snapshots.get_one(id=row.id)
        assert (read.profit, read.margin) == (wanted, None)
        await snapshots.update(read, balance=read.profit)


async def test_money_that_is_computed_is_rounded_alike(db: DatabaseManager) -> None:
    """Half away from zero, as the servers round, to eight places."""
    snapshots = AccountSnapshotRepository(db)
    row = await snapshots.create(account_id="a", balance="0.00000001", equity="-0.00000003")
    half = {
        "profit": AccountSnapshot.balance * Decimal("0.5"),
        "margin": AccountSnapshot.equity * Decimal("0.5"),
    }
    await by_update_many(db, AccountSnapshotRepository, row, half)
    [read] = await snapshots.get_all()
    assert (read.profit, read.margin) == (Decimal("0.00000001"), Decimal("-0.00000002"))


@pytest.mark.backends("sqlite-memory")
async def test_sqlite_keeps_15_digits_of_what_it_computed(db: DatabaseManager) -> None:
    snapshots = AccountSnapshotRepository(db)
    row = await snapshots.create(account_id="a", balance=9999999999, equity=999999999999999)
    sent = {"profit": AccountSnapshot.balance + Decimal("0.12345678")}
    await by_update_many(db, AccountSnapshotRepository, row, sent)
    [read] = await snapshots.get_all()
    assert read.profit == Decimal("9999999999.12346")
    assert await snapshots.count(profit=read.profit) == 1
    with pytest.raises(ValueRefusedError):  # integers it adds exactly
        await snapshots.update_many(
            id=1, values={"profit": AccountSnapshot.equity + AccountSnapshot.equity}
        )


BEYOND: list[tuple[type[BaseRepository[Any]], dict[str, Any], dict[str, Any]]] = [
    (UserRepository, TRADER, {"username": User.username + "x" * 60}),
    (
        FinanceMetricRepository,
        {"total_trades": 2**31 - 1},
        {"total_trades": FinanceMetric.total_trades * 4},
    ),
    (FinanceMetricRepository, {"alpha": 1e308}, {"alpha": FinanceMetric.alpha * 10}),
    (
        AccountSnapshotRepository,
        {"account_id": "a", "balance": 1, "equity": 1},
        {"balance": AccountSnapshot.balance * 10**20},
    ),
]


@every_way
async def test_what_is_computed_beyond_its_column_is_refused(
    db: DatabaseManager, backend: str, store: Any
) -> None:
    for kind, values, beyond in BEYOND:
        row = await kind(db).create(**values)
        before = await kind(db).rows(*beyond)
        with pytest.raises(ValueRefusedError) as refused:
            await store(db, kind, row, beyond)
        assert await kind(db).rows(*beyond) == before
        if backend.startswith("sqlite"):
            assert (refused.value.table, *refused.value.columns) == (row.__tablename__, *beyond)


@pytest.mark.backends("sqlite-file")
@pytest.mark.parametrize("store", [by_update_many, by_assigning, by_core])
async def test_the_stock_driver_refuses_it_too(database_url: str, store: Any) -> None:
    url = make_url(database_url).set(drivername="sqlite+aiosqlite")
    async with DatabaseManager(url) as stock:
        await stock.create_all()
        for kind, values, beyond in BEYOND:
            row = await kind(stock).create(**values)
            with pytest.raises(ValueRefusedError):
                await store(stock, kind, row, beyond)


async def test_a_row_is_created_with_what_fits(db: DatabaseManager) -> None:
    users = UserRepository(db)
    made = await users.create(**TRADER | {"username": func.lower("TRADER"), "full_name": None})
    assert made.username == "trader"
    with pytest.raises(ValueRefusedError):
        await users.create(**TRADER | {"username": func.lower("X" * 60)})
    async with db.session() as session:
        session.add(User(**TRADER | {"username": literal("x" * 60) + "y", "email": "other"}))
        with pytest.raises(ValueRefusedError):
            await session.flush()
        await session.rollback()
    assert await users.count() == 1
