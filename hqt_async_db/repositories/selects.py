"""The statements of repositories, built once for all calls that differ in values only."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    NamedTuple,
    ParamSpec,
    TypeAlias,
    TypeVar,
)

from sqlalchemy import Column, ColumnElement, Integer, bindparam, delete, func, select
from sqlalchemy.orm import InstrumentedAttribute

from hqt_async_db.errors import InvalidInputError
from hqt_async_db.models.validation import is_sql
from hqt_async_db.repositories.queries import (
    checker_of,
    column_of,
    columns_of,
    criteria_of,
    ordered,
    orderings_of,
    primary_key_of,
    require_count,
    with_tie_break,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Delete, Dialect, Select


# A statement; the values of its parameters, or None if it was made for one call.
Prepared: TypeAlias = "tuple[Any, dict[str, Any] | None]"

_MOST_KEPT: Final = 1000
# No column has such a name, which a parameter must not share.
_VALUE: Final = "hqt_value_"
_LIMIT: Final = "hqt_limit"
_OFFSET: Final = "hqt_offset"


P = ParamSpec("P")
T = TypeVar("T")


def _kept(
    function: Callable[Concatenate[Dialect, P], T],
) -> Callable[Concatenate[Dialect, P], T]:
    """Keep what ``function`` returned for the same arguments, as long as their dialect lives.

    What it returns refers to the dialect, each engine has its own, and a
    program may make many. So it is kept there.
    """
    name = f"hqt{function.__name__}"

    def call(dialect: Dialect, /, *arguments: P.args, **keywords: P.kwargs) -> T:
        kept: Any = dialect.__dict__.get(name)
        if kept is None:
            kept = dialect.__dict__[name] = lru_cache(_MOST_KEPT)(partial(function, dialect))
        found: T = kept(*arguments, **keywords)
        return found

    return call


class Target(NamedTuple):
    """What a SELECT returns.

    Attributes:
        kind: ``entity``, ``columns``, ``keys`` or ``count``.
        columns: Names, attributes or expressions; empty for all columns.
    """

    kind: str
    columns: tuple[Any, ...] = ()


ENTITY: Final = Target("entity")
KEYS: Final = Target("keys")
COUNT: Final = Target("count")


class Parts(NamedTuple):
    """What a SELECT is made of, beside its criteria.

    Attributes:
        target: What it returns.
        order_by: As for :meth:`BaseRepository.get_many`.
        is_sorted: Whether rows come in an order at all.
        limit: Rows at most: a number, a parameter, or None.
        offset: Rows to skip, as ``limit``.
    """

    target: Target = ENTITY
    order_by: Any = None
    is_sorted: bool = True
    limit: Any = None
    offset: Any = None


_UNSORTED: Final = Parts(is_sorted=False)


def prepare_select(
    model: type[Any],
    dialect: Dialect,
    parts: Parts,
    criteria: Sequence[ColumnElement[bool]],
    filters: Mapping[str, Any],
) -> Prepared:
    """Return the SELECT that a caller asked for, one that is kept where possible.

    Raises:
        InvalidInputError: A name, a value, the limit or the offset is refused.
    """
    target, order_by, _, limit, offset = parts
    if limit is not None:
        require_count("limit", limit)
    if offset is not None:
        require_count("offset", offset)
    if isinstance(order_by, list):
        order_by = tuple(order_by)
    is_kept = not criteria and _is_of_names(order_by) and _is_of_names(target.columns)
    if not is_kept or any(map(_is_special, filters.values())):
        clauses = criteria_of(model, criteria, filters, dialect)
        return _build(model, dialect, parts, clauses), None
    values = _values(model, filters, dialect)
    nulls = tuple([(name, value is None) for name, value in filters.items()])
    if limit is not None:
        values[_LIMIT] = limit
    if offset is not None:
        values[_OFFSET] = offset
    shape = Parts(target, order_by, parts.is_sorted, limit is not None, offset is not None)
    return _kept_select(dialect, model, shape, nulls), values


def prepare_by_key(model: type[Any], dialect: Dialect, entity_id: Any) -> Prepared:
    """Return the SELECT of the row with a primary key, a tuple for a composite one.

    Raises:
        InvalidInputError: The key does not fit the model.
    """
    return _kept_select_by_key(dialect, model), _key_values(model, dialect, entity_id)


def prepare_delete(model: type[Any], dialect: Dialect, entity_id: Any) -> Prepared:
    """Return the DELETE of the row with a primary key; as :func:`prepare_by_key`."""
    return _kept_delete(dialect, model), _key_values(model, dialect, entity_id)


def _key_values(model: type[Any], dialect: Dialect, entity_id: Any) -> dict[str, Any]:
    checks = _key_checks(dialect, model)
    values = entity_id if isinstance(entity_id, tuple) else (entity_id,)
    unfit = any(value is None or isinstance(value, list | set | dict) for value in values)
    if unfit or len(values) != len(checks):
        listed = ", ".join([name for name, _ in _key_names(model)])
        msg = f"the primary key of {model.__name__} is ({listed}); give a value for each"
        raise InvalidInputError(msg, field=listed)
    return {name: check(value) for (name, check), value in zip(checks, values, strict=True)}


def _is_of_names(parts: Any) -> bool:
    if isinstance(parts, tuple):
        return all(isinstance(part, str) for part in parts)
    return parts is None or isinstance(parts, str)


def _is_special(value: Any) -> bool:
    """Tell whether a filter is more than equality with a plain value."""
    return isinstance(value, list | tuple | set | frozenset) or is_sql(value)


def _values(model: type[Any], filters: Mapping[str, Any], dialect: Dialect) -> dict[str, Any]:
    return {
        _VALUE + name: _checker(dialect, model, name)(value)
        for name, value in filters.items()
        if value is not None
    }


@_kept
def _checker(dialect: Dialect, model: type[Any], name: str) -> Callable[[Any], Any]:
    return checker_of(column_of(model, name), dialect)


def _key_names(model: type[Any]) -> tuple[tuple[str, bool], ...]:
    """Return the names of the primary key, none of which is for NULL."""
    return tuple([(attribute.key, False) for attribute in primary_key_of(model)])


@_kept
def _key_checks(dialect: Dialect, model: type[Any]) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    """Return the parameters of the primary key, and what turns values into its own."""
    return tuple([(_VALUE + key.key, checker_of(key, dialect)) for key in primary_key_of(model)])


@_kept
def _kept_select(
    dialect: Dialect, model: type[Any], shape: Parts, nulls: tuple[tuple[str, bool], ...]
) -> Select[Any]:
    filters: dict[str, Any] = {
        name: None if is_null else bindparam(_VALUE + name) for name, is_null in nulls
    }
    parts = shape._replace(
        limit=bindparam(_LIMIT, type_=Integer) if shape.limit else None,
        offset=bindparam(_OFFSET, type_=Integer) if shape.offset else None,
    )
    return _build(model, dialect, parts, criteria_of(model, (), filters, dialect))


@_kept
def _kept_select_by_key(dialect: Dialect, model: type[Any]) -> Select[Any]:
    return _kept_select(dialect, model, _UNSORTED, _key_names(model))


@_kept
def _kept_delete(dialect: Dialect, model: type[Any]) -> Delete:
    filters: dict[str, Any] = {name: bindparam(_VALUE + name) for name, _ in _key_names(model)}
    return delete(model).where(*criteria_of(model, (), filters, dialect))


# -- building --------------------------------------------------------------


def _build(
    model: type[Any], dialect: Dialect, parts: Parts, clauses: Sequence[ColumnElement[bool]]
) -> Select[Any]:
    statement = _of_target(model, parts.target).where(*clauses)
    if parts.is_sorted:
        statement = _sorted(model, dialect, statement, parts)
    if parts.limit is not None:
        statement = statement.limit(parts.limit)
    return statement if parts.offset is None else statement.offset(parts.offset)


def _of_target(model: type[Any], target: Target) -> Select[Any]:
    if target.kind == "entity":
        return select(model)
    if target.kind == "keys":
        return select(*primary_key_of(model))
    if target.kind == "count":
        return select(func.count()).select_from(model)
    chosen = _chosen(model, target.columns)
    return select(*(chosen or columns_of(model))).select_from(model)


def _chosen(model: type[Any], columns: tuple[Any, ...]) -> list[Any]:
    chosen = [column_of(model, c) if isinstance(c, str) else c for c in columns]
    for column in chosen:
        if not isinstance(column, ColumnElement | InstrumentedAttribute):
            msg = f"a column is a name or an expression, not {type(column).__name__}"
            raise InvalidInputError(msg, field="columns")
    return chosen


def _sorted(
    model: type[Any], dialect: Dialect, statement: Select[Any], parts: Parts
) -> Select[Any]:
    """Sort; the primary key breaks ties, but beside expressions such as a count."""
    orderings = orderings_of(model, parts.order_by)
    columns = _chosen(model, parts.target.columns)
    if all(isinstance(column, InstrumentedAttribute | Column) for column in columns):
        orderings = with_tie_break(model, orderings)
    return ordered(statement, orderings, dialect)
