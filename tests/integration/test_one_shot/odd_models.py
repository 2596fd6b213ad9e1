"""Models that need more of SQLAlchemy than their columns, so that they take the plain way."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    Computed,
    Dialect,
    Enum,
    ForeignKey,
    Integer,
    Sequence,
    String,
    TypeDecorator,
    UniqueConstraint,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    column_property,
    composite,
    mapped_column,
    reconstructor,
    relationship,
    validates,
)


class OddBase(DeclarativeBase):
    """Somebody else's tables, none of which is ordinary."""


class Named(OddBase):
    """What the others have in common; not a table."""

    __abstract__ = True
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50), default="none")


class Animal(Named):
    """Inherited from, in one table and in two."""

    __tablename__ = "animals"
    kind: Mapped[str] = mapped_column(String(20))
    __mapper_args__: Any = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}  # noqa: RUF012 - read once


class Cat(Animal):
    """In the table of animals."""

    lives: Mapped[int | None] = mapped_column(Integer, default=9)
    __mapper_args__: Any = {"polymorphic_identity": "cat"}  # noqa: RUF012 - as above


class Dog(Animal):
    """In a table of its own as well."""

    __tablename__ = "dogs"
    id: Mapped[int] = mapped_column(ForeignKey("animals.id"), primary_key=True)
    tricks: Mapped[int] = mapped_column(default=0)
    __mapper_args__: Any = {"polymorphic_identity": "dog"}  # noqa: RUF012 - as above


class Graded(Named):
    """Its class is worked out by the database."""

    __tablename__ = "graded"
    points: Mapped[int] = mapped_column(default=0)
    __mapper_args__: Any = {  # noqa: RUF012 - as above
        "polymorphic_on": literal_column("CASE WHEN points > 9 THEN 'good' ELSE 'any' END"),
        "polymorphic_identity": "any",
    }


class Good(Graded):
    """Has many points."""

    __mapper_args__: Any = {"polymorphic_identity": "good"}  # noqa: RUF012 - as above


class Parent(Named):
    """Loads its children with it, and counts them."""

    __tablename__ = "parents"
    children: Mapped[list[Child]] = relationship(lazy="selectin", order_by="Child.id")


class Child(Named):
    """Loads its parent with it."""

    __tablename__ = "children"
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("parents.id"))
    parent: Mapped[Parent | None] = relationship(lazy="joined", overlaps="children")


Parent.size = column_property(
    select(func.count(Child.id))
    .where(Child.parent_id == Parent.id)
    .correlate_except(Child)
    .scalar_subquery()
)


class Lazy(Named):
    """One of its columns is not loaded with the others."""

    __tablename__ = "lazies"
    note: Mapped[str | None] = mapped_column(String(50), deferred=True)


class Served(Named):
    """The database fills in what the caller does not."""

    __tablename__ = "served"
    rank: Mapped[int] = mapped_column(server_default=text("7"))
    double: Mapped[int] = mapped_column(Computed("rank * 2"))
    touched: Mapped[int | None] = mapped_column(onupdate=text("8"))


class Made(Named):
    """Has an ``__init__`` of its own, and something to do after loading."""

    __tablename__ = "made"

    def __init__(self, name: str = "made", **values: Any) -> None:
        super().__init__(name=name, **values)
        self.is_new = True

    @reconstructor
    def _loaded(self) -> None:
        self.is_new = False


class Checked(Named):
    """Changes what is assigned."""

    __tablename__ = "checked"

    @validates("name")
    def _upper(self, _key: str, value: str) -> str:
        return value.upper()


def _greeting(context: Any) -> str:
    return f"hello {context.get_current_parameters()['name']}"


class Derived(Named):
    """Its defaults ask for the rest of the row, or the database for a value."""

    __tablename__ = "derived"
    greeting: Mapped[str] = mapped_column(String(60), default=_greeting, onupdate=_greeting)
    letters: Mapped[int] = mapped_column(default=func.length("four"))


class Numbered(OddBase):
    """Its key is a sequence's, where there are sequences."""

    __tablename__ = "numbered"
    id: Mapped[int] = mapped_column(Sequence("numbers", start=5), primary_key=True)
    name: Mapped[str] = mapped_column(String(50))


class Document(Named):
    """Stock JSON, of which None is a value."""

    __tablename__ = "documents"
    content: Mapped[Any] = mapped_column(JSON, nullable=True)


class Chosen(Named):
    """One of its columns has a type of the database's own, and a name is unique."""

    __tablename__ = "chosen"
    __table_args__ = (UniqueConstraint("name"),)
    side: Mapped[str] = mapped_column(Enum("long", "short", name="chosen_side"))


class Reversed(TypeDecorator[str]):
    """Text that is stored from its end."""

    impl = String(50)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Turn it round."""
        del dialect
        return None if value is None else value[::-1]

    process_result_value = process_bind_param


class Typed(Named):
    """Has a column of somebody's own type, and one whose name is another."""

    __tablename__ = "typed"
    word: Mapped[str | None] = mapped_column("the word", Reversed)


class Point:
    """Two numbers."""

    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y

    def __composite_values__(self) -> tuple[int, int]:
        return self.x, self.y

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)

    def __hash__(self) -> int:
        return hash((self.x, self.y))


class Placed(Named):
    """Two columns are one attribute."""

    __tablename__ = "placed"
    at: Mapped[Point] = composite(mapped_column("x", Integer), mapped_column("y", Integer))
