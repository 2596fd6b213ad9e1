"""Text is refused where a backend would cut, fold or reject it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Connection, MetaData, Table, create_engine, select
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.schema import CreateTable

from hqt_async_db.errors import InvalidInputError
from hqt_async_db.models import Direction
from hqt_async_db.models.types import Choice, ExactText, choice_check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Dialect

SQLITE: Dialect = sqlite.dialect()
POSTGRESQL: Dialect = make_url("postgresql+asyncpg://").get_dialect()()


class Letter(StrEnum):
    A = "a"


def people() -> Table:
    return Table(
        "people",
        MetaData(),
        Column("name", ExactText(5)),
        Column("notes", ExactText()),
        Column("side", Choice(Direction)),
        choice_check("side", Direction),
    )


@pytest.fixture
def people_in_sqlite() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        people().create(connection)
        yield connection
    engine.dispose()


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5))
def test_any_text_that_fits_is_kept(text: str) -> None:
    assert ExactText(5).checked(text) == text


def test_length_counts_characters() -> None:
    assert ExactText(5).checked("😀😀😀😀😀") == "😀😀😀😀😀"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("sixsix", "longer than 5 characters"),
        ("x" * 10_000, "longer than 5 characters"),
        ("a\0", "NUL"),
        ("a\ud800", "lone surrogate"),
        (5, "must be text, not a value of type int"),
        (b"ab", "must be text, not a value of type bytes"),
    ],
)
def test_a_refusal_names_the_column_and_no_value(value: object, reason: str) -> None:
    column_type = people().c.name.type
    assert isinstance(column_type, ExactText)
    with pytest.raises(InvalidInputError, match=reason) as refusal:
        column_type.coerce(value)
    assert refusal.value.field == "people.name"
    assert str(value)[:6] not in str(refusal.value)


@pytest.mark.parametrize("column", ["name", "notes"])
def test_an_enum_member_becomes_plain_text(column: str) -> None:
    column_type: Any = people().c[column].type
    value = column_type.coerce(Letter.A)
    assert type(value) is str
    assert value == "a"


def test_a_choice_takes_members_and_their_text() -> None:
    side = Choice(Direction)
    assert [side.checked(Direction.LONG), side.checked("short")] == ["long", "short"]
    assert type(side.checked(Direction.LONG)) is str


@pytest.mark.parametrize("value", ["up", "LONG", "long ", "", 1])
def test_a_choice_lists_what_is_allowed(value: object) -> None:
    side = people().c.side.type
    assert isinstance(side, Choice)
    with pytest.raises(InvalidInputError, match=r"^people\.side must be one of long, short$"):
        side.coerce(value)


def test_a_pattern_may_be_longer_than_the_column(people_in_sqlite: Connection) -> None:
    table = people()
    for criterion in (table.c.name.contains("x" * 9), table.c.side.like("lo%")):
        assert people_in_sqlite.execute(select(table).where(criterion)).all() == []
    with pytest.raises(InvalidInputError, match=r"people\.name contains a NUL"):
        people_in_sqlite.execute(select(table).where(table.c.name.contains("a\0")))


def test_a_filter_that_could_never_match_is_refused(people_in_sqlite: Connection) -> None:
    table = people()
    for criterion in (table.c.name == "sixsix", table.c.name.in_(["a", "sixsix"])):
        with pytest.raises(InvalidInputError, match=r"people\.name is longer"):
            people_in_sqlite.execute(select(table).where(criterion))


def test_quotes_in_sql_text_are_doubled() -> None:
    criterion = people().c.name == "O'N"
    text = str(criterion.compile(dialect=POSTGRESQL, compile_kwargs={"literal_binds": True}))
    assert text == "people.name = 'O''N'"


def test_postgresql_compares_by_code_point() -> None:
    ddl = str(CreateTable(people()).compile(dialect=POSTGRESQL))
    assert 'name VARCHAR(5) COLLATE "C"' in ddl
    assert 'notes TEXT COLLATE "C"' in ddl


@pytest.mark.parametrize(
    ("is_mariadb", "collation"), [(True, "utf8mb4_nopad_bin"), (False, "utf8mb4_0900_bin")]
)
def test_the_collation_follows_the_server_and_not_the_url(
    *, is_mariadb: bool, collation: str
) -> None:
    dialect = mysql.dialect()
    table = people()
    str(select(table).where(table.c.name == "a").compile(dialect=dialect))  # caches the types
    dialect.is_mariadb = is_mariadb  # what the first connection finds out
    ddl = str(CreateTable(table).compile(dialect=dialect))
    assert f"name VARCHAR(5) CHARACTER SET utf8mb4 COLLATE {collation}" in ddl
    assert f"notes LONGTEXT CHARACTER SET utf8mb4 COLLATE {collation}" in ddl


def test_the_vocabulary_is_closed_in_the_database_too() -> None:
    ddl = str(CreateTable(people()).compile(dialect=SQLITE))
    assert "CHECK (side IN ('long', 'short'))" in ddl
