"""Decoded rows for the drivers: tuples for SQLite, the text of COPY for PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from hqt_async_db.backup.breaks import Breaks
from hqt_async_db.models.types import ColumnType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Column, Dialect

    from hqt_async_db.backup.formats.rows import Batch

_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_NULL: Final = "\\N"


class Binder:
    """Makes the rows of batches ready for a driver; for a thread.

    Each row begins with its number. Columns that the batches lack get their
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

    def rows(self, batch: Batch) -> list[tuple[Any, ...]]:
        """Return the rows with the values of the driver."""
        bound: list[Any] = [range(batch.first_row, batch.first_row + batch.size)]
        for column, values in zip(self._columns, batch.values, strict=True):
            self._breaks.take()
            bound.append(column.bind(values))
        for column, default in zip(self._filled, self._defaults, strict=True):
            bound.append(column.bind([default]) * batch.size)
        self._breaks.take()
        return list(zip(*bound, strict=True))

    def unbound(self, batch: Batch) -> list[tuple[Any, ...]]:
        """Return the rows with Python's values, which SQLAlchemy binds."""
        numbers = range(batch.first_row, batch.first_row + batch.size)
        defaults = [[default] * batch.size for default in self._defaults]
        return list(zip(numbers, *batch.values, *defaults, strict=True))

    def copy_text(self, batch: Batch, *, numbered: bool) -> bytes:
        """Return the rows as lines for COPY in its text format.

        Args:
            batch: The rows.
            numbered: Whether each begins with its number.
        """
        texts: list[list[str]] = []
        if numbered:
            texts.append(list(map(str, range(batch.first_row, batch.first_row + batch.size))))
        for column, values in zip(self._columns, batch.values, strict=True):
            self._breaks.take()
            texts.append(column.texts(values))
        for column, default in zip(self._filled, self._defaults, strict=True):
            texts.append(column.texts([default]) * batch.size)
        self._breaks.take()
        lines = "\n".join(map("\t".join, zip(*texts, strict=True)))
        return f"{lines}\n".encode()


class _BoundColumn:
    """One column: what turns its values into the driver's."""

    def __init__(self, column: Column[Any], dialect: Dialect) -> None:
        self._dialect = dialect
        self._type = column.type
        kind: Any = column.type.dialect_impl(dialect)
        self._process: Callable[[Any], Any] | None = kind.bind_processor(dialect)

    def bind(self, values: list[Any]) -> list[Any]:
        """Return the values for the driver."""
        if None in values:
            bound = iter(self._present([value for value in values if value is not None]))
            return [None if value is None else next(bound) for value in values]
        return self._present(values)

    def _present(self, values: list[Any]) -> list[Any]:
        if values and isinstance(self._type, ColumnType):
            bound = self._type.bind_all(values, self._dialect)
            if bound is not None:
                return bound
        return values if self._process is None else list(map(self._process, values))

    def texts(self, values: list[Any]) -> list[str]:
        """Return the values as COPY takes them, on PostgreSQL."""
        if None in values:
            present = iter(self._texts([value for value in values if value is not None]))
            return [_NULL if value is None else next(present) for value in values]
        return self._texts(values)

    def _texts(self, values: list[Any]) -> list[str]:
        kind: type[Any] = type(values[0]) if values else str
        if kind in (int, float, bool, Decimal):
            return list(map(str, values))
        if kind is datetime:
            return [value.isoformat(" ") for value in values]
        if kind is not str and self._process is not None:
            values = list(map(self._process, values))
        together = "".join(values)
        if any(sign in together for sign in "\\\t\n\r"):
            return [value.translate(_ESCAPES) for value in values]
        return values


def default_of(column: Column[Any]) -> Any:
    """Return what the column holds where nobody said anything."""
    default: Any = column.default
    return default.arg if default.is_scalar else default.arg(None)


def has_default(column: Column[Any]) -> bool:
    """Tell whether :func:`default_of` can be asked."""
    default: Any = column.default
    return default is not None and (default.is_scalar or default.is_callable)
