"""Generated rows of all 13 tables, with the values that copies like to change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from sqlalchemy import Table, UniqueConstraint, insert, select

from hqt_async_db.backup.tables import all_tables
from hqt_async_db.models.types import (
    Choice,
    Double,
    ExactText,
    Flag,
    Int32,
    Int64,
    JsonDict,
    Money,
    UtcDateTime,
)

if TYPE_CHECKING:
    from sqlalchemy import Column

    from hqt_async_db import DatabaseManager

Rows = dict[str, list[dict[str, Any]]]

DOUBLES = (
    *(0.0, 5.0, -0.5, 0.1 + 0.2, 1e-5, 1e-4, 9.999999999999999e14, 1e15, 1e16, 123456.789),
    *(5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 1 / 3, -2 / 3, 100000.0),
)
TEXTS = (
    *(
        "",
        " ",
        "null",
        "NULL",
        "\\N",
        "\\.",
        '"',
        '""',
        "'",
        ",",
        "a,b",
        "a\nb",
        "a\r\nb",
        "\r",
        "\t",
    ),
    *(
        "\x01",
        "\x7f",
        "\x85",
        "\u2028",
        "\ufeff",
        "🚀",
        "é",
        "日本",
        "x ",
        " x",
        "{}",
        "[1]",
        ".0,",
    ),
    *("\\", "\\n", "=1+1", "true", "1e5", "0", "</script>", "%s", "$1", ":a", "?"),
)
TIMES = (
    datetime(1, 1, 1, 0, 0, 0, 1, UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
    datetime(2024, 1, 1, tzinfo=UTC),
    datetime(2024, 2, 29, 12, 0, 0, 120000, UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
)
# What 15 significant digits hold, which is what SQLite can.
AMOUNTS = ("0", "-0.5", "10000", "0.00000001", "-9999999.99999999", "999999999999999", "1e19")
INTEGERS = (0, -1, 2**31 - 1, -(2**31))
BIG = (2**53 + 1, 2**62)
_SPAN_S = 250 * 365 * 86_400

_text = st.sampled_from(TEXTS) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8
)
_double = st.sampled_from(DOUBLES) | st.floats(allow_nan=False, allow_infinity=False).map(
    lambda number: number + 0.0
)
_time = st.sampled_from(TIMES) | st.builds(
    lambda seconds, micros: datetime(1900, 1, 1, tzinfo=UTC) + timedelta(0, seconds, micros),
    st.integers(0, _SPAN_S),
    st.sampled_from([0, 1, 10, 120_000, 999_999]) | st.integers(0, 999_999),
)
_amount = st.sampled_from([Decimal(amount) for amount in AMOUNTS]) | st.decimals(
    -9_999_999, 9_999_999, places=8
)
_json_leaf = (
    st.none() | st.booleans() | st.sampled_from([0, -1, 2**53 + 1, 2**63 - 1]) | _double | _text
)
_json_value = st.recursive(
    _json_leaf,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)
_json = st.dictionaries(_text, _json_value, max_size=3)


def _values(column: Column[Any]) -> st.SearchStrategy[Any]:
    """Return what a column may hold, NULL aside."""
    kind = column.type
    if isinstance(kind, Choice):
        return st.sampled_from([str(word) for word in kind.vocabulary])
    if isinstance(kind, ExactText):
        return _text.map(lambda text: text[: kind.length])
    by_kind: list[tuple[type[Any], st.SearchStrategy[Any]]] = [
        (Int32, st.sampled_from(INTEGERS)),
        (Int64, st.sampled_from((*INTEGERS, *BIG, 2**63 - 1, -(2**63)))),
        (Double, _double),
        (Money, _amount),
        (Flag, st.booleans()),
        (UtcDateTime, _time),
        (JsonDict, _json),
    ]
    return next(strategy for of, strategy in by_kind if isinstance(kind, of))


@st.composite
def databases(draw: st.DrawFn, *, most: int = 4) -> Rows:
    """Draw a few rows of each table, with keys that fit together."""
    made: Rows = {}
    for table in all_tables():
        count = draw(st.integers(1, most))
        if table.name == "user_settings":
            count = min(count, len(made["users"]))
        keys = [*range(1, count), draw(st.sampled_from((count, *BIG)))]
        made[table.name] = [_row(draw, table, key, number, made) for number, key in enumerate(keys)]
    return made


def _row(draw: st.DrawFn, table: Table, key: int, number: int, made: Rows) -> dict[str, Any]:
    unique = _unique(table)
    row: dict[str, Any] = {}
    for column in table.columns:
        if column.primary_key:
            row[column.name] = key
        elif column.foreign_keys:
            row[column.name] = _reference(
                draw, column, number, made, is_unique=column.name in unique
            )
        elif column.nullable and draw(st.booleans()):
            row[column.name] = None
        elif column.name in unique:
            row[column.name] = f"{number}{draw(_text)}"
        else:
            row[column.name] = draw(_values(column))
    return row


def _reference(
    draw: st.DrawFn, column: Column[Any], number: int, made: Rows, *, is_unique: bool
) -> int | None:
    (foreign_key,) = column.foreign_keys
    keys = [row["id"] for row in made[foreign_key.column.table.name]]
    if is_unique:
        return int(keys[number])
    chosen: int | None = draw(st.sampled_from(keys))
    return None if column.nullable and draw(st.booleans()) else chosen


def _unique(table: Table) -> set[str]:
    constraints = [c for c in table.constraints if isinstance(c, UniqueConstraint)]
    return {column.name for constraint in constraints for column in constraint.columns}


async def store(db: DatabaseManager, rows: Rows) -> None:
    """Store rows in an empty database."""
    async with db.session() as session:
        for table in all_tables():
            if rows[table.name]:
                await session.execute(insert(table), rows[table.name])


async def read(db: DatabaseManager) -> Rows:
    """Return all rows in the order of their keys."""
    found: Rows = {}
    async with db.session(snapshot=True) as session:
        for table in all_tables():
            result = await session.execute(select(table).order_by(table.c.id))
            found[table.name] = [dict(row) for row in result.mappings()]
    return found


def exactly(value: Any) -> str:
    """Return what tells 1, 1.0 and True apart, and the zeros of a Decimal; keys have no order."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {exactly(value[key])}' for key in sorted(value))}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(exactly, value))}]"
    return repr(value)
