"""Keyset pagination: pages that stay right and quick however deep they are."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, TypeDecorator, and_, false, inspect, literal, or_

from hqt_async_db.errors import InvalidInputError
from hqt_async_db.models.types import ColumnType
from hqt_async_db.repositories.queries import orderings_of, with_tie_break

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Dialect
    from sqlalchemy.orm import Mapper
    from sqlalchemy.types import TypeEngine

    from hqt_async_db.repositories.queries import Directed, OrderBy

T = TypeVar("T")
Codec: TypeAlias = "tuple[Callable[[Any], Any], Callable[[Any], Any]]"

_CODECS: dict[type, Codec] = {
    bool: (bool, bool),
    int: (str, int),
    float: (float.hex, float.fromhex),
    str: (str, str),
    Decimal: (str, Decimal),
    datetime: (datetime.isoformat, datetime.fromisoformat),
    date: (date.isoformat, date.fromisoformat),
    UUID: (str, UUID),
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


class Keyset:
    """A total order of a model's rows, and cursors into it.

    Args:
        model: The mapped class.
        order_by: Columns of it; the primary key is added to break ties.

    Raises:
        InvalidInputError: A part is no column, or one of a kind that no
            cursor can hold, such as JSON.
    """

    def __init__(self, model: type[Any], order_by: OrderBy) -> None:
        mapper: Mapper[Any] = inspect(model)
        names: dict[ColumnElement[Any], str] = {
            column: mapper.get_property_by_column(column).key for column in mapper.columns
        }
        orderings = with_tie_break(model, orderings_of(model, order_by))
        if any(expression not in names for expression, _ in orderings):
            msg = "page() orders by columns of the model only"
            raise InvalidInputError(msg, field="order_by")
        self.orderings: list[Directed] = orderings
        self.columns: list[ColumnElement[Any]] = [column for column, _ in orderings]
        self._codecs = [_codec_of(column) for column in self.columns]
        # What a cursor must have been made for.
        self._order = [
            mapper.class_.__name__,
            *(f"{'-' * down}{names[column]}" for column, down in orderings),
        ]

    def cursor(self, values: Sequence[Any]) -> str:
        """Return an opaque cursor behind the row with these values."""
        encoded = [
            None if value is None else encode(value)
            for value, (encode, _) in zip(values, self._codecs, strict=True)
        ]
        document = json.dumps([self._order, encoded], separators=(",", ":"))
        return base64.urlsafe_b64encode(document.encode()).decode().rstrip("=")

    def after(self, cursor: object, dialect: Dialect) -> ColumnElement[bool]:
        """Return the criterion for the rows behind a cursor, NULLs last.

        Raises:
            InvalidInputError: It is damaged, or was made for another order.
        """
        values = self._decoded(cursor, dialect)
        alternatives: list[ColumnElement[bool]] = []
        same: list[ColumnElement[bool]] = []
        for (column, descending), value in zip(self.orderings, values, strict=True):
            alternatives.append(and_(*same, _behind(column, value, descending=descending)))
            same.append(column.is_(None) if value is None else column == _bound(column, value))
        return and_(*self._start(values), or_(*alternatives))

    def _start(self, values: Sequence[Any]) -> list[ColumnElement[bool]]:
        """Return where the first column begins, which no index sees in an OR."""
        column, descending = self.orderings[0]
        if getattr(column, "nullable", False):
            return []
        first = _bound(column, values[0])
        return [column <= first if descending else column >= first]

    def _decoded(self, cursor: object, dialect: Dialect) -> list[Any]:
        try:
            order, encoded = json.loads(_unpacked(cursor))
            if order != self._order:
                raise ValueError  # noqa: TRY301 - refused like everything else
            pairs = zip(encoded, self._codecs, self.columns, strict=True)
            return [
                _decoded(value, decode, column, dialect) for value, (_, decode), column in pairs
            ]
        except (ValueError, TypeError, ArithmeticError, RecursionError):
            msg = "the page cursor is damaged or of another order; start from the first page"
        raise InvalidInputError(msg, field="after")


def _unpacked(cursor: object) -> bytes:
    if not isinstance(cursor, str):
        raise TypeError
    padded = cursor + "=" * (-len(cursor) % 4)
    return base64.b64decode(padded, altchars=b"-_", validate=True)


def _decoded(value: Any, decode: Callable[[Any], Any], column: Any, dialect: Dialect) -> Any:
    if value is None:
        if not column.nullable:
            raise ValueError
        return None
    if type(value) is not (bool if decode is bool else str):
        raise TypeError
    decoded = decode(value)
    return column.type.coerce(decoded, dialect) if isinstance(column.type, ColumnType) else decoded


def _codec_of(column: ColumnElement[Any]) -> Codec:
    kind: TypeEngine[Any] = column.type
    if isinstance(kind, TypeDecorator):
        kind = kind.impl_instance
    try:
        return _CODECS[kind.python_type]
    except (KeyError, NotImplementedError):
        msg = f"page() cannot order by {column}: its type does not fit into a cursor"
    raise InvalidInputError(msg, field="order_by")


def _behind(column: ColumnElement[Any], value: Any, *, descending: bool) -> ColumnElement[bool]:
    if value is None:
        return false()
    bound = _bound(column, value)
    further = column < bound if descending else column > bound
    return or_(further, column.is_(None)) if getattr(column, "nullable", False) else further


def _bound(column: ColumnElement[Any], value: Any) -> ColumnElement[Any]:
    """Return a parameter; of a plain True or False SQLAlchemy makes IS."""
    return literal(value, column.type)
