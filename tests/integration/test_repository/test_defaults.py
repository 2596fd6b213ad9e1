"""What fills in columns of one's own models: Python, or the database's clock."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal  # noqa: TC003 - read by SQLAlchemy
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Column, MetaData, func
from sqlalchemy.orm import Mapped, mapped_column

from hqt_async_db import Base, BaseRepository, InvalidInputError
from hqt_async_db.models.defaults import check_defaults
from hqt_async_db.models.types import Money

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager

_numbers = itertools.count(1)


class OwnBase(Base):
    __abstract__ = True
    metadata = MetaData()


class Filled(OwnBase):
    __tablename__ = "filled_in_python"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    made: Mapped[datetime] = mapped_column(default=lambda: datetime(2026, 1, 1))  # noqa: DTZ001 - naive on purpose
    seen: Mapped[datetime | None] = mapped_column(onupdate=lambda: datetime(2026, 1, 2))  # noqa: DTZ001 - naive on purpose
    fee: Mapped[Decimal] = mapped_column(default=0.1)
    is_on: Mapped[bool] = mapped_column(default=1)
    number: Mapped[Decimal] = mapped_column(default=lambda: next(_numbers))
    text: Mapped[dict[str, Any]] = mapped_column(default='{"a": 1}')
    shared: Mapped[dict[str, Any]] = mapped_column(default={"b": []})


class Timed(OwnBase):
    __tablename__ = "filled_by_the_database"

    id: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[float]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    changed_at: Mapped[datetime] = mapped_column(server_default=func.current_timestamp())


@pytest.fixture
async def own(db: DatabaseManager) -> DatabaseManager:
    await db.create_all(OwnBase)
    return db


def shown(row: Filled) -> list[str]:
    names = ("made", "seen", "fee", "is_on", "text", "shared")
    return [repr(getattr(row, name)) for name in names]


@pytest.mark.parametrize("is_one_shot", [True, False])
async def test_a_new_instance_has_its_defaults_as_they_are_read(
    own: DatabaseManager, *, is_one_shot: bool
) -> None:
    filled = BaseRepository[Filled](own)
    if is_one_shot:
        made = await filled.create(name="a")
    else:
        async with own.session() as session:
            made = await BaseRepository[Filled](session).create(name="a")
    read = await filled.get_by_id(made.id)
    assert read is not None
    assert shown(made) == shown(read)
    assert (made.made, made.seen) == (datetime(2026, 1, 1, tzinfo=UTC), None)
    assert (str(made.fee), made.is_on, made.number) == ("0.10000000", True, read.number)
    made.shared["b"].append(1)
    another = await filled.create(name="b")
    assert (another.shared, another.text) == ({"b": []}, {"a": 1})
    await filled.update(made, name="c")
    assert made.seen == datetime(2026, 1, 2, tzinfo=UTC)
    read = await filled.get_by_id(made.id)
    assert read is not None
    assert shown(made) == shown(read)
    assert read.shared == {"b": [1]}


async def test_rows_at_once_have_the_same_defaults(own: DatabaseManager) -> None:
    filled = BaseRepository[Filled](own)
    one = await filled.create(name="a")
    await filled.create_many([{"name": "b"}])
    await filled.create_many([{"name": "c"}], returning=True)
    await filled.upsert(["id"], id=9, name="d")
    assert {tuple(shown(row)) for row in await filled.get_all()} == {tuple(shown(one))}
    assert len({row.number for row in await filled.get_all()}) == 4


def test_a_default_that_its_column_cannot_hold_is_refused_at_once() -> None:
    kind = Money()
    fee: Column[Any] = Column("fee", kind, default="much")
    with pytest.raises(InvalidInputError, match="fee must be a number"):
        check_defaults(fee, kind)


async def test_the_time_of_the_database_is_compared_as_a_time(own: DatabaseManager) -> None:
    timed = BaseRepository[Timed](own)
    for number in range(5):
        await timed.create(price=float(number))
    for order in ("created_at", "-created_at", "changed_at"):
        seen: list[int] = []
        page = await timed.page(order_by=order, limit=2)
        while page.next_cursor is not None:
            seen += [row.id for row in page.items]
            page = await timed.page(order_by=order, limit=2, after=page.next_cursor)
        assert sorted([*seen, *(row.id for row in page.items)]) == [1, 2, 3, 4, 5]
    (first, *_) = await timed.get_all(order_by="id")
    assert abs(datetime.now(UTC) - first.created_at) < timedelta(minutes=5)
    assert await timed.count(Timed.created_at >= first.created_at) == 5
    await timed.update_many(id=1, values={"created_at": func.now()})
    (first, *_) = await timed.get_all(order_by="id")
    assert await timed.count(created_at=first.created_at) >= 1
