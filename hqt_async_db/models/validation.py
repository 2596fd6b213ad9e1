"""Check the values of one row before any SQL runs."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import Column, inspect
from sqlalchemy.sql import ClauseElement

from hqt_async_db.errors import InvalidInputError
from hqt_async_db.models.types import ColumnType

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from sqlalchemy.engine import Dialect
    from sqlalchemy.orm import DeclarativeBase, Mapper


class _Field(NamedTuple):
    """What one attribute of a model takes."""

    name: str  # table.column
    type: ColumnType[Any] | None
    nullable: bool
    filled: bool  # something else supplies a value that is left out


# The classes of nearly all values, which need no closer look.
_PLAIN: Final = frozenset({str, int, float, bool, datetime, Decimal, type(None)})


def validate_values(  # noqa: PLR0913 - how strict it is, by name
    model: type[DeclarativeBase],
    values: Mapping[str, Any],
    *,
    partial: bool,
    relationships: bool = False,
    keep_nulls: bool = False,
    dialect: Dialect | None = None,
) -> dict[str, Any]:
    """Return the values of one row, each as its column will hold it.

    Works for any declarative model; only the columns that use this library's
    types are normalised. SQL expressions pass through unchecked. An explicit
    None for a column with a default is left out, so that the default applies.

    Args:
        model: The mapped class.
        values: Values by attribute name.
        partial: Whether columns may be left out (an update); otherwise every
            column that is NOT NULL and has no default must be there.
        relationships: Whether related instances may be given as well.
        keep_nulls: Whether None in a column with a default is kept where the
            column takes it, as it is for a row that may exist already.
        dialect: The backend, where its own limits shall be checked too.

    Raises:
        InvalidInputError: A name is unknown, a value does not fit its column,
            or a required one is missing. ``field`` names ``table.column``.
    """
    mapper = inspect(model)
    fields = _fields(mapper)
    checked: dict[str, Any] = {}
    for name, value in values.items():
        field = fields.get(name)
        if field is None:
            _check_relationship(mapper, name, allowed=relationships)
            checked[name] = value
        elif value is None:
            if field.nullable and (partial or keep_nulls or not field.filled):
                checked[name] = None
            elif partial or not field.filled:
                raise _required(field)
        elif field.type is None or (type(value) not in _PLAIN and is_sql(value)):
            checked[name] = value
        else:
            checked[name] = field.type.coerce(value, dialect)
    if not partial and not checked.keys() >= _required_names(mapper):
        _check_complete(mapper, fields, checked)
    return checked


def is_sql(value: object) -> bool:
    """Tell whether a value is an SQL expression, to be computed by the database."""
    if type(value) in _PLAIN:
        return False
    return hasattr(value, "__clause_element__") or isinstance(value, ClauseElement)


def have_sql(values: Collection[object]) -> bool:
    """Tell whether one of many values is an SQL expression."""
    return not are_plain(map(type, values)) and any(map(is_sql, values))


def are_plain(kinds: Iterable[type[Any]]) -> bool:
    """Tell whether all are classes of plain values, as nearly all values are."""
    return _PLAIN.issuperset(kinds)


def _check_relationship(mapper: Mapper[Any], name: str, *, allowed: bool) -> None:
    if name not in mapper.relationships:
        raise unknown_field(mapper.class_, name)
    if not allowed:
        message = f"{mapper.class_.__name__}.{name} is a relationship: give its foreign key"
        raise InvalidInputError(message, field=name)


def unknown_field(model: type[Any], name: object) -> InvalidInputError:
    """Return the error for a name that is no attribute of ``model``."""
    shown = str(name)[:80]
    return InvalidInputError(f"{model.__name__} has no field {shown!r}", field=shown)


def _required(field: _Field) -> InvalidInputError:
    return InvalidInputError(f"{field.name} is required", field=field.name)


def _check_complete(
    mapper: Mapper[Any], fields: Mapping[str, _Field], checked: Mapping[str, Any]
) -> None:
    missing = _required_names(mapper) - checked.keys() - _keys_of_related(mapper, checked)
    for name, field in fields.items():
        if name in missing:
            raise _required(field)


def _keys_of_related(mapper: Mapper[Any], checked: Mapping[str, Any]) -> set[str]:
    """Return the foreign keys that given related instances will fill."""
    given = [prop for prop in mapper.relationships if checked.get(prop.key) is not None]
    return {
        mapper.get_property_by_column(column).key
        for prop in given
        for column in prop.local_columns
        if column in mapper.columns.values()
    }


@lru_cache(maxsize=256)
def _fields(mapper: Mapper[Any]) -> dict[str, _Field]:
    """Return what each column attribute of a mapped class takes, by name."""
    fields: dict[str, _Field] = {}
    for prop in mapper.column_attrs:
        columns = [column for column in prop.columns if isinstance(column, Column)]
        if not columns:
            continue  # computed by a SELECT
        column = columns[0]
        fields[prop.key] = _Field(
            name=f"{column.table.name}.{column.name}",
            type=column.type if isinstance(column.type, ColumnType) else None,
            nullable=bool(column.nullable),
            filled=len(columns) > 1 or _fills_itself(mapper, column),
        )
    return fields


@lru_cache(maxsize=256)
def _required_names(mapper: Mapper[Any]) -> frozenset[str]:
    """Return the attributes that a new row must be given."""
    fields = _fields(mapper)
    return frozenset([name for name, of in fields.items() if not (of.nullable or of.filled)])


def _fills_itself(mapper: Mapper[Any], column: Column[Any]) -> bool:
    return (
        column.default is not None
        or column.server_default is not None
        or column is column.table.autoincrement_column
        or column is mapper.polymorphic_on
        or column is mapper.version_id_col
    )
