"""Keyset pagination: pages that stay right and quick however deep they are."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from sqlalchemy import ColumnElement, and_, false, or_

from hqt_async_db.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

_ENCODERS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    type(None): ("n", lambda _: None),
    bool: ("b", bool),
    int: ("i", str),
    float: ("f", float.hex),
    str: ("s", str),
    Decimal: ("d", str),
    datetime: ("t", lambda value: value.astimezone(UTC).isoformat()),
}
_DECODERS: dict[str, Callable[[Any], Any]] = {
    "n": lambda _: None,
    "b": bool,
    "i": int,
    "f": float.fromhex,
    "s": str,
    "d": Decimal,
    "t": datetime.fromisoformat,
}


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows, and where the next ones begin.

    Attributes:
        items: The instances of this page, in order.
        next_cursor: Pass it as ``after`` to get the next page; None at the
            end. An opaque string, safe in a URL.
    """

    items: list[T]
    next_cursor: str | None


def encode_cursor(names: Sequence[str], values: Sequence[Any]) -> str:
    """Return an opaque cursor that keeps the type of each value."""
    tagged = []
    for value in values:
        tag, encode = _ENCODERS[type(value)]
        tagged.append([tag, encode(value)])
    document = json.dumps([list(names), tagged], separators=(",", ":"))
    return base64.urlsafe_b64encode(document.encode()).decode().rstrip("=")


def decode_cursor(names: Sequence[str], cursor: str) -> list[Any]:
    """Return the values of a cursor made for the same ordering.

    Raises:
        InvalidInputError: It is damaged, or was made for another ordering.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        made_for, tagged = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        values = [_DECODERS[tag](value) for tag, value in tagged]
    except (ValueError, TypeError, KeyError, ArithmeticError, binascii.Error, RecursionError):
        _refuse("is damaged; start from the first page")
    if made_for != list(names) or len(values) != len(names):
        _refuse("was made for another ordering; start from the first page")
    return values


def after_cursor(
    orderings: Sequence[tuple[ColumnElement[Any], bool]], values: Sequence[Any]
) -> ColumnElement[bool]:
    """Return the criterion for rows behind the cursor, NULLs last."""
    alternatives: list[ColumnElement[bool]] = []
    same: list[ColumnElement[bool]] = []
    for (column, descending), value in zip(orderings, values, strict=True):
        alternatives.append(and_(*same, _behind(column, value, descending=descending)))
        same.append(column.is_(None) if value is None else column == value)
    return or_(*alternatives)


def _behind(column: ColumnElement[Any], value: Any, *, descending: bool) -> ColumnElement[bool]:
    if value is None:
        return false()
    further = column < value if descending else column > value
    return or_(further, column.is_(None)) if getattr(column, "nullable", False) else further


def _refuse(reason: str) -> NoReturn:
    msg = f"the page cursor {reason}"
    raise InvalidInputError(msg, field="after")
