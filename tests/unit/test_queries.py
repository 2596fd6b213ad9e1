"""Statements and cursors are built right, or refused, without any database."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal  # noqa: TC003 - the mapped class needs it
from typing import TYPE_CHECKING, Any
from uuid import UUID  # noqa: TC003 - as above

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Numeric, String, create_engine, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hqt_async_db import InvalidInputError
from hqt_async_db.models import User
from hqt_async_db.repositories.pages import Keyset
from hqt_async_db.repositories.queries import ordered, orderings_of, with_tie_break
from hqt_async_db.repositories.selects import Parts, prepare_select

if TYPE_CHECKING:
    from sqlalchemy import Dialect

DIALECT = create_engine("sqlite://").dialect


class Base(DeclarativeBase):
    """Somebody else's base."""


class Sample(Base):
    """One column of every kind that a cursor can hold."""

    __tablename__ = "samples"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(String(100))
    flag: Mapped[bool | None]
    ratio: Mapped[float | None]
    amount: Mapped[Decimal | None] = mapped_column(Numeric(28, 8))
    moment: Mapped[datetime | None]
    day: Mapped[date | None]
    key: Mapped[UUID | None]
    blob: Mapped[bytes | None]


COLUMNS = ("name", "flag", "ratio", "amount", "moment", "day", "key", "id")
VALUES = st.tuples(
    st.none() | st.text(),
    st.none() | st.booleans(),
    st.none() | st.floats(allow_nan=False),
    st.none() | st.decimals(allow_nan=False, allow_infinity=False),
    st.none() | st.datetimes() | st.datetimes(timezones=st.just(UTC)),
    st.none() | st.dates(),
    st.none() | st.uuids(),
    st.integers(min_value=-(2**63), max_value=2**63 - 1),
)


@given(VALUES)
def test_a_cursor_keeps_every_value_and_its_type(values: tuple[Any, ...]) -> None:
    keyset = Keyset(Sample, COLUMNS)
    cursor = keyset.cursor(values)
    criterion = keyset.after(cursor, DIALECT)
    bound = list(criterion.compile(dialect=DIALECT).params.values())
    kept = [next((b for b in bound if type(b) is type(v) and b == v), None) for v in values]
    assert kept == list(values)
    assert cursor.isascii()
    assert not set(cursor) & set("+/=&?% ")


@given(st.text() | st.binary() | st.integers() | st.none())
def test_no_other_string_is_a_cursor(text: Any) -> None:
    with pytest.raises(InvalidInputError, match="the page cursor is damaged"):
        Keyset(Sample, "name").after(text, DIALECT)


def test_what_no_cursor_holds_is_refused_at_once() -> None:
    with pytest.raises(InvalidInputError, match=r"cannot order by samples\.blob") as refused:
        Keyset(Sample, "blob")
    assert refused.value.field == "order_by"
    with pytest.raises(InvalidInputError, match="columns of the model only"):
        Keyset(Sample, func.lower(Sample.name))


def _order_by(order_by: Any, dialect: Dialect = DIALECT) -> str:
    orderings = with_tie_break(Sample, orderings_of(Sample, order_by))
    statement = ordered(select(Sample.id), orderings, dialect)
    return str(statement).partition("ORDER BY ")[2].replace("samples.", "")


@pytest.mark.parametrize(
    ("order_by", "sql"),
    [
        (None, "id"),
        ((), "id"),
        ("id", "id ASC"),
        ("-id", "id DESC"),
        ("name", "name ASC NULLS LAST, id ASC"),
        ("-name", "name DESC NULLS LAST, id DESC"),
        (["-name", "ratio"], "name DESC NULLS LAST, ratio ASC NULLS LAST, id ASC"),
        (("name", "-id"), "name ASC NULLS LAST, id DESC"),
        (Sample.name.desc().nulls_last(), "name DESC NULLS LAST, id DESC"),
        (Sample.id + 1, "id + :id_1 ASC NULLS LAST, id ASC"),
    ],
)
def test_an_order_is_total_and_has_nulls_last(order_by: Any, sql: str) -> None:
    assert _order_by(order_by) in {sql, f"{sql} ASC"}


def test_where_nulls_last_is_unknown_they_are_sorted_apart() -> None:
    dialect = create_engine("mysql+asyncmy://").dialect
    assert _order_by("-name", dialect) == "name IS NULL, name DESC, id DESC"


@pytest.mark.parametrize("wrong", [-1, True, 1.0, "1", 2**31, float("nan"), timedelta(1)])
def test_limits_are_counts(wrong: Any) -> None:
    for limit, offset, field in ((wrong, None, "limit"), (None, wrong, "offset")):
        with pytest.raises(InvalidInputError) as refused:
            prepare_select(User, DIALECT, Parts(limit=limit, offset=offset), (), {})
        assert refused.value.field == field
