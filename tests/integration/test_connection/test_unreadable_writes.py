"""One-shot writes that are committed, although what the database returns cannot be read."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLAlchemy reads the annotation
from enum import StrEnum
from typing import Any

import pytest
from pymysql.constants import FIELD_TYPE
from pymysql.converters import conversions
from sqlalchemy import Enum, SmallInteger, String, func, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hqt_async_db import BaseRepository, CommitOutcomeUnknownError, DatabaseManager
from hqt_async_db.models.types.times import UtcDateTime


class Base(DeclarativeBase):
    """What these tests map."""


class Side(StrEnum):
    """A part of what there is in the database."""

    BUY = "buy"


class Order(Base):
    """A side that the database chooses."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20))
    side: Mapped[Side] = mapped_column(
        Enum(Side, native_enum=False, length=20), server_default="hold"
    )


class Event(Base):
    """A time before the first of Python's, that the database chooses."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20))
    began_at: Mapped[datetime] = mapped_column(
        UtcDateTime, server_default=text("'0044-03-15 12:00:00+00 BC'")
    )


class Lot(Base):
    """A number that the database chooses."""

    __tablename__ = "lots"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20))
    size: Mapped[int] = mapped_column(SmallInteger, server_default="7")


async def _require_told(db: DatabaseManager, witness: DatabaseManager, model: Any) -> None:
    async with witness.engine.begin() as connection:
        await connection.run_sync(model.__table__.create)
    before = await db.health()
    for number in (1, 2):
        with pytest.raises(CommitOutcomeUnknownError, match="cannot be read"):
            await BaseRepository(db, model).create(name=f"{number}")
        async with witness.session() as session:
            count = select(func.count()).select_from(model.__table__)
            assert await session.scalar(count) == number
    assert (await db.health())["rollbacks"] == before["rollbacks"]
    # What comes next does not meet what has been left of the answer.
    assert await BaseRepository(db, model).count() == 2


async def test_a_type_that_refuses_what_comes_back(db: DatabaseManager) -> None:
    await _require_told(db, db, Order)
    if db.dialect_name != "postgresql":
        return  # elsewhere many rows are read before their commit
    with pytest.raises(CommitOutcomeUnknownError, match="cannot be read"):
        await BaseRepository(db, Order).create_many([{"name": "3"}], returning=True)
    assert await BaseRepository(db, Order).count() == 3


@pytest.mark.backends("postgresql")
async def test_a_driver_that_cannot_hold_what_comes_back(driven_url: str) -> None:
    async with DatabaseManager(driven_url) as db:
        await _require_told(db, db, Event)


@pytest.mark.backends("mariadb")
async def test_a_conversion_that_fails_amid_the_answer(driven_url: str) -> None:
    def refuse(_: object) -> int:
        msg = "not mine"
        raise LookupError(msg)

    arguments = {"conv": {**conversions, FIELD_TYPE.SHORT: refuse}}
    async with (
        DatabaseManager(driven_url, connect_args=arguments) as db,
        DatabaseManager(driven_url) as witness,
    ):
        await _require_told(db, witness, Lot)
