"""The column type of JSON objects."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import JSON

from hqt_async_db.models.types.column import ColumnType, Processor, kind_of, text_literal
from hqt_async_db.models.types.json_tracking import JsonObject
from hqt_async_db.models.types.json_values import UnfitJsonError, encode, fit, parse

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.sql.operators import OperatorType
    from sqlalchemy.types import TypeEngine


class JsonDict(ColumnType[dict[str, Any]]):
    """A JSON object: takes a dict or its JSON text, reads back as a dict.

    A change in place is saved with the row, at any depth:
    ``strategy.parameters["risk"]["stop"] = 5``. What is assigned is copied.
    Refused: anything but an object, keys that are no str, NaN and infinity,
    integers beyond 64 bits, NUL and lone surrogates, a key repeated in a JSON
    text, deep nesting. Tuples become lists.

    Stored as JSON text. PostgreSQL's ``JSON`` keeps the order of keys and has
    no ``=``; MySQL 8 sorts the keys.
    """

    impl = JSON
    cache_ok = True
    mutable: ClassVar[type[JsonObject]] = JsonObject

    def __init__(self) -> None:
        super().__init__(none_as_null=True)

    def checked(self, value: object) -> JsonObject:
        """Return ``value`` as a tracked object of its own, or refuse it."""
        if isinstance(value, JsonObject) and value.is_free():
            return value  # fresh from another check of the same value
        return JsonObject().filled(self._plain(value), None)

    def _plain(self, value: object) -> dict[str, Any]:
        try:
            if isinstance(value, str):
                value = parse(value)
            fitted = fit(value)
        except UnfitJsonError as unfit:
            self.refuse(str(unfit))
        if not isinstance(fitted, dict):
            self.refuse(f"must be a dict or the JSON text of one, not {kind_of(value)}")
        return fitted

    def bind_processor(self, dialect: Dialect) -> Processor:  # noqa: ARG002
        """Return the function that prepares values for the driver."""
        return self._text

    @property
    def kind(self) -> str:
        """Return what stands for this type in SQL."""
        return "json"

    def kept(self, value: Any) -> Any:
        """Return the JSON text that SQLite computed, if it is that of an object."""
        self._plain(value)
        return value

    def literal_processor(self, dialect: Dialect) -> Processor:
        """Return the function that writes values into SQL text."""
        quote = text_literal(dialect)
        return lambda value: quote(self._text(value))

    def _text(self, value: object) -> str | None:
        if value is None:
            return None
        # A JsonObject let nothing unfit in, now or when it was changed.
        return encode(value if isinstance(value, JsonObject) else self._plain(value))

    def result_processor(self, dialect: Dialect, coltype: object) -> Processor | None:  # noqa: ARG002
        """Return the function that reads what the driver returned; PostgreSQL's read it."""
        return None if dialect.name == "postgresql" else self.of_text

    @staticmethod
    def of_text(value: Any) -> Any:
        """Return the value of a stored JSON text, and one that was read already as it is."""
        return json.loads(value) if isinstance(value, str | bytes) else value

    def compare_values(self, x: Any, y: Any) -> bool:
        """Tell whether two values are the same JSON, in which 1 is neither true nor 1.0."""
        return x is y or (x == y and _sorted(x) == _sorted(y))

    def coerce_compared_value(self, op: OperatorType | None, value: object) -> TypeEngine[Any]:
        """Return the type of the other side: a key, a path, or an object."""
        return self.impl_instance.coerce_compared_value(op, value)


def _sorted(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
