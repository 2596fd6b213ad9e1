"""From the text of values, or the JSON of them, back to the values.

Whole columns are converted and checked in C; only where that fails is each
value looked at, to take what is unusual and to say what is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from hqt_async_db.backup.formats import from_csv, from_json
from hqt_async_db.backup.formats.stored_times import StoredTimes
from hqt_async_db.errors import InvalidInputError
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

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Column, Dialect

Form = Literal["json", "csv"]

_SQLITE: Final = ("sqlite", "hqt")


class UnfitValueError(ValueError):
    """A value does not fit its column; the text tells the reason, never the value.

    Attributes:
        index: Which of the values.
        reason: What is wrong with it.
        fits_elsewhere: Whether another backend can hold it.
    """

    def __init__(self, index: int, reason: str, *, fits_elsewhere: bool = False) -> None:
        super().__init__(reason)
        self.index = index
        self.reason = reason
        self.fits_elsewhere = fits_elsewhere


class _Way(NamedTuple):
    """How the values of a type are read.

    Attributes:
        all: Reads many, or returns None where it cannot vouch for them.
        one: Reads one, or raises InvalidInputError.
    """

    all: Callable[[list[Any], Any], list[Any] | None]
    one: Callable[[Any, Any], Any]


class Nothing:
    """Reads a column that the table has not any more, in which only NULL is nothing.

    Args:
        table: Name of the table.
        name: Name of the column.
    """

    def __init__(self, table: str, name: str) -> None:
        self.name = name
        self._table = table

    def decode(self, values: list[Any]) -> None:
        """Return nothing at all.

        Raises:
            UnfitValueError: There is a value.
        """
        if values.count(None) < len(values):
            index = next(index for index, value in enumerate(values) if value is not None)
            reason = (
                f"{self._table} has no such column here, and only NULL can be left out; restore "
                "it with a version of the application that has the column"
            )
            raise UnfitValueError(index, reason)


class Decoder:
    """Reads the values of one column.

    Args:
        column: The column.
        dialect: The backend, whose own limits are kept too.
        form: ``csv`` for fields, where the empty one is NULL, ``json`` for
            parsed JSON.
        guard: Whether to take the mark off that kept a spreadsheet from
            reading text as a formula.
        as_stored: Whether SQLite's times may be the text that it stores.

    Raises:
        InvalidInputError: The column has a type of somebody else's making.
    """

    def __init__(
        self,
        column: Column[Any],
        dialect: Dialect,
        form: Form,
        *,
        guard: bool = False,
        as_stored: bool = True,
    ) -> None:
        self.column = column
        self.name = column.name
        self._dialect = dialect
        self._type = _type_of(column)
        self._is_csv = form == "csv"
        self._way: _Way | StoredTimes = next(
            ways[self._is_csv] for kinds, ways in _WAYS if isinstance(self._type, kinds)
        )
        # The driver takes what it is given; another one takes times as such.
        is_sqlite = (dialect.name, dialect.driver) == _SQLITE
        if as_stored and is_sqlite and isinstance(self._type, UtcDateTime):
            self._way = StoredTimes(dialect)
        self._guard = guard and self._is_csv and isinstance(self._type, ExactText)

    def decode(self, values: list[Any]) -> list[Any]:
        """Return the values that a column holds; None is NULL, in CSV the empty text.

        Raises:
            UnfitValueError: One does not fit.
        """
        nothing = "" if self._is_csv else None
        if nothing not in values:
            return self._present(values)
        if not self.column.nullable:
            raise UnfitValueError(values.index(nothing), "a required value is missing")
        # No other text is false, but other values of JSON are.
        is_csv = self._is_csv
        present = list(filter(None, values)) if is_csv else [v for v in values if v is not None]
        try:
            decoded = self._present(present)
        except UnfitValueError as error:
            indexes = [i for i, v in enumerate(values) if (v if is_csv else v is not None)]
            raise UnfitValueError(
                indexes[error.index], error.reason, fits_elsewhere=error.fits_elsewhere
            ) from None
        if decoded is present:
            return [value or None for value in values] if is_csv else values
        each = iter(decoded)
        if is_csv:
            return [next(each) if value else None for value in values]
        return [None if value is None else next(each) for value in values]

    def _present(self, values: list[Any]) -> list[Any]:
        if self._guard:
            values = [value.removeprefix("'") for value in values]
        decoded = self._way.all(values, self._type) if values else []
        return self._one_by_one(values) if decoded is None else decoded

    def _one_by_one(self, values: list[Any]) -> list[Any]:
        decoded: list[Any] = []
        for value in values:
            is_of_column = False
            try:
                fit = self._way.one(value, self._type)
                is_of_column = True
                self._type.check_backend(fit, self._dialect)
            except InvalidInputError as error:
                raise UnfitValueError(
                    len(decoded), str(error), fits_elsewhere=is_of_column
                ) from None
            decoded.append(fit)
        return decoded


def _type_of(column: Column[Any]) -> ColumnType[Any]:
    """Return the column's type, or ours for one of SQLAlchemy's in a user's model."""
    kind = column.type
    if isinstance(kind, ColumnType) and any(isinstance(kind, kinds) for kinds, _ in _WAYS):
        return kind
    python: Any = getattr(kind, "python_type", None)
    if python is str:
        return ExactText(getattr(kind, "length", None))
    ours = _OF_PYTHON.get(python)
    if ours is None:
        name = f"{column.table.name}.{column.name}"
        msg = f"{name} has a type that cannot be imported: {kind!r}"
        raise InvalidInputError(msg, field=name)
    return ours()


_WAYS: Final[tuple[tuple[Any, tuple[_Way, _Way]], ...]] = (
    (
        (RowId, Int32, Int64),
        (
            _Way(from_json.integers, from_json.integer),
            _Way(from_csv.integers, from_csv.integer),
        ),
    ),
    (Double, (_Way(from_json.doubles, from_json.double), _Way(from_csv.doubles, from_csv.double))),
    (ExactText, (_Way(from_json.texts, from_json.as_it_is), _Way(from_csv.texts, from_csv.text))),
    (UtcDateTime, (_Way(from_csv.times, from_csv.time), _Way(from_csv.times, from_csv.time))),
    (Money, (_Way(from_json.none, from_json.amount), _Way(from_json.none, from_csv.amount))),
    (Flag, (_Way(from_json.flags, from_json.as_it_is), _Way(from_csv.flags, from_csv.flag))),
    (
        JsonDict,
        (_Way(from_json.none, from_json.as_it_is), _Way(from_json.none, from_json.as_it_is)),
    ),
)
_OF_PYTHON: Final[dict[Any, Callable[[], ColumnType[Any]]]] = {
    int: Int64,
    float: Double,
    bool: Flag,
}
