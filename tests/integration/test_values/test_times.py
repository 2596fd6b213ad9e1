"""Times: aware UTC to the microsecond, however they were written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, insert, select, text

from hqt_async_db import AccountSnapshotRepository
from hqt_async_db.errors import InvalidInputError
from hqt_async_db.models import AccountSnapshot, Base

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hqt_async_db import DatabaseManager

SNAPSHOTS = Base.metadata.tables["account_snapshots"]
PLUS_FIVE = timezone(timedelta(hours=5))

TIMES = [
    datetime(2023, 6, 1, 10, 0, 0, 123456, UTC),
    datetime(2023, 6, 1, 10, 0, 0, 123456, PLUS_FIVE),
    datetime(2023, 6, 1, 10, 0, 0, 1),  # noqa: DTZ001 - naive on purpose
    datetime(2023, 6, 1, tzinfo=UTC),
    datetime(2024, 3, 10, 2, 30, fold=1),  # noqa: DTZ001 - naive on purpose
    datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
    datetime(1, 1, 1, 0, 0, 0, 1, UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999998, UTC),
    datetime.min,  # noqa: DTZ901 - naive on purpose
    datetime.max,  # noqa: DTZ901 - naive on purpose
]


def in_utc(value: datetime) -> datetime:
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC, fold=0)


async def test_times_are_read_as_utc_to_the_microsecond(
    db: DatabaseManager, reopened: Callable[[], DatabaseManager]
) -> None:
    async with db.session() as session:
        for i, value in enumerate(TIMES, 1):
            snapshot = AccountSnapshot(id=i, account_id="orm", balance=0, equity=0, timestamp=value)
            assert snapshot.timestamp == in_utc(value)
            session.add(snapshot)
        rows = [
            {"id": i, "account_id": "core", "balance": 0, "equity": 0, "timestamp": value}
            for i, value in enumerate(TIMES, 101)
        ]
        await session.execute(insert(SNAPSHOTS), rows)
    columns = select(SNAPSHOTS.c.id, SNAPSHOTS.c.timestamp)
    async with reopened().session() as session:
        read = dict((await session.execute(columns)).all())
        for i, value in enumerate(TIMES, 1):
            assert read[i] == read[i + 100] == in_utc(value)
            assert read[i].tzinfo is UTC
            assert read[i].fold == 0
            same = columns.where(SNAPSHOTS.c.timestamp == value, SNAPSHOTS.c.account_id == "orm")
            assert (await session.scalars(same)).all() == [i]


async def test_times_sort_and_compare_as_instants(db: DatabaseManager) -> None:
    async with db.session() as session:
        session.add_all(
            [AccountSnapshot(account_id="a", balance=0, equity=0, timestamp=t) for t in TIMES]
        )
        times = select(SNAPSHOTS.c.timestamp).order_by(SNAPSHOTS.c.timestamp)
        assert (await session.scalars(times)).all() == sorted(map(in_utc, TIMES))
        five_hours_before = datetime(2023, 6, 1, 10, 0, 0, 123456, PLUS_FIVE)
        later = times.where(SNAPSHOTS.c.timestamp > five_hours_before)
        assert (await session.scalars(later)).all() == [
            instant for instant in sorted(map(in_utc, TIMES)) if instant > five_hours_before
        ]


@pytest.mark.backends("sqlite-file")
async def test_times_on_sqlite_are_readable_text(db: DatabaseManager) -> None:
    async with db.session() as session:
        session.add(AccountSnapshot(account_id="a", balance=0, equity=0, timestamp=TIMES[1]))
        await session.flush()
        stored = await session.scalar(text("SELECT timestamp FROM account_snapshots"))
        assert stored == "2023-06-01 05:00:00.123456"


async def test_what_is_no_time_is_refused_before_the_driver(db: DatabaseManager) -> None:
    rows = [{"account_id": "a", "balance": 0, "equity": 0, "timestamp": "2023-06-01"}]
    async with db.session() as session:
        with pytest.raises(InvalidInputError, match=r"^account_snapshots\.timestamp must be"):
            await session.execute(insert(SNAPSHOTS), rows)
        with pytest.raises(InvalidInputError, match=r"^account_snapshots\.timestamp must be"):
            await session.execute(select(SNAPSHOTS).where(SNAPSHOTS.c.timestamp > "2023-06-01"))


async def test_only_postgresql_computes_with_a_timedelta(db: DatabaseManager, backend: str) -> None:
    hour, two = timedelta(hours=1), timedelta(hours=2)
    snapshots = AccountSnapshotRepository(db)
    made = await snapshots.create(account_id="a", balance=0, equity=0, timestamp=TIMES[0])
    later = AccountSnapshot.timestamp + hour

    async def in_a_session() -> int | None:
        async with db.session() as session:
            return await session.scalar(
                select(func.count()).where(AccountSnapshot.timestamp - two < TIMES[0])
            )

    calls: list[Callable[[], Awaitable[Any]]] = [
        in_a_session,
        lambda: snapshots.count(later > TIMES[0]),
        lambda: snapshots.update_many(account_id="a", values={"timestamp": later}),
    ]
    for call in calls:
        if backend == "postgresql":
            assert await call() == 1
        else:
            with pytest.raises(InvalidInputError, match="timedelta; do it in Python"):
                await call()
    [read] = await snapshots.get_all()
    assert read.timestamp == made.timestamp + hour * (backend == "postgresql")
