"""Numbers: written, read over a new connection, compared bit by bit."""

from __future__ import annotations

import random
import struct
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import MetaData, func, insert, select, text, update
from sqlalchemy.orm import Mapped, mapped_column

from hqt_async_db import AccountSnapshotRepository, BaseRepository, FinanceMetricRepository
from hqt_async_db.errors import InvalidInputError
from hqt_async_db.models import AccountSnapshot, Base, FinanceMetric

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hqt_async_db import DatabaseManager

SNAPSHOTS = Base.metadata.tables["account_snapshots"]
METRICS = Base.metadata.tables["finance_metrics"]

DOUBLES = [
    0.1,
    1 / 3,
    -123456.789012345,  # 15 significant digits
    0.1234567890123456,  # 16
    0.12345678901234568,  # 17
    9007199254740993.0,
    5e-324,
    2.2250738585072014e-308,
    1.7976931348623157e308,
    -1.7976931348623157e308,
    1e22,
    1e23,
    100.0,
]
AMOUNTS = [
    ("1.1", "1.10000000"),
    (1.1, "1.10000000"),
    (3, "3.00000000"),
    (Decimal("0.000000005"), "0"),
    (Decimal("0.000000015"), "2E-8"),
    ("1234567.12345678", "1234567.12345678"),
    ("-999999999999999", "-999999999999999.00000000"),
    ("123456789012345000", "123456789012345000.00000000"),  # a double is 8 less
    ("-99999999999999900000", "-99999999999999900000.00000000"),
    ("0.00000001", "1E-8"),
    ("-0.0", "0"),
]
WIDE = "99999999999999999999.99999999"


def bits(number: float | None) -> bytes | None:
    return None if number is None else struct.pack(">d", number)


def any_doubles(seed: int, count: int) -> list[float]:
    chance = random.Random(seed)
    numbers = (struct.unpack(">d", chance.randbytes(8))[0] for _ in range(2 * count))
    return [number for number in numbers if abs(number) < float("inf")][:count]


async def test_finite_doubles_keep_their_bits(
    db: DatabaseManager, reopened: Callable[[], DatabaseManager]
) -> None:
    numbers = DOUBLES + any_doubles(seed=20261123, count=300)
    async with db.session() as session:
        session.add_all([FinanceMetric(id=i, alpha=x) for i, x in enumerate(numbers, 1)])
        rows = [{"id": i, "alpha": x} for i, x in enumerate(numbers, 1001)]
        await session.execute(insert(METRICS), rows)
    async with reopened().session() as session:
        read = dict((await session.execute(select(METRICS.c.id, METRICS.c.alpha))).all())
    for i, number in enumerate(numbers, 1):
        assert bits(read[i]) == bits(read[i + 1000]) == bits(number), number.hex()


async def test_a_double_is_found_by_its_value(db: DatabaseManager) -> None:
    async with db.session() as session:
        session.add_all([FinanceMetric(id=i, alpha=x) for i, x in enumerate(DOUBLES, 1)])
        for i, number in enumerate(DOUBLES, 1):
            found = await session.scalars(
                select(FinanceMetric.id).where(FinanceMetric.alpha == number)
            )
            assert found.all() == [i]


async def test_there_is_one_zero(
    db: DatabaseManager, reopened: Callable[[], DatabaseManager]
) -> None:
    async with db.session() as session:
        session.add(FinanceMetric(alpha=-0.0))
        await session.execute(insert(METRICS), [{"alpha": -0.0}])
    async with reopened().session() as session:
        read = (await session.scalars(select(FinanceMetric.alpha))).all()
    assert [bits(number) for number in read] == [bits(0.0)] * 2


async def test_only_postgresql_keeps_nan_and_infinity(
    db: DatabaseManager, backend: str, reopened: Callable[[], DatabaseManager]
) -> None:
    async def write(number: float, *, by_core: bool) -> None:
        async with db.session() as session:
            if by_core:
                await session.execute(insert(METRICS), [{"alpha": number}])
            else:
                session.add(FinanceMetric(alpha=number))

    kept = []
    for number, by_core in product(map(float, ("nan", "inf", "-inf")), (False, True)):
        if backend == "postgresql":
            await write(number, by_core=by_core)
            kept.append(repr(number))
        else:
            with pytest.raises(InvalidInputError, match=r"^finance_metrics\.alpha is NaN or"):
                await write(number, by_core=by_core)
    async with reopened().session() as session:
        read = await session.scalars(select(FinanceMetric.alpha).order_by(FinanceMetric.id))
        assert [repr(value) for value in read] == kept


class OwnBase(Base):
    """A base of this module's models."""

    __abstract__ = True
    metadata = MetaData()


class Ratio(OwnBase):
    """A model that fills a column in as it is made."""

    __tablename__ = "ratios"
    id: Mapped[int] = mapped_column(primary_key=True)
    given: Mapped[float]
    made: Mapped[float | None]

    def __init__(self, **values: Any) -> None:
        """Make it not a number."""
        super().__init__(**values)
        self.made = float("nan")


async def test_nor_do_one_shot_calls_store_it_elsewhere(db: DatabaseManager, backend: str) -> None:
    await db.create_all(OwnBase)
    metrics, ratios = FinanceMetricRepository(db), BaseRepository(db, Ratio)
    metric, number = await metrics.create(alpha=0.5), float("nan")

    async def assign() -> None:
        metric.alpha = number
        await metrics.update(metric)

    ways: list[Callable[[], Awaitable[object]]] = [
        lambda: metrics.create(alpha=number),
        lambda: metrics.update(metric, alpha=number),
        lambda: metrics.create_many([{"alpha": number}]),
        lambda: ratios.create(given=1.0),
        assign,
    ]
    for way in ways:
        if backend == "postgresql":
            await way()
        else:
            with pytest.raises(InvalidInputError, match="is NaN or infinite"):
                await way()
    stored = [*await metrics.get_all(), *await ratios.get_all()]
    assert len(stored) == (4 if backend == "postgresql" else 1)


async def test_money_is_exact_whichever_way_it_comes(
    db: DatabaseManager, reopened: Callable[[], DatabaseManager]
) -> None:
    async with db.session() as session:
        for i, (given, wanted) in enumerate(AMOUNTS, 1):
            snapshot = AccountSnapshot(id=i, account_id="orm", balance=given, equity=0)
            assert str(snapshot.balance) == wanted
            session.add(snapshot)
        rows = [
            {"id": i, "account_id": "core", "balance": given, "equity": 0}
            for i, (given, _) in enumerate(AMOUNTS, 101)
        ]
        await session.execute(insert(SNAPSHOTS), rows)
    columns = select(SNAPSHOTS.c.id, SNAPSHOTS.c.balance)
    async with reopened().session() as session:
        read = dict((await session.execute(columns)).all())
        for i, (given, wanted) in enumerate(AMOUNTS, 1):
            assert str(read[i]) == str(read[i + 100]) == wanted
            same = columns.where(SNAPSHOTS.c.balance == given, SNAPSHOTS.c.account_id == "orm")
            assert i in (await session.scalars(same)).all()


async def test_money_beyond_15_digits_is_exact_or_refused(
    db: DatabaseManager, backend: str, reopened: Callable[[], DatabaseManager]
) -> None:
    async def write() -> None:
        async with db.session() as session:
            session.add(AccountSnapshot(account_id="a", balance=WIDE, equity=f"-{WIDE}"))

    if backend.startswith("sqlite"):
        with pytest.raises(
            InvalidInputError, match=r"^account_snapshots\.(balance|equity) is .*15"
        ):
            await write()
        return
    await write()
    async with reopened().session() as session:
        snapshot = (await session.scalars(select(AccountSnapshot))).one()
    assert (str(snapshot.balance), str(snapshot.equity)) == (WIDE, f"-{WIDE}")


async def test_the_database_computes_with_money(db: DatabaseManager) -> None:
    async with db.session() as session:
        session.add_all(
            [AccountSnapshot(account_id="a", balance=b, equity=0) for b in ("0.1", "0.2", "1000.3")]
        )
        total = await session.scalar(select(func.sum(AccountSnapshot.balance)))
        assert str(total) == "1000.60000000"
        await session.execute(update(AccountSnapshot).values(equity=AccountSnapshot.balance * 3))
        rows = await session.scalars(select(SNAPSHOTS.c.equity).order_by(SNAPSHOTS.c.equity))
        assert [str(equity) for equity in rows] == ["0.30000000", "0.60000000", "3000.90000000"]


async def test_a_factor_beside_money_keeps_all_its_places(db: DatabaseManager) -> None:
    rate = Decimal("0.006712345678")
    snapshots = AccountSnapshotRepository(db)
    await snapshots.create(account_id="a", balance=100_000_000, equity=60_000)
    changed = {"equity": AccountSnapshot.equity * (1 / 3), "profit": AccountSnapshot.balance * rate}
    await snapshots.update_many(account_id="a", values=changed)
    [read] = await snapshots.get_all()
    assert (str(read.equity), str(read.profit)) == ("20000.00000000", "671234.56780000")
    assert await snapshots.count(AccountSnapshot.balance / 10**10 > Decimal("0.0099")) == 1
    assert await snapshots.count(AccountSnapshot.balance * 1e-9 > 0) == 1
    assert await snapshots.count(AccountSnapshot.balance * "0.000000001" > 0) == 1
    for wrong in (True, float("nan"), "much"):
        with pytest.raises(InvalidInputError, match="money is multiplied with"):
            await snapshots.count(AccountSnapshot.balance * wrong > 0)


@pytest.mark.parametrize("is_one_shot", [True, False])
async def test_computed_money_is_what_is_read(db: DatabaseManager, *, is_one_shot: bool) -> None:
    tenth = Decimal("0.1")

    async def withdraw(snapshots: AccountSnapshotRepository) -> int:
        return await snapshots.update_many(
            AccountSnapshot.balance >= tenth, values={"balance": AccountSnapshot.balance - tenth}
        )

    snapshots = AccountSnapshotRepository(db)
    made = await snapshots.create(account_id="a", balance="0.3", equity="0.3")
    for left in ("0.20000000", "0.10000000", "0"):
        if is_one_shot:
            assert await withdraw(snapshots) == 1
        else:
            async with db.session() as session:
                assert await withdraw(AccountSnapshotRepository(session)) == 1
        [read] = await snapshots.get_all()
        assert str(read.balance) == left
        assert await snapshots.count(balance=read.balance) == 1
    await snapshots.update(made, equity=AccountSnapshot.equity - tenth - tenth)
    assert await snapshots.count(equity=tenth) == 1


@pytest.mark.backends("sqlite-file")
async def test_money_on_sqlite_is_a_plain_number(db: DatabaseManager) -> None:
    async with db.session() as session:
        session.add(AccountSnapshot(account_id="a", balance="1.1", equity=7))
        row = await session.execute(
            text("SELECT CAST(balance AS TEXT), CAST(equity AS TEXT) FROM account_snapshots")
        )
        assert tuple(row.one()) == ("1.1", "7")


async def test_integers_beyond_their_column_are_refused(db: DatabaseManager) -> None:
    beyond = [("total_trades", 2**31), ("total_trades", -(2**31) - 1), ("id", 2**63)]
    async with db.session() as session:
        for column, value in beyond:
            refused = rf"^finance_metrics\.{column} is beyond"
            with pytest.raises(InvalidInputError, match=refused):
                await session.execute(insert(METRICS), [{column: value}])
            with pytest.raises(InvalidInputError, match=refused):
                await session.execute(select(METRICS).where(METRICS.c[column] == value))
            with pytest.raises(InvalidInputError, match=refused):
                FinanceMetric(**{column: value})


async def test_integers_fill_their_column(
    db: DatabaseManager, reopened: Callable[[], DatabaseManager]
) -> None:
    async with db.session() as session:
        session.add_all(
            [
                FinanceMetric(id=2**63 - 1, total_trades=2**31 - 1),
                FinanceMetric(id=1, total_trades=-(2**31)),
            ]
        )
    async with reopened().session() as session:
        rows = await session.execute(
            select(METRICS.c.id, METRICS.c.total_trades).order_by(METRICS.c.id)
        )
        assert rows.all() == [(1, -(2**31)), (2**63 - 1, 2**31 - 1)]
