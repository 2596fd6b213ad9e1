"""Values of parsed JSON to those of columns."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from hqt_async_db.backup.formats import from_csv

if TYPE_CHECKING:
    from decimal import Decimal

    from hqt_async_db.models.types import ColumnType, Double, ExactText, Flag, Money

_NOT_FINITE: Final = {"NaN", "Infinity", "-Infinity"}
# Up to here every integer is a double.
_EXACT: Final = 1 << 53


def none(_: list[Any], __: ColumnType[Any]) -> None:
    """Vouch for nothing, where each value needs a look."""


def as_it_is(value: object, kind: ColumnType[Any]) -> Any:
    """Return what the column takes for the value, or refuse it."""
    return kind.checked(value)


def integer(value: object, kind: ColumnType[Any]) -> Any:
    """Return one integer, or refuse it; pandas writes a double where others are missing."""
    if type(value) is float and value.is_integer() and abs(value) < _EXACT:
        return kind.checked(int(value))
    return kind.checked(value)


def integers(values: list[Any], kind: Any) -> list[Any] | None:
    """Return the integers, if all are and the column holds the least and the largest."""
    if set(map(type, values)) != {int}:
        return None
    limit = 1 << kind.bits - 1
    return values if -limit <= min(values) and max(values) < limit else None


def doubles(values: list[Any], _: Double) -> list[float] | None:
    """Return doubles, if all are finite ones or integers that doubles hold."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return list(map(float, values)) if min(values) > -_EXACT and max(values) < _EXACT else None
    if not kinds <= {int, float} or not all(map(isfinite, values)):
        return None
    if int in kinds and not (min(values) > -_EXACT and max(values) < _EXACT):
        return None
    # The only zero is the positive one.
    return [value + 0.0 for value in values] if int in kinds or 0.0 in values else values


def double(value: object, kind: Double) -> float:
    """Return one double, or refuse it; NaN and infinity are strings in JSON."""
    if isinstance(value, str) and value in _NOT_FINITE:
        return float(value)
    return kind.checked(value)


def texts(values: list[Any], kind: ExactText) -> list[str] | None:
    """Return text, if all of it fits."""
    # The sentinel of an empty field of CSV is a text with NUL here.
    if set(map(type, values)) != {str} or from_csv.QUOTED_EMPTY in values:
        return None
    return from_csv.texts(values, kind)


def amount(value: object, kind: Money) -> Decimal:
    """Return money, or refuse it."""
    return from_csv.amount(value, kind) if isinstance(value, str) else kind.checked(value)


def flags(values: list[Any], _: Flag) -> list[bool] | None:
    """Return flags, if all are."""
    return values if set(map(type, values)) == {bool} else None
