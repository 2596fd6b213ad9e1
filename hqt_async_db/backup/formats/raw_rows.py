"""Rows as SQLite stores them, written as canonical text many at a time.

orjson writes a piece of some hundred rows at once; what it writes otherwise
than the canon wants is put right by replacing bytes. That is safe where no
text has a comma or needs an escape, which is looked at before. The others go
through the :class:`Encoder`, value by value.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import orjson
from sqlalchemy import Integer, String, case, func, literal_column, type_coerce

from hqt_async_db.backup.formats.doubles import double_text
from hqt_async_db.backup.formats.encode import Encoder, money_text
from hqt_async_db.errors import BackupVerificationError
from hqt_async_db.models.types import (
    ColumnType,
    Double,
    ExactText,
    Flag,
    Int32,
    Int64,
    JsonDict,
    Money,
    RowId,
    UtcDateTime,
)
from hqt_async_db.models.types.column import column_field
from hqt_async_db.models.types.money import stored_money

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Column, ColumnElement, Dialect

    from hqt_async_db.backup.formats.encode import Format

_MARK: Final = "\\"  # before a time of somebody else's making; no canonical text has it
_LENGTH_OF_TIME: Final = 26  # of 2024-01-01 10:00:00.000000, as this library stores it
# Where the two change to an exponent is not the same, nor how they write it.
_LARGE: Final = b"0" * 16 + b"."
_SMALL: Final = b"0.0000"
# Since when orjson writes the plus is a matter of its version.
_EXPONENT: Final = re.compile(rb"e[-+]" if b"+" in orjson.dumps(1e16) else rb"e[-\d]")
_DIGITS: Final = bytes.maketrans(b"123456789", b"000000000")
_ODD: Final = re.compile(rb"-?(?:0\.0000\d+|\d{16,}\.\d+|\d+(?:\.\d+)?e[-+]?\d+)")
# Half the time of bytes.replace, which reads everything twice.
_POINT_IN_CSV: Final = re.compile(rb"\.0,")
_NULL: Final = re.compile(rb",null")
_ROW_IN_CSV: Final = re.compile(rb",0\],\[0,")
_POINT_IN_JSON: Final = re.compile(rb'\.0,"')
_ROW_IN_JSON: Final = re.compile(rb'," ":0\},\{"":0,')
_FLAGS: Final[dict[Any, Any]] = {None: None, 0: False, 1: True}
_WORDS: Final[dict[Any, Any]] = {None: None, 0: "false", 1: "true"}
# What reading and writing raise where a value is not of its column's type.
_OF_UNFIT: Final = (AttributeError, KeyError, TypeError, ValueError)
_PLAIN: Final = (RowId, Int32, Int64, Double, ExactText, UtcDateTime, Money, Flag)


def is_known(columns: Sequence[Column[Any]]) -> bool:
    """Tell whether all columns are of this library's types."""
    return all(isinstance(column.type, (*_PLAIN, JsonDict)) for column in columns)


def selected(columns: Sequence[Column[Any]], form: Format) -> Iterator[ColumnElement[Any]]:
    """Yield what to select: each column, between two zeros that separate rows.

    SQLite writes its times as the canon wants them, without the GIL.
    """
    edge = literal_column("0", Integer)
    yield edge
    for column in columns:
        yield _selected(column, form)
    yield edge.label("end")


def _selected(column: Column[Any], form: Format) -> ColumnElement[Any]:
    if not isinstance(column.type, UtcDateTime):
        return column
    stored = type_coerce(column, String())
    trimmed = func.rtrim(func.rtrim(stored, _sql("0")), _sql("."))
    # Most have six digits, and the last is no zero: nothing is to be trimmed.
    ends_with_zero = func.substr(stored, _sql(_LENGTH_OF_TIME)) == _sql("0")
    exact: ColumnElement[Any] = case((ends_with_zero, trimmed), else_=stored)
    if form == "jsonl":
        exact = func.replace(exact, _sql(" "), _sql("T"))
    return case(
        (
            func.length(stored) == _sql(_LENGTH_OF_TIME),
            exact.op("||")(_sql("+00" if form == "csv" else "+00:00")),
        ),
        else_=_sql(_MARK).op("||")(stored),
    )


def _sql(constant: int | str) -> ColumnElement[Any]:
    """Return a constant as it is in SQL; none of ours has a quote."""
    return literal_column(str(constant) if isinstance(constant, int) else f"'{constant}'")


class RawRows:
    """Writes rows that were selected as :func:`selected` tells.

    Args:
        columns: The columns.
        form: ``jsonl`` or ``csv``.
        dialect: SQLite's.
    """

    def __init__(self, columns: Sequence[Column[Any]], form: Format, dialect: Dialect) -> None:
        self._columns = columns
        self._encoder = Encoder(columns, form)
        self._readers = [_reader(column, dialect) for column in columns]
        self._changes = [
            (index, change)
            for index, column in enumerate(columns, 1)
            if (change := _change(column, form)) is not None
        ]
        self._names = ["", *(str(column.name) for column in columns), " "]
        self._commas = len(columns) + 2  # in a row and before the next
        self._many = self._json_lines if form == "jsonl" else self._csv
        self._one_by_one = _needs_encoder(columns, form)

    def write(self, rows: Sequence[Sequence[Any]]) -> bytes:
        """Return the lines of some rows; for a thread, as it takes half a millisecond.

        Raises:
            BackupVerificationError: Somebody else stored what is no value of
                its column.
        """
        try:
            lines = None if self._one_by_one else self._many(self._changed(rows))
            return self._encoded(rows) if lines is None else lines
        except _OF_UNFIT:
            msg = f"{self._unfit_in(rows)} is no value of its type; something else stored it"
        raise BackupVerificationError(msg)

    def _unfit_in(self, rows: Sequence[Sequence[Any]]) -> str:
        """Say which column has a value that cannot be read."""
        columns = list(zip(*rows, strict=True))
        for index, read in (*self._changes, *enumerate(self._readers, 1)):
            if not _are_fit(columns[index], read):
                return f"a value of {column_field(self._columns[index - 1])}"
        return "a value"

    def _changed(self, rows: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
        if not self._changes:
            return rows
        columns = list(zip(*rows, strict=True))
        for index, change in self._changes:
            columns[index] = tuple(map(change, columns[index]))
        return list(zip(*columns, strict=True))

    def _csv(self, rows: Sequence[Sequence[Any]]) -> bytes | None:
        written = orjson.dumps(rows)
        if b',"",' in written or not self._is_regular(written, len(rows)):
            return None
        written = _NULL.sub(b",", _POINT_IN_CSV.sub(b",", _canonical(written)))
        return _ROW_IN_CSV.sub(b"\n", written[4:-4]).translate(None, b'"') + b"\n"

    def _json_lines(self, rows: Sequence[Sequence[Any]]) -> bytes | None:
        names = self._names
        written = orjson.dumps([dict(zip(names, row, strict=True)) for row in rows])
        if not self._is_regular(written, len(rows)):
            return None
        written = _POINT_IN_JSON.sub(b',"', _canonical(written))
        return b"{" + _ROW_IN_JSON.sub(b"}\n{", written[7:-8]) + b"}\n"

    def _is_regular(self, written: bytes, rows: int) -> bool:
        """Tell whether every comma and quote in it separates values."""
        return b"\\" not in written and written.count(b",") == rows * self._commas - 1

    def _encoded(self, rows: Sequence[Sequence[Any]]) -> bytes:
        columns = list(zip(*rows, strict=True))[1:-1]
        read = [
            [None if value is None else reader(value) for value in values]
            for reader, values in zip(self._readers, columns, strict=True)
        ]
        return self._encoder.rows(list(zip(*read, strict=True)))


def _are_fit(values: Iterable[Any], read: Callable[[Any], Any]) -> bool:
    """Tell whether all values can be read, and are no bytes, which have no text."""
    try:
        return not any(isinstance(read(value), bytes) for value in values if value is not None)
    except _OF_UNFIT:
        return False


def _canonical(written: bytes) -> bytes:
    """Return it with the digits of every double as they are to be."""
    places = [found.start() for found in _EXPONENT.finditer(written)]
    places += _places_of(_SMALL, written)
    places += _places_of(_LARGE, written.translate(_DIGITS))
    parts, done = [], 0
    for place in sorted(places):
        start = written.rfind(b",", 0, place) + 1
        start = written.rfind(b":", start, place) + 1 or start  # in JSON it has a name
        end = written.find(b",", place)
        number = written[start:end]
        if start >= done and _ODD.fullmatch(number):  # else it is text, or was there before
            parts += [written[done:start], double_text(float(number)).encode()]
            done = end
    return b"".join([*parts, written[done:]]) if parts else written


def _places_of(part: bytes, written: bytes) -> list[int]:
    places: list[int] = []
    place = written.find(part)
    while place >= 0:
        places.append(place)
        place = written.find(part, place + 1)
    return places


def _needs_encoder(columns: Sequence[Column[Any]], form: Format) -> bool:
    names = [column.name for column in columns]
    is_odd = any(not name.isidentifier() for name in names)
    return (
        is_odd
        or (form == "csv" and len(names) == 1)
        or any(isinstance(column.type, JsonDict) for column in columns)
    )


def _change(column: Column[Any], form: Format) -> Callable[[Any], Any] | None:
    """Return what is done to each value before orjson writes it, None for nothing."""
    if isinstance(column.type, Money):
        return _stored_money
    if isinstance(column.type, Flag):
        return (_FLAGS if form == "jsonl" else _WORDS).__getitem__
    return None


def _stored_money(amount: float | None) -> str | None:
    return None if amount is None else money_text(stored_money(amount))


def _reader(column: Column[Any], dialect: Dialect) -> Callable[[Any], Any]:
    """Return what makes the column's own value of what was selected."""
    kind = column.type
    if isinstance(kind, UtcDateTime):
        return _moment
    if isinstance(kind, Flag):
        return bool
    read = kind.result_processor(dialect, None) if isinstance(kind, ColumnType) else None
    return read or (lambda value: value)


def _moment(text: str) -> datetime:
    if not text.startswith(_MARK):
        return datetime.fromisoformat(text)
    return datetime.fromisoformat(f"{text[1:]}+00:00")
