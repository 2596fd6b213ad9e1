"""JSON objects come back as they went, from every backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, select

from hqt_async_db import FinanceMetricRepository
from hqt_async_db.errors import InvalidInputError
from hqt_async_db.models import Base, FinanceMetric, Optimization

if TYPE_CHECKING:
    from collections.abc import Callable

    from hqt_async_db import DatabaseManager

METRICS = Base.metadata.tables["finance_metrics"]


def nested(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(levels - 1):
        inner = {"inner": inner}
    return inner


OBJECTS: list[dict[str, Any]] = [
    {},
    {"fast_period": 10, "slow_period": 20},
    {"b": 1, "a": {"z": [1, 2.5, None, True, False, {"x": []}]}, "": ""},
    {"largest": 2**63 - 1, "smallest": -(2**63), "precise": 2**53 + 1},
    {"tenth": 0.1, "third": 1 / 3, "huge": 1.7976931348623157e308, "tiny": 5e-324, "one": 1.0},
    {"text": "😀 é \\ \" ' \n \t \x01 %s :x </script>", "😀": "ключ"},
    {"long": "x" * 100_000},
    nested(30),
]


def kinds(value: object) -> object:
    """Return the types in a JSON value, since 1 == 1.0 == True."""
    if isinstance(value, dict):
        return {key: kinds(item) for key, item in value.items()}
    if isinstance(value, list):
        return [kinds(item) for item in value]
    return type(value)


async def test_objects_come_back_as_they_went(
    db: DatabaseManager, reopened: Callable[[], DatabaseManager]
) -> None:
    async with db.session() as session:
        session.add_all([FinanceMetric(id=i, metrics=x) for i, x in enumerate(OBJECTS, 1)])
        rows = [{"id": i, "metrics": x} for i, x in enumerate(OBJECTS, 101)]
        await session.execute(insert(METRICS), rows)
    async with reopened().session() as session:
        by_core = dict((await session.execute(select(METRICS.c.id, METRICS.c.metrics))).all())
        for i, wanted in enumerate(OBJECTS, 1):
            by_orm = (await session.get_one(FinanceMetric, i)).metrics
            for read in (by_orm, by_core[i], by_core[i + 100]):
                assert read == wanted
                assert kinds(read) == kinds(wanted)
                assert list(read) == list(wanted)


async def test_json_text_is_taken_for_what_it_means(
    db: DatabaseManager, reopened: Callable[[], DatabaseManager]
) -> None:
    encoded = '{"fast_period": 10, "slow_period": 20}'
    async with db.session() as session:
        session.add(FinanceMetric(metrics=encoded))
        await session.execute(insert(METRICS), [{"metrics": encoded}])
    async with reopened().session() as session:
        read = (await session.scalars(select(FinanceMetric.metrics))).all()
    assert read == [{"fast_period": 10, "slow_period": 20}] * 2


async def test_a_change_in_place_is_committed(
    db: DatabaseManager, reopened: Callable[[], DatabaseManager]
) -> None:
    async with db.session() as session:
        session.add(FinanceMetric(id=1, metrics={"risk": {"stops": [1]}}))
    async with db.session() as session:
        metric = await session.get_one(FinanceMetric, 1)
        metric.metrics["risk"]["stops"].append({"at": 2})
    async with reopened().session() as session:
        metric = await session.get_one(FinanceMetric, 1)
    assert metric.metrics == {"risk": {"stops": [1, {"at": 2}]}}


async def test_the_database_can_look_inside(db: DatabaseManager) -> None:
    async with db.session() as session:
        for fast in (10, 20):
            session.add(FinanceMetric(metrics={"ma": {"fast": fast}}))
        inside = FinanceMetric.metrics["ma", "fast"].as_integer()
        found = await session.scalars(select(FinanceMetric.metrics).where(inside > 15))
        assert found.all() == [{"ma": {"fast": 20}}]


async def test_what_a_backend_would_alter_is_refused(db: DatabaseManager) -> None:
    async with db.session() as session:
        for unfit in ({"a": float("nan")}, {"a": "\0"}, {"a": 2**64}, nested(31), "[]", 5):
            with pytest.raises(InvalidInputError, match=r"^finance_metrics\.metrics "):
                await session.execute(insert(METRICS), [{"metrics": unfit}])


async def test_null_is_no_object(db: DatabaseManager) -> None:
    assert Optimization(best_parameters=None).best_parameters is None
    async with db.session() as session:
        none = select(METRICS.c.id).where(METRICS.c.metrics.is_(None))
        session.add(FinanceMetric(metrics={}))
        assert (await session.scalars(none)).all() == []


@pytest.mark.parametrize("is_one_shot", [True, False])
async def test_an_update_from_1_to_true_is_stored(
    db: DatabaseManager, *, is_one_shot: bool
) -> None:
    metrics = FinanceMetricRepository(db)
    made = await metrics.create(metrics={"a": [1], "b": 0})
    for value in ({"a": [True], "b": 0}, {"a": [1.0], "b": 0}, {"a": [1.0], "b": False}):
        if is_one_shot:
            await metrics.update(made, metrics=value)
        else:
            async with db.session() as session:
                (await session.get_one(FinanceMetric, made.id)).metrics = value
        [read] = await metrics.get_all()
        assert kinds(read.metrics) == kinds(value)
        made = read


async def test_entries_are_read_as_they_were_written(db: DatabaseManager) -> None:
    written = {"mode": "fast", "version": "10", "flag": "true", "n": 10, "in": {"a": "b"}}
    metrics = FinanceMetricRepository(db)
    await metrics.create(metrics=written)
    for key, value in written.items():
        [(read,)] = await metrics.rows(FinanceMetric.metrics[key])
        async with db.session() as session:
            again = await session.scalar(select(FinanceMetric.metrics[key]))
        assert (kinds(read), kinds(again)) == (kinds(value), kinds(value))
        assert read == again == value
