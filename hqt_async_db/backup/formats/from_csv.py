"""Fields of CSV to values: strict about digits, generous about the notation of time."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

import orjson

from hqt_async_db.models.types.column import encodable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from hqt_async_db.models.types import Choice, ColumnType, Double, ExactText, Flag, Money

# What stands for a quoted empty field, which is no NULL; no file holds this character.
QUOTED_EMPTY: Final = "\0"

_OF_INTEGERS: Final = re.compile(r"-?[0-9]{1,20}", re.ASCII)
# Of an integer that every double of its size holds.
_EXACT_DIGITS: Final = 15
_OF_NUMBERS: Final = b"0123456789.+-eE,"
_OF_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_NOT_FINITE: Final = {"nan", "inf", "infinity", "-inf", "-infinity", "+inf", "+infinity"}
_FLAGS: Final = {
    **dict.fromkeys(("true", "True", "TRUE", "t", "1"), True),
    **dict.fromkeys(("false", "False", "FALSE", "f", "0"), False),
}


def integers(values: list[str], kind: Any) -> list[Any] | None:
    """Return integers, if all are plain and the column holds the least and the largest."""
    numbers, kinds = _numbers(values)
    if kinds != {int}:
        return None
    limit = 1 << kind.bits - 1
    return numbers if -limit <= min(numbers) and max(numbers) < limit else None


def _numbers(values: list[str]) -> tuple[list[Any], set[type]]:
    """Return numbers that are written as in JSON, which is parsed ten times as fast.

    With them their types, none if they are written otherwise.
    """
    together = ",".join(values)
    if not together.isascii() or together.encode().translate(None, _OF_NUMBERS):
        return [], set()
    try:
        numbers: list[Any] = orjson.loads(f"[{together}]")
    except orjson.JSONDecodeError:
        return [], set()
    return numbers, set(map(type, numbers)) if len(numbers) == len(values) else set()


def integer(value: str, kind: ColumnType[Any]) -> Any:
    """Return one integer, or refuse it; pandas writes a double where others are missing."""
    whole, point, zeros = value.partition(".")
    if point and zeros and not zeros.strip("0") and len(whole) <= _EXACT_DIGITS:
        value = whole
    if not _OF_INTEGERS.fullmatch(value):
        kind.refuse("must be an integer")
    return kind.checked(int(value))


def doubles(values: list[str], _: Double) -> list[float] | None:
    """Return doubles, if all are digits of finite ones."""
    numbers, kinds = _numbers(values)
    if not kinds or not kinds <= {int, float}:
        return None
    if int in kinds:
        numbers = list(map(float, numbers))
    # The only zero is the positive one.
    return [number + 0.0 for number in numbers] if 0.0 in numbers else numbers


def double(value: str, kind: Double) -> float:
    """Return one double, or refuse it."""
    if value.lower() in _NOT_FINITE:
        return float(value)
    if not _OF_NUMBER.fullmatch(value):
        kind.refuse("must be a number")
    if not isfinite(float(value)):
        kind.refuse("is beyond the largest double")
    return kind.checked(float(value))


def texts(values: list[str], kind: ExactText) -> list[str] | None:
    """Return text, if all of it fits."""
    if QUOTED_EMPTY in values:
        values = ["" if value == QUOTED_EMPTY else value for value in values]
    words = getattr(kind, "_words", None)
    if words is not None:
        return values if words.keys() >= set(values) else None
    if kind.length is not None and max(map(len, values)) > kind.length:
        return None
    together = "".join(values)
    return values if "\0" not in together and encodable(together) else None


def text(value: str, kind: ExactText | Choice) -> str:
    """Return one text, or refuse it."""
    return kind.checked("" if value == QUOTED_EMPTY else value)


def times(values: Sequence[Any], kind: ColumnType[datetime]) -> list[datetime] | None:
    """Return points in time, if all are ISO 8601; those without a zone are UTC."""
    try:
        moments = list(map(datetime.fromisoformat, values))
        if {moment.tzinfo for moment in moments} != {UTC}:
            return [kind.checked(moment) for moment in moments]
    except (TypeError, ValueError):  # the second is also InvalidInputError
        return None
    return moments


def time(value: object, kind: ColumnType[datetime]) -> datetime:
    """Return one point in time, or refuse it."""
    moment = value
    if isinstance(value, str):
        with suppress(ValueError):
            moment = datetime.fromisoformat(value)
    if not isinstance(moment, datetime):
        kind.refuse("must be a time in ISO 8601, such as 2024-01-01T10:00:00+00:00")
    return kind.checked(moment)


def amount(value: str, kind: Money) -> Decimal:
    """Return money, or refuse it."""
    if not _OF_NUMBER.fullmatch(value):
        kind.refuse("must be a number")
    return kind.checked(value)


def flags(values: list[str], _: Flag) -> list[bool] | None:
    """Return flags, if all are."""
    try:
        return list(map(_FLAGS.__getitem__, values))
    except KeyError:
        return None


def flag(_: str, kind: Flag) -> bool:
    """Refuse what is no flag."""
    kind.refuse("must be true or false")
