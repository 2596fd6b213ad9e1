"""What was written reads back as it was, however it is cut; what does not fit is named."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import URL, Boolean, Column, DateTime, Float, Integer, MetaData, String, Table

from hqt_async_db import ImportDataError, InvalidInputError, JsonDict, Money, UtcDateTime
from hqt_async_db.backup.formats.csv_lines import CsvLines
from hqt_async_db.backup.formats.encode import Encoder, header
from hqt_async_db.backup.formats.json_array import JsonArrayText
from hqt_async_db.backup.formats.json_lines import JsonLines
from hqt_async_db.backup.formats.packing import JsonArray
from hqt_async_db.backup.formats.rows import MAX_ROW_BYTES, Source
from hqt_async_db.models.types import Choice, Double, ExactText, Flag, Int32, Int64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Dialect

    from hqt_async_db.backup.formats.reading import Parser

FORMATS = ("json", "jsonl", "csv")
POSTGRESQL = URL.create("postgresql").get_dialect()()
SQLITE = URL.create("sqlite").get_dialect()()


class Side(StrEnum):
    LONG = "long"
    SHORT = "short"


TABLE = Table(
    "t",
    MetaData(),
    Column("id", Int64(), primary_key=True),
    Column("count", Int32(), nullable=True),
    Column("ratio", Double(), nullable=True),
    Column("price", Money(), nullable=True),
    Column("is_on", Flag(), nullable=True),
    Column("at", UtcDateTime(), nullable=True),
    Column("name", ExactText(20), nullable=True),
    Column("side", Choice(Side), nullable=True),
    Column("extra", JsonDict(), nullable=True),
)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
LEAVES: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | TEXTS
)
LEAVES |= st.floats(allow_nan=False, allow_infinity=False)
AMOUNTS = st.decimals(-(10**12), 10**12, places=8).map(lambda number: number or Decimal(0))
ROWS = st.tuples(
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.none() | st.integers(-(1 << 31), (1 << 31) - 1),
    st.none() | st.floats(allow_nan=False).map(lambda number: number + 0.0),
    st.none() | AMOUNTS,
    st.none() | st.booleans(),
    st.none() | st.datetimes(timezones=st.just(UTC)),
    st.none() | TEXTS,
    st.none() | st.sampled_from(["long", "short"]),
    st.none()
    | st.dictionaries(
        TEXTS, st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner))
    ),
)


def parser_of(
    form: str, table: Table = TABLE, dialect: Dialect = POSTGRESQL, *, guard: bool = False
) -> tuple[Source, Parser]:
    in_form: Any = "csv" if form == "csv" else "json"
    source = Source(table, "file", dialect, in_form, formula_guard=guard)
    kinds: dict[str, Any] = {"json": JsonArrayText, "jsonl": JsonLines, "csv": CsvLines}
    return source, kinds[form](source)


def read(form: str, content: bytes, size: int = 1 << 20, **options: Any) -> list[dict[str, Any]]:
    """Return the rows of a text that comes in blocks of a size."""
    source, parser = parser_of(form, **options)
    blocks = [content[start : start + size] for start in range(0, len(content), size)]
    batches = [batch for block in blocks for batch in parser.feed(block)] + parser.end()
    assert [batch.size for batch in batches] == [len(batch.values[0]) for batch in batches]
    rows = [row for batch in batches for row in zip(*batch.values, strict=True)]
    first_rows = [batch.first_row for batch in batches]
    assert first_rows == sorted(first_rows)
    assert source.next_row == len(rows) + 1
    names = [column.name for column in source.columns]
    return [dict(zip(names, row, strict=True)) for row in rows]


def written(form: str, rows: Sequence[Sequence[Any]]) -> bytes:
    columns = tuple(TABLE.columns)
    lines = Encoder(columns, "csv" if form == "csv" else "jsonl").rows(rows)
    if form == "csv":
        return header(columns) + lines
    if form == "jsonl":
        return lines
    array = JsonArray()
    return (array.compress(lines) if lines else b"") + array.flush()


@pytest.mark.parametrize("form", FORMATS)
@given(rows=st.lists(ROWS, max_size=8), size=st.integers(1, 300))
def test_every_value_reads_back_however_the_text_is_cut(
    form: str, rows: list[tuple[Any, ...]], size: int
) -> None:
    content = written(form, rows)
    assert [tuple(row.values()) for row in read(form, content, size)] == rows


@pytest.mark.parametrize("form", FORMATS)
def test_doubles_and_zeros_are_bit_equal(form: str) -> None:
    numbers = [0.1 + 0.2, 5e-324, 1.7976931348623157e308, 1e15, 1e23, -1e-5, 0.0, float("inf")]
    rows = [(n, None, number, *[None] * 6) for n, number in enumerate(numbers)]
    found = [row["ratio"] for row in read(form, written(form, rows))]
    assert list(map(float.hex, found)) == list(map(float.hex, numbers))
    zero = b"id,ratio\n1,-0\n" if form == "csv" else b'{"id":1,"ratio":-0.0}\n'
    zero = b"[" + zero + b"]" if form == "json" else zero
    assert [row["ratio"].hex() for row in read(form, zero)] == [(0.0).hex()]


@pytest.mark.parametrize("form", FORMATS)
def test_many_rows_keep_their_numbers(form: str) -> None:
    rows = [(n, n % 7, None, None, None, None, f"n{n}", None, None) for n in range(2000)]
    assert [row["id"] for row in read(form, written(form, rows), 5000)] == list(range(2000))


def test_times_are_read_in_any_notation_of_iso_8601() -> None:
    texts = ["2024-01-01T10:00:00Z", "2024-01-01 05:00:00-05:00", "2024-01-01T10:00:00",
             "2024-01-01 10:00+00", "20240101T100000Z"]  # fmt: skip
    content = "id,at\n" + "".join(f"1,{text}\n" for text in texts)
    moment = datetime(2024, 1, 1, 10, tzinfo=UTC)
    assert [row["at"] for row in read("csv", content.encode())] == [moment] * len(texts)
    shifted = moment.astimezone(timezone(timedelta(hours=9)))
    assert read("jsonl", json.dumps({"id": 1, "at": shifted.isoformat()}).encode()) == [
        {"id": 1, "at": moment}
    ]


def test_foreign_csv_is_read() -> None:
    content = b'name,id\r\n"",1\r\n,2\r\n"a ""b"", c\r\nd",3\r\nplain,4\r\n\r\n'
    names = ["", None, 'a "b", c\r\nd', "plain"]
    assert [row["name"] for row in read("csv", content)] == names
    assert read("csv", b"id\n7") == [{"id": 7}]


@pytest.mark.parametrize("layout", [{"indent": 2}, {}, {"separators": (",\n", ":")}])
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_foreign_json_arrays_are_read(layout: dict[str, Any], size: int) -> None:
    rows = [
        {"id": n, "name": 'a"]},{[\\', "extra": {"b": [{"c": "}"}], "d": {}}} for n in range(30)
    ]
    assert read("json", json.dumps(rows, **layout).encode(), size) == rows
    assert read("json", b" [ ] \n") == []


def test_money_in_a_number_keeps_its_digits() -> None:
    line = b'{"id":1,"price":12345678901234567.12345678}'
    assert read("jsonl", line)[0]["price"] == Decimal("12345678901234567.12345678")


def test_the_mark_against_formulas_comes_off() -> None:
    content = b"id,name\n1,'=1+1\n2,''quoted\n3,plain\n"
    assert [row["name"] for row in read("csv", content, guard=True)] == [
        "=1+1", "'quoted", "plain",
    ]  # fmt: skip
    assert read("csv", content)[0]["name"] == "'=1+1"


def test_columns_of_other_types_are_read() -> None:
    kinds: dict[str, Any] = {"i": Integer(), "f": Float(), "s": String(3), "b": Boolean()}
    table = Table("u", MetaData(), *[Column(name, kind) for name, kind in kinds.items()])
    row = {"i": 1, "f": 0.5, "s": "abc", "b": True}
    assert read("csv", b"i,f,s,b\n1,0.5,abc,true\n", table=table) == [row]
    assert read("jsonl", json.dumps(row).encode(), table=table) == [row]
    with pytest.raises(ImportDataError):
        read("csv", b"s\nabcd\n", table=table)
    unknown = Table("u", MetaData(), Column("c", DateTime()))
    with pytest.raises(InvalidInputError, match="cannot be imported"):
        read("csv", b"c\n1\n", table=unknown)


GOOD = b'{"id":1,"name":"n"}\n'
HOSTILE: list[tuple[str, bytes, int | None, str | None]] = [
    # The form, the text, and the row and column that the error names, where it names any.
    ("jsonl", b"\xef\xbb\xbf" + GOOD, None, None),
    ("jsonl", GOOD + b'{"id":2,"name":"n","id":3}\n', 2, None),
    ("jsonl", b'{"id":2,"id":3}\n', 1, None),
    ("jsonl", GOOD + b'{"id":2,"name":NaN}\n', 2, None),
    ("jsonl", b'{"ratio":Infinity}\n', 1, None),
    ("jsonl", b'{"ratio":1e999}\n', 1, None),
    ("jsonl", b'{"id":9223372036854775808}\n', 1, "id"),
    ("jsonl", b'{"id":18446744073709551616}\n', 1, "id"),
    ("jsonl", b'{"extra":{"a":18446744073709551616}}\n', 1, "extra"),
    ("jsonl", b'{"extra":{"a":123456789012345678901234567890}}\n', 1, None),
    ("jsonl", b'{"extra":{"a":1,"a":2}}\n', 1, None),
    ("jsonl", b'{"extra":{"a":1,"\\u0061":2}}\n', 1, None),
    ("jsonl", b'{"extra":' + b'{"a":' * 40 + b"1" + b"}" * 40 + b"}\n", 1, "extra"),
    ("jsonl", b'{"extra":' + b"[" * 5000 + b"]" * 5000 + b"}\n", 1, None),
    ("jsonl", GOOD + b'{"id":2,"name":"a\\u0000b"}\n', 2, "name"),
    ("jsonl", GOOD + b'{"id":2,"name":"\\ud800"}\n', 2, None),
    ("jsonl", GOOD + b'{"id":2,"name":"\xff"}\n', 2, None),
    ("jsonl", GOOD + b'{"id":2,"name":"a long name, longer than twenty"}\n', 2, "name"),
    ("jsonl", GOOD + b'{"id":2}\n', 2, "name"),
    ("jsonl", GOOD + b'{"id":2,"name":"n","count":1}\n', 2, "count"),
    ("jsonl", b'{"id":1,"unknown":1}\n', None, "unknown"),
    ("jsonl", b'{"id":null}\n', 1, "id"),
    ("jsonl", b'{"id":"1"}\n', 1, "id"),
    ("jsonl", b'{"id":1.5}\n', 1, "id"),
    ("jsonl", b'{"id":true}\n', 1, "id"),
    ("jsonl", b'{"is_on":2}\n', 1, "is_on"),
    ("jsonl", b'{"side":"up"}\n', 1, "side"),
    ("jsonl", b'{"at":"yesterday"}\n', 1, "at"),
    ("jsonl", b'{"at":1704103200}\n', 1, "at"),
    ("jsonl", b'{"price":"1_0"}\n', 1, "price"),
    ("jsonl", b'{"price":"NaN"}\n', 1, "price"),
    ("jsonl", b'{"price":"1e30"}\n', 1, "price"),
    ("jsonl", b'{"extra":[1]}\n', 1, "extra"),
    ("jsonl", GOOD + b"[1]\n", 2, None),
    ("jsonl", GOOD + b"{}\n", 2, None),
    ("jsonl", GOOD + b'{"id":2,"na', 2, None),
    ("jsonl", b'{"id":1},{"id":2}\n', 1, None),
    ("jsonl", b'{"extra":[1\n2]}\n', 1, None),
    # the array around them
    ("json", b'{"id":1}', None, None),
    ("json", b"", None, None),
    ("json", b'[{"id":1},{"id":2}', None, None),
    ("json", b'[{"id":1},]', 2, None),
    ("json", b'[,{"id":1}]', 1, None),
    ("json", b'[{"id":1}{"id":2}]', 2, None),
    ("json", b'[{"id":1}]{"id":2}', 2, None),
    ("json", b'[\n{"id":1},\n{"id":2}\n', 3, None),
    ("json", b'[{"id":1},\n{"id":2,"id":3}]', None, None),
    ("json", b'[{"id":1}, 5]', 2, None),
    ("json", b'[{"extra":' + b"[" * 200 + b"]" * 200 + b"}]", 1, None),
    # CSV
    ("csv", b"", None, None),
    ("csv", b"\xef\xbb\xbfid\n1\n", None, None),
    ("csv", b"id,name\n1,a\n2\n", 2, "name"),
    ("csv", b"id,name\n1,a\n2,b,c\n", 2, None),
    ("csv", b"id,unknown\n1,a\n", None, "unknown"),
    ("csv", b"id,id\n1,2\n", None, "id"),
    ("csv", b"id,name\n1,a\n2,\xff\n", 2, "name"),
    ("csv", b"id,name\n1,a\0b\n", 1, None),
    ("csv", b"id,name\n\n1,a\n", 1, None),
    ("csv", b'id,name\n1,"a\n', 1, None),
    ("csv", b'id,name\n1,a"b"\n', 1, "name"),
    ("csv", b'id,name\n1,"a"b\n', 1, "name"),
    ("csv", b"id,name\n1,%s\n" % (b"x" * 21), 1, "name"),
    ("csv", b"id\n\n1\n", 1, "id"),
    ("csv", b"id\n+1\n", 1, "id"),
    ("csv", b"id\n1_0\n", 1, "id"),
    ("csv", "id\n\u0661\n".encode(), 1, "id"),
    ("csv", b"id\n9223372036854775808\n", 1, "id"),
    ("csv", b"id\n%s\n" % (b"9" * 5000), 1, "id"),
    ("csv", b"id,ratio\n1,0x1p3\n", 1, "ratio"),
    ("csv", b"id,ratio\n1,1_0\n", 1, "ratio"),
    ("csv", b"id,ratio\n1,1e999\n", 1, "ratio"),
    ("csv", b"id,price\n1,1_0\n", 1, "price"),
    ("csv", b"id,is_on\n1,yes\n", 1, "is_on"),
    ("csv", b"id,at\n1,now\n", 1, "at"),
    ("csv", b"id,side\n1,up\n", 1, "side"),
    ("csv", b'id,extra\n1,"{""a"":1,""a"":2}"\n', 1, "extra"),
    ("csv", b'id,count\n1,""\n', 1, "count"),
]


SHORT = b'{"price":1.5,"extra":null}'
NESTED = b'{"price":1.5,"extra":{"l":[{"x":1},\n{"x":2},\n{"x":3}]}}'


@pytest.mark.parametrize("size", [3, 100, 1 << 20])
@pytest.mark.parametrize(
    "content",
    [
        b"[%s]" % NESTED,
        b"[\n%s,\n%s\n]" % (NESTED, NESTED),
        b"[%s,\n%s,\n%s,\n%s]" % (SHORT, NESTED, SHORT, SHORT),
        # As many lines as objects, but not an object a line.
        b"[%s,\n%s,%s,%s,\n%s]" % (NESTED, SHORT, SHORT, SHORT, SHORT),
    ],
)
def test_an_array_may_have_line_feeds_wherever_json_has_them(content: bytes, size: int) -> None:
    wanted = json.loads(content)
    assert [(float(row["price"]), row["extra"]) for row in read("json", content, size)] == [
        (row["price"], row["extra"]) for row in wanted
    ]


@pytest.mark.parametrize("form", ["json", "jsonl"])
@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b'{"id":2,"name":"\\ud800"}', "contains text with a lone surrogate"),
        (b'{"id":2,"ratio":1e400}', "contains a number beyond the largest double"),
        (b'{"id":2,"ratio":NaN}', "contains NaN or infinity"),
        (b'{"id":2,"name":"\xff"}', "is not valid UTF-8"),
        (b'{"price":1.5,"extra":' + b"[" * 99 + b"]" * 99 + b"}", "nested more than"),
        (b"{}", "has no columns"),
        (b"5", "is no JSON object"),
        (b'{"id":2,}', "is no JSON object"),
    ],
)
def test_what_is_wrong_with_an_object_is_told(form: str, row: bytes, reason: str) -> None:
    with pytest.raises(ImportDataError, match=reason) as caught:
        read(form, b"[\n%s\n]" % row if form == "json" else row)
    assert caught.value.row == 1
    assert caught.value.__context__ is None


@pytest.mark.parametrize("depth", [1000, 1020, 1022, 5000])
def test_an_object_that_is_nested_without_end(depth: int) -> None:
    line = b'{"price":1.5,"extra":' + b"[" * depth + b"]" * depth + b"}"
    with pytest.raises(ImportDataError, match="is nested"):
        read("jsonl", line)


@pytest.mark.parametrize("size", [3, 1 << 20])
@pytest.mark.parametrize(("form", "content", "row", "column"), HOSTILE)
def test_what_does_not_fit_is_refused_where_it_is(
    form: str, content: bytes, row: int | None, column: str | None, size: int
) -> None:
    with pytest.raises(ImportDataError) as caught:
        read(form, content, size)
    error = caught.value
    assert error.source == "file"
    assert row in {error.row, None}, error
    assert column in {error.column, None}, error
    assert len(str(error)) < 300
    assert error.__context__ is None  # a parser's own error may carry the whole text


def test_a_backend_refuses_what_it_cannot_hold() -> None:
    for line in (b'{"ratio":"NaN"}', b'{"price":"12345678901234.12345678"}'):
        assert read("jsonl", line)
        with pytest.raises(ImportDataError):
            read("jsonl", line, dialect=SQLITE)


def test_no_value_is_in_an_error() -> None:
    for line in (b'{"name":"a secret that is longer than twenty"}', b'{"side":"secret"}',
                 b'{"id":"secret"}', b'{"at":"secret"}', b'{"price":"secret"}'):  # fmt: skip
        with pytest.raises(ImportDataError) as caught:
            read("jsonl", line)
        shown: BaseException | None = caught.value
        while shown is not None:
            assert "secret" not in f"{shown!r} {shown}"
            shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)


@pytest.mark.parametrize("form", FORMATS)
def test_a_row_without_end_does_not_fill_the_memory(form: str) -> None:
    start = {"json": b'[{"name":"', "jsonl": b'{"name":"', "csv": b'id,name\n1,"\n'}[form]
    _, parser = parser_of(form)
    parser.feed(start)
    more = b"x" * (1 << 22) + (b"\n" if form == "csv" else b"")
    fed = 0

    def feed_on() -> None:
        nonlocal fed
        while fed <= 2 * MAX_ROW_BYTES:
            parser.feed(more)
            fed += len(more)

    with pytest.raises(ImportDataError, match="is longer than"):
        feed_on()
    assert fed > MAX_ROW_BYTES // 2
