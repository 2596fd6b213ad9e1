"""What every column type shares: a named refusal and a public ``coerce``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from sqlalchemy import Column, String
from sqlalchemy.types import TypeDecorator

from hqt_async_db.errors import InvalidInputError

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.sql.base import SchemaEventTarget
    from sqlalchemy.types import TypeEngine

ValueT = TypeVar("ValueT")

Processor = Callable[[Any], Any]


def unboxed(value: object) -> Any:
    """Return the Python scalar inside a NumPy scalar, anything else as it is.

    Research code hands over ``numpy.int64`` and ``numpy.bool_`` without
    knowing it; NumPy itself is never imported.
    """
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        return value.item()
    return value


def as_coerced(kind: ColumnType[Any], dialect: Dialect) -> None:
    """Stand for a type's ``bind_coerced``: what it coerced goes to the driver as it is."""
    del kind, dialect


class ColumnType(TypeDecorator[ValueT]):
    """A type that checks and normalises values the same way on every path.

    ``coerce`` runs when an attribute is set, when a repository validates its
    arguments and when a value is bound to a statement, so a refusal reads the
    same wherever it happens. Give each column an instance of its own: the
    instance learns the name of the first column it is attached to.
    """

    cache_ok = True
    _column: Column[Any] | None = None

    @property
    def field(self) -> str | None:
        """``table.column`` of the column this type belongs to, if it has one."""
        return None if self._column is None else column_field(self._column)

    def coerce(self, value: object, dialect: Dialect | None = None) -> ValueT | None:
        """Return ``value`` as this column holds it; None stays None.

        Args:
            value: What the caller wants to store or to compare with.
            dialect: The backend, where it is known; its own limits (NaN,
                exactness on SQLite) are then checked too.

        Raises:
            InvalidInputError: The column cannot hold the value.
        """
        if value is None:
            return None
        coerced = self.checked(value)
        if dialect is not None:
            self.check_backend(coerced, dialect)
        return coerced

    def checked(self, value: object) -> ValueT:
        """Return ``value``, never None, normalised, or refuse it."""
        raise NotImplementedError

    def check_backend(self, value: ValueT, dialect: Dialect) -> None:
        """Refuse a normalised value that this one backend cannot hold."""

    @property
    def kind(self) -> str | None:
        """Return what tells :mod:`~hqt_async_db.models.types.kept` how this column keeps values."""
        return None

    def kept(self, value: Any) -> Any:
        """Return what SQLite computed as this column keeps it, or refuse it.

        Args:
            value: An int, a float, a str or bytes, as SQLite knows no others.

        Raises:
            InvalidInputError: The servers would not take it for such a column.
        """
        return value

    def bind_all(self, values: Sequence[Any], dialect: Dialect) -> Sequence[Any] | None:
        """Prepare many values for the driver at once, where that is quicker.

        Args:
            values: Values of one class, none of them None.
            dialect: The backend.

        Returns:
            What the bind processor would make of each; None to ask it.
        """
        del values, dialect
        return None

    def bind_coerced(self, dialect: Dialect) -> Processor | None:
        """Return what prepares a value that ``coerce`` returned; None where nothing does."""
        return self.bind_processor(dialect)

    def refuse(self, reason: str) -> NoReturn:
        """Raise InvalidInputError for this column; ``reason`` shows no value."""
        field = self.field
        message = f"{field or 'value'} {reason}"
        raise InvalidInputError(message, field=field)

    def _set_parent(
        self,
        parent: SchemaEventTarget,
        outer: bool = False,  # noqa: FBT001, FBT002 - SQLAlchemy's signature
        **kw: Any,
    ) -> None:
        # A selectable's column shares the type of the table's column, so the
        # first one wins; a copied type still remembers the original's column.
        known = self._column
        if isinstance(parent, Column) and (known is None or known.type is not self):
            self._column = parent
        super()._set_parent(parent, outer, **kw)


def column_field(column: Column[Any]) -> str:
    """Return ``table.column``, or the name alone while there is no table."""
    table = getattr(column, "table", None)
    return column.name if table is None else f"{table.name}.{column.name}"


def text_literal(dialect: Dialect) -> Processor:
    """Return the function that quotes text for SQL on one backend."""
    plain: TypeEngine[str] = String()
    return cast("Processor", plain.literal_processor(dialect))


def encodable(text: str) -> bool:
    """Tell whether text is free of lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def kind_of(value: object) -> str:
    """Name the type of a refused value; the value itself stays unseen."""
    return f"a value of type {type(value).__name__}"
