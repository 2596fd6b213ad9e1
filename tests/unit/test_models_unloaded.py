"""The guard of unloaded relationships, where no database is needed.

These fail if a new SQLAlchemy keeps its lazy loaders somewhere else.
"""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import ForeignKey, MetaData, create_engine
from sqlalchemy.orm import (
    DynamicMapped,
    Mapped,
    Session,
    WriteOnlyMapped,
    make_transient_to_detached,
    mapped_column,
    relationship,
)

from hqt_async_db import models
from hqt_async_db.errors import UnloadedRelationshipError
from hqt_async_db.models import Base

RELATIONSHIPS = [
    (model, key)
    for model in vars(models).values()
    if hasattr(model, "__tablename__")
    for key in model.__mapper__.relationships.keys()  # noqa: SIM118 - no dict
]


class Desk(Base):
    __tablename__ = "desks"
    metadata = MetaData()
    id: Mapped[int] = mapped_column(primary_key=True)
    logged: WriteOnlyMapped[Quote] = relationship(overlaps="desk,quotes")
    followed: DynamicMapped[Quote] = relationship(overlaps="desk,quotes,logged")


class Quote(Base):
    __tablename__ = "quotes"
    metadata = Desk.metadata
    id: Mapped[int] = mapped_column(primary_key=True)
    desk_id: Mapped[int] = mapped_column(ForeignKey(Desk.id))
    desk: Mapped[Desk] = relationship(backref="quotes")


def detached(model: type[Any]) -> Any:
    instance = model(id=1)
    make_transient_to_detached(instance)
    return instance


@pytest.mark.parametrize(("model", "key"), RELATIONSHIPS)
def test_every_relationship_of_every_model_is_guarded(model: type[Base], key: str) -> None:
    with pytest.raises(UnloadedRelationshipError, match=rf"{model.__name__}\.{key} is not loaded"):
        getattr(detached(model), key)


def test_a_backref_is_guarded() -> None:
    Quote(id=1)  # configures the mappers: only now Desk has it
    with pytest.raises(UnloadedRelationshipError, match=r"Desk\.quotes"):
        _ = detached(Desk).quotes


def test_a_synchronous_session_still_loads_by_itself() -> None:
    engine = create_engine("sqlite://")
    Desk.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Desk(id=1), Quote(id=1, desk_id=1)])
        session.commit()
        desk: Any = session.get_one(Desk, 1)
        assert [quote.id for quote in desk.quotes] == [1]
        assert [quote.id for quote in session.scalars(desk.logged.select())] == [1]
        assert desk.followed.count() == 1
    engine.dispose()
