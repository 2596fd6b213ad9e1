"""What SQLite asks about each value that it computed."""

from __future__ import annotations

import math
import random
import sqlite3
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table

from hqt_async_db import Direction, JsonDict, Money, UtcDateTime
from hqt_async_db.models.types import (
    Choice,
    ColumnType,
    Double,
    ExactText,
    Flag,
    Int32,
    Int64,
    RowId,
)
from hqt_async_db.models.types.kept import FUNCTION, keep, keeping, last_refusal

KEPT: list[tuple[ColumnType[Any], Any, Any]] = [
    (Money(), 85158485.35 + 69.63, 85158554.98),
    (Money(), 753613695745, 753613695745.0),
    (Money(), 10**15, 1e15),
    (Money(), 5e-9, 1e-8),
    (Money(), -5e-9, -1e-8),
    (Money(), 0.1 + 0.2 - 0.3, 0.0),
    (Money(), "1.10", 1.1),
    (Double(), 0.1 + 0.2, 0.1 + 0.2),
    (Double(), -0.0, 0.0),
    (Double(), 2**53 + 1, 2.0**53),
    (Double(), "1.5", 1.5),
    (Int32(), 2**31 - 1, 2**31 - 1),
    (Int32(), 2.5, 3),
    (Int32(), -2.5, -3),
    (Int64(), 2.0**53, 2**53),
    (RowId(), "7", 7),
    (ExactText(5), "☃" * 5, "☃" * 5),
    (ExactText(5), 12345, 12345),
    (ExactText(), "x" * 100_000, "x" * 100_000),
    (Choice(Direction, 5), "other", "other"),
    (Flag(), 1, 1),
    (Flag(), 0.0, 0),
    (UtcDateTime(), "2024-01-01 10:00:00", "2024-01-01 10:00:00.000000"),
    (UtcDateTime(), "2024-01-01 10:00:00.123456", "2024-01-01 10:00:00.123456"),
    (JsonDict(), '{"a": [1]}', '{"a": [1]}'),
]
REFUSED: list[tuple[ColumnType[Any], Any]] = [
    (Money(), 1e20),
    (Money(), 10**15 + 1),
    (Money(), 1e308),
    (Money(), math.inf),
    (Money(), "much"),
    (Money(), b"1"),
    (Double(), -math.inf),
    (Double(), "much"),
    (Double(), "nan"),
    (Int32(), 2**31),
    (Int32(), -(2.0**31) - 1),
    (Int64(), 2.0**63),
    (Int64(), math.inf),
    (Int64(), "much"),
    (ExactText(5), "x" * 6),
    (ExactText(5), 123456),
    (ExactText(), "a\0b"),
    (ExactText(), b"x"),
    (Flag(), 2),
    (Flag(), "1"),
    (UtcDateTime(), "soon"),
    (UtcDateTime(), 2460000.5),
    (JsonDict(), "[1]"),
    (JsonDict(), "{"),
    (JsonDict(), 1),
]


@pytest.mark.parametrize(("kind", "value", "kept"), KEPT)
def test_what_fits_is_kept_as_the_column_keeps_it(
    kind: ColumnType[Any], value: Any, kept: Any
) -> None:
    found = keep(value, str(kind.kind), "kept.it")
    assert (repr(found), type(found)) == (repr(kept), type(kept))


@pytest.mark.parametrize(("kind", "value"), REFUSED)
def test_what_does_not_fit_is_refused(kind: ColumnType[Any], value: Any) -> None:
    with pytest.raises(OverflowError):
        keep(value, str(kind.kind), "kept.it")
    assert str(last_refusal()).startswith("kept.it: value ")
    assert last_refusal() is None


@pytest.mark.parametrize("kind", sorted({str(kind.kind) for kind, *_ in KEPT}))
def test_null_stays_null(kind: str) -> None:
    assert keep(None, kind, "kept.it") is None


def test_sqlite3_reports_a_refusal_by_a_code_of_its_own() -> None:
    connection = sqlite3.connect(":memory:")
    connection.create_function(*FUNCTION, keep, deterministic=True)
    with pytest.raises(sqlite3.DataError) as refused:
        connection.execute("SELECT hqt_kept('xx', 'text 1', 'kept.it')")
    assert refused.value.sqlite_errorcode == sqlite3.SQLITE_TOOBIG
    assert last_refusal() == "kept.it: value is longer than 1 characters (2)"
    connection.close()


def test_the_names_in_sql_are_quoted() -> None:
    kind = ExactText(3)
    Table("it's", MetaData(), Column("odd", kind))
    column: Any = Column("x", Integer)
    assert str(keeping(kind, column)) == "hqt_kept(x, 'text 3', 'it''s.odd')"


def test_sums_of_15_digits_are_exact() -> None:
    rng, money = random.Random(7), str(Money().kind)
    for places in (0, 2, 5, 8):
        unit = Decimal(1).scaleb(-places)
        for _ in range(500):
            first, second = (rng.randrange(10 ** rng.randrange(1, 15)) * unit for _ in range(2))
            assert keep(float(first) + float(second), money, "") == float(first + second)
