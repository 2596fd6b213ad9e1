"""The canonical text of values and rows, on every backend the same bytes.

It is what PostgreSQL itself writes with ``COPY`` and ``row_to_json`` where
the zone is UTC, money is text in JSON and flags are ``true`` and ``false``.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, Final, Literal

from hqt_async_db.backup.formats.doubles import double_text
from hqt_async_db.errors import InvalidInputError
from hqt_async_db.models.types import (
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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from decimal import Decimal

    from sqlalchemy import Column

    Encode = Callable[[Any], str]

Format = Literal["jsonl", "csv"]

_QUOTED: Final = re.compile(r'[",\r\n]')
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "'")
_NOT_FINITE: Final = {"NaN", "Infinity", "-Infinity"}
_WITHOUT_FRACTION: Final = 19  # characters of 2024-01-01 10:00:00


class Encoder:
    """Writes rows of some columns as JSON Lines or as CSV.

    Args:
        columns: The columns, in the order of the values.
        form: ``jsonl`` or ``csv``.
        formula_guard: Mark text in CSV that a spreadsheet would take for a
            formula with a ``'`` before it, and text that begins with one.

    Raises:
        InvalidInputError: A column has a type of somebody else's making that
            has no canonical text.
    """

    def __init__(
        self, columns: Sequence[Column[Any]], form: Format, *, formula_guard: bool = False
    ) -> None:
        encodes = [encoder_of(column, form) for column in columns]
        is_guarded = formula_guard and form == "csv"
        self._encodes = [
            _guarded_text if is_guarded and encode is csv_text else encode for encode in encodes
        ]
        self._null = "null" if form == "jsonl" else ""
        self._row = _json_row(columns) if form == "jsonl" else ",".join(["%s"] * len(columns))
        # A lone \. ends the input of a PostgreSQL older than 18.
        self._guards_end = form == "csv" and len(columns) == 1

    def rows(self, rows: Sequence[Sequence[Any]]) -> bytes:
        """Return the lines of some rows, each ended by a line feed."""
        if not rows:
            return b""
        texts = [
            self._column(encode, values)
            for encode, values in zip(self._encodes, zip(*rows, strict=True), strict=True)
        ]
        lines = [self._row % line for line in zip(*texts, strict=True)]
        if self._guards_end:
            lines = ['"\\."' if line == "\\." else line for line in lines]
        return ("\n".join(lines) + "\n").encode()

    def _column(self, encode: Encode, values: Iterable[Any]) -> list[str]:
        null = self._null
        return [null if value is None else encode(value) for value in values]


def _json_row(columns: Iterable[Column[Any]]) -> str:
    keys = [json_text(column.name).replace("%", "%%") for column in columns]
    return "{" + ",".join(f"{key}:%s" for key in keys) + "}"


def header(columns: Iterable[Column[Any]]) -> bytes:
    """Return the first line of a CSV file."""
    return (",".join(csv_text(column.name) for column in columns) + "\n").encode()


def encoder_of(column: Column[Any], form: Format) -> Encode:
    """Return the function that writes a value of a column, never None.

    Raises:
        InvalidInputError: The column's type has no canonical text.
    """
    for kinds, in_json, in_csv in _TEXTS:
        if isinstance(column.type, kinds):
            return in_json if form == "jsonl" else in_csv
    python = getattr(column.type, "python_type", None)
    for kind, in_json, in_csv in _OF_PYTHON:
        if python is kind:
            return in_json if form == "jsonl" else in_csv
    msg = f"{column.table.name}.{column.name} has a type that cannot be exported: {column.type!r}"
    raise InvalidInputError(msg, field=f"{column.table.name}.{column.name}")


def has_text(columns: Iterable[Column[Any]]) -> bool:
    """Tell whether the values of all columns have a canonical text."""
    try:
        for column in columns:
            encoder_of(column, "jsonl")
    except InvalidInputError:
        return False
    return True


def json_text(text: str) -> str:
    """Return text as a JSON string; no character is escaped that need not be."""
    return encode_basestring(text)


def csv_text(text: str) -> str:
    """Return text as a CSV field; the empty one is quoted, unlike NULL."""
    if text and not _QUOTED.search(text):
        return text
    return '"' + text.replace('"', '""') + '"'


def _guarded_text(text: str) -> str:
    return csv_text(f"'{text}" if text.startswith(_FORMULA) else text)


def _json_double(number: float) -> str:
    text = double_text(number)
    return f'"{text}"' if text in _NOT_FINITE else text


def money_text(amount: Decimal) -> str:
    """Return money with its eight places, zero included."""
    return f"{amount:.8f}"


def _json_money(amount: Decimal) -> str:
    return f'"{amount:.8f}"'


def flag_text(flag: object) -> str:
    """Return ``true`` or ``false``."""
    return "true" if flag else "false"


def _json_time(moment: datetime) -> str:
    return f'"{_moment(moment, "T")}+00:00"'


def _csv_time(moment: datetime) -> str:
    return f"{_moment(moment, ' ')}+00"


def _moment(moment: datetime, separator: str) -> str:
    text = moment.astimezone(UTC).isoformat(separator)
    return text[:26].rstrip("0") if moment.microsecond else text[:_WITHOUT_FRACTION]


object_text: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode


def _csv_object(value: object) -> str:
    return csv_text(object_text(value))


_TEXTS: Final[tuple[tuple[Any, Encode, Encode], ...]] = (
    ((RowId, Int32, Int64), str, str),
    (Double, _json_double, double_text),
    (ExactText, json_text, csv_text),
    (UtcDateTime, _json_time, _csv_time),
    (Money, _json_money, money_text),
    (Flag, flag_text, flag_text),
    (JsonDict, object_text, _csv_object),
)
# Columns of a user's own models may have SQLAlchemy's types.
_OF_PYTHON: Final[tuple[tuple[type, Encode, Encode], ...]] = (
    (int, str, str),
    (float, _json_double, double_text),
    (str, json_text, csv_text),
    (bool, flag_text, flag_text),
)
