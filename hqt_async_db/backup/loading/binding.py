"""Decoded rows for the drivers: tuples for SQLite, the text of COPY for PostgreSQL."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

from hqt_async_db.backup.breaks import Breaks
from hqt_async_db.models.types import (
    ColumnType,
    Double,
    ExactText,
    Int32,
    Int64,
    RowId,
    UtcDateTime,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Column, Dialect

    from hqt_async_db.backup.formats.rows import Batch

# A lone \\. ends the input of a PostgreSQL older than 18.
_QUOTED: Final = re.compile(r'[",\r\n\\]')
# What drivers take as it is, once it was decoded.
_PLAIN: Final = (RowId, Int32, Int64, Double, ExactText)


class Binder:
    """Makes the rows of batches ready for a driver; for a thread.

    Each row that is set aside begins with its number. Columns that the batches lack get their
    default, the same one for all rows.

    Args:
        given: The columns of the batches.
        filled: The columns that get their default.
        dialect: The backend.
    """

    def __init__(
        self, given: Sequence[Column[Any]], filled: Sequence[Column[Any]], dialect: Dialect
    ) -> None:
        self._breaks = Breaks()
        self._columns = [_BoundColumn(column, dialect) for column in given]
        self._filled = [_BoundColumn(column, dialect) for column in filled]
        self._defaults = [default_of(column) for column in filled]

    def parameters(self, batch: Batch) -> list[Any]:
        """Return the driver's values of all rows, one row after the other."""
        bound: list[Any] = [range(batch.first_row, batch.first_row + batch.size)]
        for column, values in zip(self._columns, batch.values, strict=True):
            self._breaks.take()
            bound.append(column.bind(values))
        for column, default in zip(self._filled, self._defaults, strict=True):
            bound.append([*column.bind([default])] * batch.size)
        parameters: list[Any] = [None] * (len(bound) * batch.size)
        for place, values in enumerate(bound):
            parameters[place :: len(bound)] = values
        return parameters

    def unbound(self, batch: Batch) -> Iterator[tuple[Any, ...]]:
        """Yield the rows with Python's values, which SQLAlchemy binds.

        Made one by one, a few at a time do not keep even the loop.
        """
        numbers = range(batch.first_row, batch.first_row + batch.size)
        defaults = (repeat(default, batch.size) for default in self._defaults)
        return zip(numbers, *batch.values, *defaults, strict=True)

    def copy_lines(self, batch: Batch, *, as_text: bool) -> bytes:
        """Return the rows as lines of CSV for COPY.

        Args:
            batch: The rows.
            as_text: Whether text that came as such may go on unread; the rows
                then have no numbers.
        """
        filled = [
            column.fields([default])[0]
            for column, default in zip(self._filled, self._defaults, strict=True)
        ]
        if as_text and batch.text is not None:
            tail = ",".join(["", *filled]).encode()
            return batch.text.replace(b"\n", tail + b"\n") if filled else batch.text
        numbers = range(batch.first_row, batch.first_row + batch.size)
        fields: list[list[str]] = [] if as_text else [list(map(str, numbers))]
        for column, values in zip(self._columns, batch.values, strict=True):
            self._breaks.take()
            fields.append(column.fields(values))
        fields += [[field] * batch.size for field in filled]
        self._breaks.take()
        lines_of_fields = "\n".join(map(",".join, zip(*fields, strict=True)))
        return f"{lines_of_fields}\n".encode()


class _BoundColumn:
    """One column: what turns its values into the driver's."""

    def __init__(self, column: Column[Any], dialect: Dialect) -> None:
        self._dialect = dialect
        self._type = column.type
        kind: Any = column.type.dialect_impl(dialect)
        self._process: Callable[[Any], Any] | None = kind.bind_processor(dialect)

    def bind(self, values: list[Any]) -> Sequence[Any]:
        """Return the values for the driver."""
        if isinstance(self._type, _PLAIN):
            return values
        if None in values:
            bound = iter(self._present([value for value in values if value is not None]))
            return [None if value is None else next(bound) for value in values]
        return self._present(values)

    def _present(self, values: list[Any]) -> Sequence[Any]:
        if values and type(values[0]) is str and isinstance(self._type, UtcDateTime):
            return values  # the text that SQLite stores
        if values and isinstance(self._type, ColumnType):
            bound = self._type.bind_all(values, self._dialect)
            if bound is not None:
                return bound
        return values if self._process is None else list(map(self._process, values))

    def fields(self, values: list[Any]) -> list[str]:
        """Return the values as fields of CSV, on PostgreSQL."""
        if None in values:
            present = iter(self._fields([value for value in values if value is not None]))
            return ["" if value is None else next(present) for value in values]
        return self._fields(values)

    def _fields(self, values: list[Any]) -> list[str]:
        kind: type[Any] = type(values[0]) if values else str
        if kind in (int, float, bool, Decimal):
            return list(map(str, values))
        if kind is datetime:
            return [value.isoformat(" ") for value in values]
        if kind is not str and self._process is not None:
            values = list(map(self._process, values))
        if "" in values or _QUOTED.search("".join(values)):
            return [_field(value) for value in values]
        return values


def _field(value: str) -> str:
    """Return text as a field; the empty one is quoted, unlike NULL."""
    if value and not _QUOTED.search(value):
        return value
    return '"' + value.replace('"', '""') + '"'


def default_of(column: Column[Any]) -> Any:
    """Return what the column holds where nobody said anything."""
    default: Any = column.default
    return default.arg if default.is_scalar else default.arg(None)


def has_default(column: Column[Any]) -> bool:
    """Tell whether :func:`default_of` can be asked."""
    default: Any = column.default
    return default is not None and (default.is_scalar or default.is_callable)
