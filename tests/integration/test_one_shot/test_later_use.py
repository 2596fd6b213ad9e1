"""What a one-shot call returned can be used later as what a session returned."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import inspect

from hqt_async_db import BaseRepository, UnloadedRelationshipError
from hqt_async_db.models import Strategy, User
from tests.integration.test_one_shot.rows import (
    MODELS,
    Model,
    complete,
    free_columns,
    unique_columns,
    values_of,
)
from tests.integration.test_one_shot.seen import seen

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager
    from tests.integration.test_one_shot.ways import Ways

MASKED = frozenset({"id", "created_at", "updated_at", "timestamp"})


async def obtained(db: DatabaseManager, model: Model, how: str) -> Any:
    """Return an instance that was created or read, in its whole width."""
    row = complete(
        model,
        {name: values_of(c)[1 % len(values_of(c))] for name, c in free_columns(model).items()},
    )
    repository: BaseRepository[Any] = BaseRepository(db, model)
    made = await repository.create(**row)
    return made if how == "created" else await repository.get_by_id(made.id)


@pytest.fixture(params=["created", "read"])
def how(request: pytest.FixtureRequest) -> str:
    """How an instance was come by."""
    return str(request.param)


def changeable(model: Model) -> tuple[str, Any]:
    """Return an attribute to change, and its new value."""
    columns = free_columns(model).items()
    fit = [(n, c) for n, c in columns if len(values_of(c)) > 2 and n not in unique_columns(model)]
    name, column = fit[0]
    return name, values_of(column)[2]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
async def test_a_session_takes_it_and_stores_a_change(ways: Ways, model: Model, how: str) -> None:
    name, value = changeable(model)
    for db in (ways.short, ways.plain):
        for verb in ("add", "merge"):
            instance = await obtained(db, model, how)
            async with db.session() as session:
                if verb == "add":
                    session.add(instance)
                else:
                    instance = await session.merge(instance)
                assert not session.is_modified(instance)
                assert inspect(instance).persistent
                setattr(instance, name, value)
                assert session.is_modified(instance)
                await session.flush()
            stored = await BaseRepository(db, model).get_by_id(instance.id)
            assert seen(getattr(stored, name)) == seen(getattr(instance, name))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
async def test_copies_of_it_are_alike(ways: Ways, model: Model, how: str) -> None:
    seen_both = []
    for db in (ways.short, ways.plain):
        instance = await obtained(db, model, how)
        again = pickle.loads(pickle.dumps(instance))  # noqa: S301 - our own
        assert seen(again) == seen(instance)
        assert again.__dict__.keys() == instance.__dict__.keys()
        twin = copy.copy(again)
        assert twin.id == instance.id
        for name in inspect(model).relationships.keys():  # noqa: SIM118 - no mapping
            with pytest.raises(UnloadedRelationshipError, match=name):
                getattr(instance, name)
        await BaseRepository(db, model).update(again, **dict([changeable(model)]))
        value = seen(instance, masked=MASKED)["values"]
        seen_both.append({n: v for n, v in value.items() if n in free_columns(model)})
    unique = {name for name, value in seen_both[0].items() if "unique" in str(value)}
    for values in seen_both:
        for name in unique | ({"user_id"} if model.__name__ == "UserSetting" else set()):
            values.pop(name)
    assert seen_both[0] == seen_both[1]


async def test_json_reports_its_changes_to_a_session(ways: Ways, how: str) -> None:
    for db in (ways.short, ways.plain):
        strategy = await obtained(db, Strategy, how)
        async with db.session() as session:
            session.add(strategy)
            strategy.parameters["n"] = {"deep": [1]}
            assert strategy in session.dirty
        async with db.session() as session:
            session.add(strategy)
            strategy.parameters["n"]["deep"].append(2)
            assert strategy in session.dirty
        found = await BaseRepository(db, Strategy).get_by_id(strategy.id)
        assert found is not None
        assert found.parameters["n"] == {"deep": [1, 2]}
        again = pickle.loads(pickle.dumps(found))  # noqa: S301 - our own
        again.parameters["n"]["deep"].append(3)
        await BaseRepository(db, Strategy).update(again)
        [row] = await BaseRepository(db, Strategy).rows("parameters", id=strategy.id)
        assert row.parameters["n"] == {"deep": [1, 2, 3]}


async def test_what_was_read_is_one_s_own(ways: Ways) -> None:
    for db in (ways.short, ways.plain):
        one, other = [await BaseRepository(db, User).get_by_id(1) for _ in range(2)]
        assert one is not None
        assert one is not other
        one.full_name = "changed here"
        assert other is not None
        assert other.full_name is None
        assert inspect(other).attrs.full_name.history.unchanged == [None]
