"""The longest row: what is written of it is read, and what could not be read is found."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, MetaData, Table

from hqt_async_db.backup.formats.long_rows import longest_row
from hqt_async_db.backup.formats.rows import LONGEST_WRITTEN_BYTES
from hqt_async_db.models.types import ExactText, Int64
from tests.unit.test_backup_decode import read

TABLE = Table("t", MetaData(), Column("id", Int64(), primary_key=True), Column("name", ExactText()))
# What stands in a file before and after the one value of its row, and how many bytes are no row.
BRACKETS = {
    "json": (b'[\n{"id":1,"name":"', b'"}\n]\n', 5),
    "jsonl": (b'{"id":1,"name":"', b'"}\n', 1),
    "csv": (b'id,name\n1,"', b'"\n', 9),
}


@pytest.mark.parametrize("form", list(BRACKETS))
def test_the_longest_that_is_written_is_read(form: str) -> None:
    start, end, outside = BRACKETS[form]
    length = LONGEST_WRITTEN_BYTES - len(start) - len(end) + outside
    rows = read(form, start + b"x" * length + end, table=TABLE)
    assert [(row["id"], len(row["name"])) for row in rows] == [(1, length)]


@pytest.mark.parametrize(
    ("content", "form", "longest"),
    [
        (b"", "jsonl", 0),
        (b'{"a":1}\n{"a":123}\n{}\n', "jsonl", 9),
        (b'{"a":"\\""}\n{"a":"x"}\n', "jsonl", 10),
        (b"1,a\n2,abc\n", "csv", 5),
        (b'1,"a\nb"\n2,c\n', "csv", 7),
        (b'1,"a""\nb"\n2,""\n3,"\n\n"\n', "csv", 9),
    ],
)
def test_the_longest_is_found(content: bytes, form: Any, longest: int) -> None:
    assert longest_row(content, form) == longest
