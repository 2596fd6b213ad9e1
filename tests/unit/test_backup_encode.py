"""The canonical text of values: one way to write each, on every backend."""

from __future__ import annotations

import csv
import io
import json
import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, DateTime, Integer, MetaData, String, Table

from hqt_async_db import InvalidInputError, JsonDict, Money, UtcDateTime
from hqt_async_db.backup.formats.doubles import double_text
from hqt_async_db.backup.formats.encode import Encoder, encoder_of, header
from hqt_async_db.models.types import Double, ExactText, Flag, Int64


def column(kind: Any, name: str = "c") -> Column[Any]:
    return Table("t", MetaData(), Column(name, kind)).columns[name]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"), (5.0, "5"), (0.5, "0.5"), (-100000.0, "-100000"),
        (0.1 + 0.2, "0.30000000000000004"), (1e-4, "0.0001"), (1e-5, "1e-05"),
        (999999999999999.0, "999999999999999"), (1e15, "1e+15"),
        (1234567890123456.8, "1.2345678901234568e+15"), (-1e16, "-1e+16"), (1.5e300, "1.5e+300"),
        (5e-324, "5e-324"), (1e23, "9.999999999999999e+22"), (1e22, "1e+22"),
        (math.inf, "Infinity"), (-math.inf, "-Infinity"), (math.nan, "NaN"),
    ],
)  # fmt: skip
def test_doubles_read_as_postgresql_writes_them(number: float, text: str) -> None:
    assert double_text(number) == text


@given(st.floats(allow_nan=False))
def test_every_double_reads_back(number: float) -> None:
    assert float(double_text(number)) == number


MOMENT = datetime(2024, 1, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "value", "in_json", "in_csv"),
    [
        (Int64(), 1 << 62, "4611686018427387904", "4611686018427387904"),
        (Double(), math.nan, '"NaN"', "NaN"),
        (Double(), 1.0, "1", "1"),
        (Money(), Decimal(0), '"0.00000000"', "0.00000000"),
        (Money(), Decimal("-0.5"), '"-0.50000000"', "-0.50000000"),
        (Flag(), True, "true", "true"),
        (UtcDateTime(), MOMENT, '"2024-01-01T10:00:00+00:00"', "2024-01-01 10:00:00+00"),
        (UtcDateTime(), MOMENT.replace(microsecond=120000), '"2024-01-01T10:00:00.12+00:00"',
         "2024-01-01 10:00:00.12+00"),
        (UtcDateTime(), datetime(1, 1, 1, microsecond=1, tzinfo=UTC),
         '"0001-01-01T00:00:00.000001+00:00"', "0001-01-01 00:00:00.000001+00"),
        (ExactText(), 'é/"\\\n\x1b\x7f', '"é/\\"\\\\\\n\\u001b\x7f"', '"é/""\\\n\x1b\x7f"'),
        (ExactText(), "", '""', '""'),
        (ExactText(), "null", '"null"', "null"),
        (JsonDict(), {"b": [1.0, {"é": None}], "a": 1e16}, '{"a":1e+16,"b":[1.0,{"é":null}]}',
         '"{""a"":1e+16,""b"":[1.0,{""é"":null}]}"'),
        (Integer(), 5, "5", "5"),
        (String(5), "a,b", '"a,b"', '"a,b"'),
    ],
)  # fmt: skip
def test_each_type_has_one_text(kind: Any, value: Any, in_json: str, in_csv: str) -> None:
    assert encoder_of(column(kind), "jsonl")(value) == in_json
    assert encoder_of(column(kind), "csv")(value) == in_csv


def test_rows_are_lines() -> None:
    table = Table("t", MetaData(), Column("100%", Int64()), Column('a"b', ExactText()))
    rows = [(1, None), (None, "")]
    assert Encoder(list(table.columns), "jsonl").rows(rows) == (
        b'{"100%":1,"a\\"b":null}\n{"100%":null,"a\\"b":""}\n'
    )
    assert header(table.columns) == b'100%,"a""b"\n'
    assert Encoder(list(table.columns), "csv").rows(rows) == b'1,\n,""\n'
    assert Encoder(list(table.columns), "csv").rows([]) == b""


def test_a_lone_end_of_input_is_quoted() -> None:
    assert Encoder([column(ExactText())], "csv").rows([("\\.",), ("\\",)]) == b'"\\."\n\\\n'


def test_a_type_without_a_canonical_text_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"t\.moment has a type"):
        encoder_of(column(DateTime(), "moment"), "csv")


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1))
def test_other_readers_understand_any_text(rows: list[tuple[str, str]]) -> None:
    table = Table("t", MetaData(), Column("a", ExactText()), Column("b", ExactText()))
    lines = Encoder(list(table.columns), "jsonl").rows(rows).decode().split("\n")[:-1]
    assert [tuple(json.loads(line).values()) for line in lines] == rows
    text = Encoder(list(table.columns), "csv").rows(rows).decode()
    assert [tuple(row) for row in csv.reader(io.StringIO(text, newline=""))] == rows
