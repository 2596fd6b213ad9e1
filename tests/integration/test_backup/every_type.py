"""A table with a column of every type, and values at the edges of each."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from sqlalchemy import Column, MetaData, Table, delete, insert

from hqt_async_db import Direction, JsonDict, Money, UtcDateTime
from hqt_async_db.models.types import Choice, Double, ExactText, Flag, Int32, Int64, RowId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import SearchStrategy

    from hqt_async_db import DatabaseManager

Row = tuple[Any, ...]

METADATA = MetaData()
# NULL and numbers come first, last and beside each other.
TABLE = Table(
    "every_type",
    METADATA,
    Column("ratio", Double()),
    Column("id", RowId(), primary_key=True),
    Column("label", ExactText(200)),
    Column("side", Choice(Direction)),
    Column("is_open", Flag()),
    Column("amount", Money()),
    Column("opened_at", UtcDateTime()),
    Column("count", Int32()),
    Column("total", Int64()),
    Column("note", ExactText()),
    Column("settings", JsonDict()),
    Column("last", Double()),
)
COLUMNS = tuple(TABLE.columns)
WITHOUT_JSON = tuple(column for column in COLUMNS if column.name != "settings")

DOUBLES = [
    0.0, 1.0, -2.5, 0.1 + 0.2, 1e-4, 9.999e-5, 1e-5, -1e-5, 1.5e-7, 5e-324, 100.00001, 0.00012,
    999999999999999.9, 1e15, -1e15, 1234567890123456.8, 1e16, 1e22, 1e23, 1.7976931348623157e308,
    2.0**53, 2.0**60, 1 / 3, 1e5,
]  # fmt: skip
TEXTS = [
    "", "null", "NULL", "true", "\\", "\\.", "\\N", '"', "a,b", "1.0,", ".0,", "5.0", ",null,",
    "],[", ",0],[0,", '},{"":0,', "a\nb", "a\r\nb", "\t", "\x01\x1b\x7f", "\u2028", "é☃",
    "\U0001f600", " x ", "'; DROP", "%s", "1e-05", "e-", "{}", "0.00001", "=1+1", "-x", "@", "'q",
]  # fmt: skip
AMOUNTS = [
    Decimal(amount)
    for amount in ("0", "10000", "-0.5", "0.00000001", "-1234567.12345678", "123456789012345",
                   "99999999.9999999", "999999999.123456")
]  # fmt: skip
TIMES = [
    datetime(2024, 1, 1, 10, tzinfo=UTC),
    datetime(2024, 1, 1, 10, 0, 0, 120000, tzinfo=UTC),
    datetime(2024, 1, 1, 20, 30, 10, 1, tzinfo=UTC),
    datetime.min.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
]
DOCUMENTS: list[dict[str, Any]] = [
    {}, {"b": [1.0, 1e16, None, True], "a": {"é": 'x"\n,'}}, {"": {"n": 2**62}},
]  # fmt: skip


def _with_edges(edges: Sequence[Any], others: SearchStrategy[Any]) -> SearchStrategy[Any]:
    return st.none() | st.sampled_from(edges) | others


def _text(longest: int) -> SearchStrategy[str]:
    return st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=longest
    )


_VALUES: dict[str, SearchStrategy[Any]] = {
    "label": _with_edges(TEXTS, _text(20)),
    "side": st.sampled_from([None, "long", "short"]),
    "is_open": st.sampled_from([None, True, False]),
    "amount": _with_edges(AMOUNTS, st.decimals(-9999999, 9999999, places=8)),
    "opened_at": _with_edges(TIMES, st.datetimes(timezones=st.just(UTC))),
    "count": _with_edges([0, -(2**31), 2**31 - 1], st.integers(-(2**31), 2**31 - 1)),
    "total": _with_edges([2**53 + 1, -(2**63), 2**63 - 1], st.integers(-(2**63), 2**63 - 1)),
    "note": _with_edges(TEXTS, _text(60)),
    "settings": _with_edges(DOCUMENTS, st.dictionaries(_text(5), st.integers(-(2**63), 2**63 - 1))),
}


def rows(*, is_server_of_nan: bool, most: int = 6) -> SearchStrategy[list[Row]]:
    """Return lists of rows; their keys are counted from 1."""
    odd = [math.nan, math.inf, -math.inf] if is_server_of_nan else []
    double = _with_edges([*DOUBLES, *odd], st.floats(allow_nan=False, allow_infinity=False))
    ordered = [_VALUES.get(column.name, double) for column in COLUMNS if column.name != "id"]
    return st.lists(st.tuples(*ordered), max_size=most).map(_numbered)


def edge_rows() -> list[Row]:
    """Return rows in which every edge is once among ordinary values, and once among NULLs."""
    edges: list[list[Any]] = [
        DOUBLES, TEXTS, ["long"], [True, False], AMOUNTS, TIMES, [-(2**31)], [2**53 + 1], TEXTS,
        DOCUMENTS, DOUBLES,
    ]  # fmt: skip
    plain = [1.5, "x", "long", True, Decimal(1), TIMES[0], 1, 2, "y", {}, 2.0]
    return _numbered(
        [
            (*others[:index], value, *others[index + 1 :])
            for index, values in enumerate(edges)
            for value in values
            for others in (plain, [None] * len(plain))
        ]
    )


def _numbered(found: list[Row]) -> list[Row]:
    return [(row[0], number, *row[1:]) for number, row in enumerate(found, 1)]


async def store(db: DatabaseManager, found: Sequence[Row]) -> list[Row]:
    """Have the table hold these rows and no others; return them as they are read."""
    await db.create_all(METADATA)
    values = [dict(zip(TABLE.columns.keys(), row, strict=True)) for row in found]
    async with db.session() as session:
        await session.execute(delete(TABLE))
        for value in values:  # NULL and not the default of JSON
            await session.execute(insert(TABLE).values(value))
    return [
        tuple(_as_read(column, value) for column, value in zip(COLUMNS, row, strict=True))
        for row in found
    ]


def _as_read(column: Column[Any], value: object) -> object:
    return column.type.coerce(value) if hasattr(column.type, "coerce") else value
