"""Models of a kind that ours are not: several tables, versions of their own, computed columns."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Column, ForeignKey, Integer, String, Table, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column, relationship

from hqt_async_db import BaseRepository, DatabaseManager, InvalidInputError, StaleRecordError

if TYPE_CHECKING:
    from hqt_async_db import Session


class OwnBase(DeclarativeBase):
    pass


class Employee(OwnBase):
    __tablename__ = "unusual_employees"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20), unique=True)
    kind: Mapped[str] = mapped_column(String(20))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "employee"}  # noqa: RUF012 - as SQLAlchemy documents it


class Engineer(Employee):
    __tablename__ = "unusual_engineers"
    id: Mapped[int] = mapped_column(ForeignKey(Employee.id), primary_key=True)
    language: Mapped[str] = mapped_column(String(20))
    __mapper_args__ = {"polymorphic_identity": "engineer"}  # noqa: RUF012 - as above


class Owner(OwnBase):
    __tablename__ = "unusual_owners"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20))
    owned: Mapped[list[Owned]] = relationship(cascade="all, delete-orphan")


class Owned(OwnBase):
    __tablename__ = "unusual_owned"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey(Owner.id))


_left = Table(
    "unusual_left",
    OwnBase.metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(20)),
)
_right = Table(
    "unusual_right",
    OwnBase.metadata,
    Column("id", Integer, primary_key=True),
    Column("left_id", ForeignKey(_left.c.id)),
    Column("note", String(20)),
)


class Joined(OwnBase):
    __table__ = _left.join(_right)
    id = column_property(_left.c.id, _right.c.left_id)
    right_id = _right.c.id
    note: Any = _right.c.note


class Versioned(OwnBase):
    __tablename__ = "unusual_versions"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20), unique=True)
    version: Mapped[str] = mapped_column(String(32))
    __mapper_args__ = {  # noqa: RUF012 - as above
        "version_id_col": version,
        "version_id_generator": lambda _: uuid.uuid4().hex,
    }


class Counted(OwnBase):
    __tablename__ = "unusual_counts"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20), unique=True)
    version: Mapped[int] = mapped_column()  # without a default, as SQLAlchemy documents it
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - as above


class Renamed(OwnBase):
    __tablename__ = "unusual_names"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20), unique=True)
    note: Mapped[str | None] = mapped_column("the note", String(20), key="note_key")


class Computed(OwnBase):
    __tablename__ = "unusual_computed"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20), unique=True)
    label: Mapped[str] = column_property(func.upper(name))


@pytest.fixture
async def own(db: DatabaseManager) -> DatabaseManager:
    await db.create_all(OwnBase)
    return db


async def test_what_lies_in_several_tables_is_deleted_from_all(own: DatabaseManager) -> None:
    engineers, employees = BaseRepository[Engineer](own), BaseRepository[Employee](own)
    for _ in range(2):
        engineer = await engineers.create(name="a", language="python")
        await engineers.delete(engineer)
        assert await employees.count() == 0
        engineer = await engineers.create(name="a", language="python")
        assert await engineers.delete_by_id(engineer.id)
        assert not await engineers.delete_by_id(engineer.id)
    await engineers.create(name="a", language="python")
    (found,) = await employees.get_all()
    await employees.delete(found)
    assert await employees.count() == await engineers.count() == 0
    with pytest.raises(StaleRecordError):
        await employees.delete(found)


async def test_one_statement_for_several_tables_is_refused(own: DatabaseManager) -> None:
    engineers = BaseRepository[Engineer](own)
    await engineers.create(name="a", language="python")
    with pytest.raises(InvalidInputError, match="several tables"):
        await engineers.delete_many(language="python")
    with pytest.raises(InvalidInputError, match="several tables"):
        await engineers.update_many(language="python", values={"name": "b"})
    with pytest.raises(InvalidInputError, match="several tables"):
        await engineers.upsert(["id"], id=1, name="b", language="python")
    assert [one.name for one in await engineers.get_all()] == ["a"]


async def test_versions_that_do_not_count_are_not_counted(own: DatabaseManager) -> None:
    repository = BaseRepository[Versioned](own)
    first = await repository.create(name="a")
    with pytest.raises(InvalidInputError, match="generator"):
        await repository.update_many(name="a", values={"name": "b"})
    with pytest.raises(InvalidInputError, match="generator"):
        await repository.upsert(["name"], name="a")
    before = first.version
    await repository.update(first, name="b")
    found = await repository.get_one(name="b")
    assert found.version == first.version != before


@pytest.mark.parametrize("returning", [False, True])
@pytest.mark.parametrize("is_one_shot", [True, False])
async def test_many_rows_get_their_first_version(
    own: DatabaseManager, *, returning: bool, is_one_shot: bool
) -> None:
    rows = [{"name": "a"}, {"name": "b"}]
    if is_one_shot:
        await BaseRepository[Counted](own).create_many(rows, returning=returning)
    else:
        async with own.session() as session:
            await BaseRepository[Counted](session).create_many(rows, returning=returning)
    found = await BaseRepository[Counted](own).get_many(order_by="name")
    assert [(one.name, one.version) for one in found] == [("a", 1), ("b", 1)]


async def test_a_column_of_another_key_is_upserted(own: DatabaseManager) -> None:
    repository = BaseRepository[Renamed](own)
    for note in ("x", "y"):
        assert (await repository.upsert(["name"], name="a", note=note)).note == note
    async with own.session() as session:
        again = await BaseRepository[Renamed](session).upsert(["name"], name="a", note="z")
        assert again.note == "z"
    assert [one.note for one in await repository.get_all()] == ["z"]


async def test_rows_have_computed_columns(own: DatabaseManager) -> None:
    repository = BaseRepository[Computed](own)
    await repository.create_many([{"name": "a"}])
    assert [(row.name, row.label) for row in await repository.rows()] == [("a", "A")]
    assert [row.label async for row in repository.stream()] == ["A"]
    made = await repository.create_many([{"name": "b"}, {"name": "c"}], returning=True)
    assert [one.label for one in made] == ["B", "C"]
    assert (await repository.upsert(["name"], name="d")).label == "D"
    async with own.session() as session:
        made = await BaseRepository[Computed](session).create_many([{"name": "e"}], returning=True)
        assert made[0].label == "E"


class Defaulted(OwnBase):
    __tablename__ = "unusual_defaults"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20), unique=True)
    note: Mapped[str | None] = mapped_column(String(20), default="python")
    text: Mapped[str | None] = mapped_column(String(20), server_default="server")


@pytest.mark.parametrize("is_one_shot", [True, False])
async def test_none_takes_the_default_of_a_new_row(
    own: DatabaseManager, *, is_one_shot: bool
) -> None:
    async def write(bind: DatabaseManager | Session) -> None:
        repository = BaseRepository[Defaulted](bind)
        nothing: dict[str, Any] = {"note": None, "text": None}
        await repository.create(name="a", **nothing)
        await repository.create_many([{"name": n, **nothing} for n in "bc"])
        await repository.create_many([{"name": "d", **nothing}, {"name": "e"}])
        made = await repository.create_many([{"name": n, **nothing} for n in "fg"], returning=True)
        assert {(one.note, one.text) for one in made} == {("python", "server")}
        await repository.upsert(["name"], name="a", **nothing)  # here it is a value
        await repository.upsert(["name"], name="b", note=None)

    if is_one_shot:
        await write(own)
    else:
        async with own.session() as session:
            await write(session)
    found = await BaseRepository[Defaulted](own).get_all(order_by="name")
    assert {(one.note, one.text) for one in found[2:]} == {("python", "server")}
    assert [(one.note, one.text) for one in found[:2]] == [(None, None), (None, "server")]


@pytest.mark.parametrize("is_one_shot", [True, False])
async def test_a_delete_takes_along_what_belongs_to_it(
    own: DatabaseManager, *, is_one_shot: bool
) -> None:
    owner = await BaseRepository[Owner](own).create(name="a")
    await BaseRepository[Owned](own).create(owner_id=owner.id)
    if is_one_shot:
        await BaseRepository[Owner](own).delete(owner)
        with pytest.raises(StaleRecordError):
            await BaseRepository[Owner](own).delete(owner)
    else:
        async with own.session() as session:
            await BaseRepository[Owner](session).delete(await session.merge(owner))
    assert await BaseRepository[Owner](own).count() == 0
    assert await BaseRepository[Owned](own).count() == 0


async def test_a_model_of_a_join(own: DatabaseManager) -> None:
    async with own.session() as session:
        session.add(Joined(name="a", note="b"))
    assert session.receipt is not None
    assert session.receipt.tables == {"unusual_left", "unusual_right"}
    async with own.session() as session:
        assert [joined.note for joined in await session.scalars(select(Joined))] == ["b"]
