"""Paying cold costs before they are in somebody's way."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy import select, text
from sqlalchemy.orm import configure_mappers

from hqt_async_db.connection.backends.backend import Mode
from hqt_async_db.connection.backends.direct import NoWayError
from hqt_async_db.models import Base

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import DeclarativeBase

    from hqt_async_db.connection.manager import DatabaseManager


async def warm_up(db: DatabaseManager, base: type[DeclarativeBase] | None = None) -> None:
    """Configure the mappers, open connections and compile first statements.

    Args:
        db: Whose connections.
        base: Whose models are read; None for those of this library.
    """
    configure_mappers()
    async with db.open(Mode.DEFAULT, "warm-up") as session:
        await session.execute(text("SELECT 1"))
    with suppress(NoWayError):
        await db.shortcut().warm_up()
    async with db.open(Mode.READ_ONLY, "warm-up") as session:
        await session.execute(text("SELECT 1"))
        for model in _models_of(base):
            await session.execute(select(model).limit(0))


def _models_of(base: type[DeclarativeBase] | None) -> Iterator[type]:
    """Return the models of a base; ours may have models of an application beside ours."""
    ours = Base.__module__.rpartition(".")[0]
    for mapper in (base or Base).registry.mappers:
        if base is not None or mapper.class_.__module__.startswith(ours):
            yield mapper.class_
