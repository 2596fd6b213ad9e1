"""Paying cold costs before they are in somebody's way."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy import select, text
from sqlalchemy.orm import configure_mappers, registry

from hqt_async_db.connection.backends.backend import Mode
from hqt_async_db.connection.backends.direct import NoWayError
from hqt_async_db.errors import InvalidInputError
from hqt_async_db.migrations.environment import our_models

if TYPE_CHECKING:
    from sqlalchemy.orm import DeclarativeBase

    from hqt_async_db.connection.manager import DatabaseManager


async def warm_up(db: DatabaseManager, base: type[DeclarativeBase] | None = None) -> None:
    """Configure the mappers, open connections and compile first statements.

    Args:
        db: Whose connections.
        base: Whose models are read; None for those of this library.
    """
    models = our_models() if base is None else _models_of(base)
    configure_mappers()
    async with db.open(Mode.DEFAULT, "warm-up") as session:
        await session.execute(text("SELECT 1"))
    with suppress(NoWayError):
        await db.shortcut().warm_up()
    async with db.open(Mode.READ_ONLY, "warm-up") as session:
        await session.execute(text("SELECT 1"))
        for model in models:
            await session.execute(select(model).limit(0))


def _models_of(base: type[DeclarativeBase]) -> list[type]:
    """Return the models of a base.

    Raises:
        InvalidInputError: It is no declarative base.
    """
    if not isinstance(getattr(base, "registry", None), registry):
        msg = f"base must be a declarative base, not {type(base).__name__}"
        raise InvalidInputError(msg, field="base")
    return [mapper.class_ for mapper in base.registry.mappers]
