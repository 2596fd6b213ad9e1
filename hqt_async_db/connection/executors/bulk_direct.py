"""Many rows for a driver, prepared column by column instead of value by value."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from sqlalchemy import Column, bindparam, insert

from hqt_async_db.connection.backends.direct import NoWayError
from hqt_async_db.connection.pacing import in_pieces
from hqt_async_db.models.types import ColumnType, utc_now
from hqt_async_db.models.validation import are_plain, is_sql

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Dialect, Insert
    from sqlalchemy.orm import Mapper

# What decides how a value is bound; a class that overrides one of these after
# a quicker way must be asked for each value.
_ONE_BY_ONE: Final = ("checked", "check_backend", "bind_processor", "process_bind_param")


class BulkInsert:
    """The INSERT of rows of one model that all have the same fields.

    Args:
        mapper: The model's; its instances need no unit of work.
        names: The fields.
        dialect: The backend.
        keep_nulls: Whether None is NULL, and not for the column's default.

    Raises:
        NoWayError: A field is no column of the model, or one that is required
            is missing: what is wrong is said row by row.
    """

    def __init__(
        self,
        mapper: Mapper[Any],
        names: tuple[str, ...],
        dialect: Dialect,
        *,
        keep_nulls: bool = False,
    ) -> None:
        columns: dict[str, Any] = {prop.key: prop.columns[0] for prop in mapper.column_attrs}
        filled = [name for name, column in columns.items() if _fills_in_python(column)]
        missing = columns.keys() - set(names) - set(filled)
        if not names or not columns.keys() >= set(names):
            raise NoWayError
        if not all(_may_be_left_out(mapper, columns[name]) for name in missing):
            raise NoWayError
        self.table: Any = mapper.local_table
        self._width = len(names)
        in_rows = {columns[name]: name for name in names}
        wanted = in_rows.keys() | {columns[name] for name in filled}
        # The statement's parameters will be in the order of the table.
        self.columns: list[Any] = [column for column in self.table.columns if column in wanted]
        self._parts = [
            (in_rows.get(column), _Column(column, dialect, keep_nulls=keep_nulls))
            for column in self.columns
        ]
        self._given = [name for name, _ in self._parts if name is not None]

    def statement(self) -> Insert:
        """Return the INSERT, with a parameter for each of the columns."""
        # No column has such a name, which a parameter must not share.
        values: dict[str, Any] = {
            column.key: bindparam(f"hqt_new_{column.key}") for column in self.columns
        }
        return insert(self.table).values(values)

    async def bind(self, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
        """Return the rows for the driver, in steps that let other tasks run.

        Raises:
            NoWayError: Not all of it fits; what does not is said row by row.
        """
        try:
            return await in_pieces(self._bind, rows)
        except Exception as error:
            raise NoWayError from error

    def _bind(self, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
        if set(map(len, rows)) != {self._width}:
            raise NoWayError
        given = self._tuples(rows)
        columns = list(zip(*given, strict=True))
        each = iter(columns)
        bound = [
            part.fill(len(rows)) if name is None else part.bind(next(each))
            for name, part in self._parts
        ]
        if list(map(id, bound)) == list(map(id, columns)):
            return given
        return list(zip(*bound, strict=True))

    def _tuples(self, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
        """Return the values that are given, in the order of the columns."""
        picked = map(itemgetter(*self._given), rows)
        return list(picked) if len(self._given) > 1 else list(zip(picked))


class _Column:
    """One column of many rows: what turns its values into the driver's."""

    def __init__(self, column: Any, dialect: Dialect, *, keep_nulls: bool) -> None:
        kind = column.type.dialect_impl(dialect)
        self.column = column
        self._dialect = dialect
        self._process: Callable[[Any], Any] | None = kind.bind_processor(dialect)
        self._bind_all = column.type.bind_all if speaks_for_all(column.type, "bind_all") else None
        self._default: Any = column.default
        # What None stands for; that of the server is for a statement without the column.
        self._of_none: Any = None if keep_nulls else column.default
        is_null = self._of_none is None
        has_default_elsewhere = column.server_default is not None and not keep_nulls
        self._takes_none = not (has_default_elsewhere or (is_null and not column.nullable))
        # The moment of the statement, one for all rows.
        self._is_shared = column.default is not None and (
            column.default.is_scalar or getattr(column.default.arg, "__wrapped__", None) is utc_now
        )

    def bind(self, values: Sequence[Any]) -> Sequence[Any]:
        """Return the values for the driver; None takes the column's default, or is NULL."""
        kinds = set(map(type, values))
        if not are_plain(kinds) and any(map(is_sql, kinds)):
            raise NoWayError
        if type(None) in kinds:
            return self._bind_with_nulls(values)
        if self._bind_all is not None and len(kinds) == 1:
            bound: Sequence[Any] | None = self._bind_all(values, self._dialect)
            if bound is not None:
                return bound
        return values if self._process is None else [self._process(value) for value in values]

    def _bind_with_nulls(self, values: Sequence[Any]) -> Sequence[Any]:
        if not self._takes_none:
            raise NoWayError
        present = [value for value in values if value is not None]
        bound = self.bind(present) if present else present
        if self._of_none is None and bound is present:  # they go to the driver as they are
            return values
        missing = len(values) - len(present)
        filled = iter([None] * missing if self._of_none is None else self.fill(missing))
        each = iter(bound)
        return [next(filled) if value is None else next(each) for value in values]

    def fill(self, count: int) -> Sequence[Any]:
        """Return the column's default, for so many rows."""
        default = self._default
        if self._is_shared:
            value = default.arg if default.is_scalar else utc_now()
            return list(self.bind([value])) * count if count else []
        return self.bind([default.arg(NO_CONTEXT) for _ in range(count)]) if count else []


class _NoContext:
    """Stands for the context that a default may ask for its row."""

    def __getattr__(self, name: str) -> Any:
        raise NoWayError(name)


NO_CONTEXT: Final = _NoContext()


def _fills_in_python(column: Any) -> bool:
    default = getattr(column, "default", None)
    return default is not None and (default.is_scalar or default.is_callable)


def _may_be_left_out(mapper: Mapper[Any], column: Any) -> bool:
    """Tell whether the database fills the column in by itself, with NULL perhaps."""
    if not isinstance(column, Column) or column.default is not None:
        return False  # a default that is an SQL expression
    return (
        bool(column.nullable)
        or column.server_default is not None
        or column is column.table.autoincrement_column
    ) and column is not mapper.version_id_col


def speaks_for_all(kind: Any, method: str) -> TypeGuard[ColumnType[Any]]:
    """Tell whether a method of a type speaks for everything that binds single values."""
    if not isinstance(kind, ColumnType):
        return False
    owner = _owner_of(kind, method)
    return all(issubclass(owner, _owner_of(kind, name)) for name in _ONE_BY_ONE)


def _owner_of(kind: object, name: str) -> type[Any]:
    return next(cls for cls in type(kind).__mro__ if name in cls.__dict__)
