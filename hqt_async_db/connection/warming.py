"""Paying cold costs before they are in somebody's way."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.orm import configure_mappers

from hqt_async_db.connection.backends.backend import Mode
from hqt_async_db.connection.backends.direct import NoWayError
from hqt_async_db.models import Base

if TYPE_CHECKING:
    from hqt_async_db.connection.manager import DatabaseManager


async def warm_up(db: DatabaseManager) -> None:
    """Configure the mappers, open connections and compile first statements."""
    configure_mappers()
    async with db.open(Mode.DEFAULT, "warm-up") as session:
        await session.execute(text("SELECT 1"))
    with suppress(NoWayError):
        await db.shortcut().warm_up()
    async with db.open(Mode.READ_ONLY, "warm-up") as session:
        await session.execute(text("SELECT 1"))
        for mapper in Base.registry.mappers:
            if mapper.class_.__module__.startswith(Base.__module__.rpartition(".")[0]):
                await session.get(mapper.class_, 0)
