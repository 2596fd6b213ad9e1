"""Models that need more of SQLAlchemy work with a repository on the manager."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import String, inspect, literal_column, type_coerce

from hqt_async_db import DatabaseManager
from hqt_async_db.repositories import BaseRepository
from tests.integration.test_one_shot.odd_models import (
    Animal,
    Cat,
    Checked,
    Child,
    Chosen,
    Derived,
    Document,
    Dog,
    Good,
    Graded,
    Lazy,
    Made,
    Numbered,
    OddBase,
    Parent,
    Placed,
    Point,
    Served,
    Typed,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.test_repository.samples import Bind


@pytest.fixture(params=["manager", "session"])
async def bind(request: pytest.FixtureRequest, db: DatabaseManager) -> AsyncIterator[Bind]:
    """Return the manager, whose calls may take the short way, or a session as the measure."""
    async with db.engine.begin() as connection:
        await connection.run_sync(OddBase.metadata.create_all)
    if request.param == "manager":
        yield db
        return
    async with db.session() as session:
        yield session


async def test_inheritance(bind: Bind) -> None:
    cats, dogs, animals = (BaseRepository[Any](bind, m) for m in (Cat, Dog, Animal))
    await cats.create(name="Tom")
    rex = await dogs.create(name="Rex", tricks=3)
    await dogs.update(rex, tricks=4, name="Max")
    found = await animals.get_many(order_by="name")
    assert [(type(animal), animal.name) for animal in found] == [(Dog, "Max"), (Cat, "Tom")]
    assert (await dogs.get_one()).tricks == 4
    assert await cats.count() == 1
    assert await cats.update_many(Cat.id > 0, values={"name": "Kit"}) == 1
    assert [row.name for row in await dogs.rows("name")] == ["Max"]
    assert await cats.delete_many(Cat.id > 0) == 1
    assert await animals.count() == 1


async def test_classes_that_the_database_works_out(bind: Bind) -> None:
    graded = BaseRepository(bind, Graded)
    low = await graded.create(name="low")
    await graded.create_many([{"name": "high", "points": 10}])
    await graded.update(low, points=1)
    found = await graded.get_many(order_by="name")
    assert [(type(each), each.points) for each in found] == [(Good, 10), (Graded, 1)]


async def test_relationships_that_load_by_themselves_and_counts(bind: Bind) -> None:
    parents, children = BaseRepository(bind, Parent), BaseRepository(bind, Child)
    parent = await parents.create(name="P")
    await children.create(name="c", parent_id=parent.id)
    child = await children.get_one()
    assert child.parent is not None
    assert child.parent.name == "P"
    if isinstance(bind, DatabaseManager):  # a session has the parent already, without a child
        found = await parents.get_one(name="P")
        assert [child.name for child in found.children] == ["c"]
        assert inspect(found).attrs["size"].value == 1


async def test_columns_that_are_loaded_later(bind: Bind) -> None:
    lazies = BaseRepository(bind, Lazy)
    made = await lazies.create(name="a", note="n")
    await lazies.update(made, note="m")
    assert await lazies.count(note="m") == 1
    assert [row.note for row in await lazies.rows("note")] == ["m"]


async def test_what_the_database_fills_in(bind: Bind) -> None:
    served = BaseRepository(bind, Served)
    made = await served.create(name="a")
    assert (made.rank, made.double, made.touched) == (7, 14, None)
    await served.update(made, rank=9)
    assert (made.rank, made.double, made.touched) == (9, 18, 8)
    found = await served.get_one()
    assert (found.rank, found.double, found.touched) == (9, 18, 8)


async def test_an_init_and_a_reconstructor_of_ones_own(bind: Bind, db: DatabaseManager) -> None:
    made = await BaseRepository(bind, Made).create()
    assert (made.name, made.is_new) == ("made", True)
    if bind is db:
        assert not (await BaseRepository(bind, Made).get_one()).is_new


async def test_validators_see_each_assignment_and_change_what_is_stored(bind: Bind) -> None:
    checked = BaseRepository(bind, Checked)
    made = await checked.create(name="a")
    assert [row.name for row in await checked.rows("name")] == ["A"]
    await checked.update(made, name="b")
    assert made.name == "B"
    assert [row.name for row in await checked.rows("name")] == ["B"]


async def test_defaults_that_ask_for_the_row_or_the_database(bind: Bind) -> None:
    derived = BaseRepository(bind, Derived)
    made = await derived.create(name="Ann")
    assert (made.greeting, made.letters) == ("hello Ann", 4)
    await derived.update(made, name="Bea")
    assert made.greeting == "hello Bea"
    [row] = await derived.rows("greeting", "letters")
    assert tuple(row) == ("hello Bea", 4)


async def test_a_key_of_a_sequence(bind: Bind, backend: str) -> None:
    made = await BaseRepository(bind, Numbered).create(name="a")
    assert made.id == (1 if backend.startswith("sqlite") else 5)


async def test_json_without_a_value_is_null(bind: Bind) -> None:
    documents = BaseRepository(bind, Document)
    for row in ({"name": "none"}, {"name": "some", "content": {"a": 1}}):
        await documents.create(**row)
    assert (
        await documents.count(Document.name.is_not(None), literal_column("content").is_(None)) == 1
    )
    assert (await documents.get_one(name="some")).content == {"a": 1}


async def test_choices_that_are_a_type_of_the_database(bind: Bind) -> None:
    chosen = BaseRepository(bind, Chosen)
    rows = [{"name": name, "side": "long"} for name in ("a", "b")]
    assert {made.side for made in await chosen.create_many(rows, returning=True)} == {"long"}
    changed = [{**row, "side": "short"} for row in rows]
    assert {row.side for row in await chosen.upsert_many(changed, match_fields=["name"])} == {
        "short"
    }
    assert (await chosen.upsert(["name"], name="a", side="long")).side == "long"
    assert sorted(row.side for row in await chosen.rows("side")) == ["long", "short"]


async def test_types_and_names_of_ones_own(bind: Bind) -> None:
    typed = BaseRepository(bind, Typed)
    made = await typed.create(word="abc")
    await typed.update(made, word="xyz")
    assert (await typed.get_one(word="xyz")).word == "xyz"
    assert [row.word for row in await typed.rows("word")] == ["xyz"]
    raw = type_coerce(Typed.word, String).label("raw")
    assert [row.raw for row in await typed.rows(raw)] == ["zyx"]


async def test_composites(bind: Bind, db: DatabaseManager) -> None:
    if isinstance(bind, DatabaseManager):
        async with db.session() as session:
            session.add(Placed(name="a", at=Point(1, 2)))
    else:
        bind.add(Placed(name="a", at=Point(1, 2)))
    assert (await BaseRepository(bind, Placed).get_one()).at == Point(1, 2)
