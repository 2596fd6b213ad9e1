"""From names and criteria to a SELECT, refused before any SQL runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, TypeVar

from sqlalchemy import ColumnElement, Select, inspect, nulls_last
from sqlalchemy.orm import InstrumentedAttribute, RelationshipProperty, selectinload
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import asc_op, desc_op
from sqlalchemy.sql.roles import ExpressionElementRole

from hqt_async_db.errors import InvalidInputError
from hqt_async_db.models import validate_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Mapper
    from sqlalchemy.orm.interfaces import ORMOption

T = TypeVar("T")

Criterion: TypeAlias = ColumnElement[bool]
Ordering: TypeAlias = "str | ColumnElement[Any] | InstrumentedAttribute[Any]"
OrderBy: TypeAlias = "Ordering | Sequence[Ordering] | None"
Load: TypeAlias = "Sequence[InstrumentedAttribute[Any] | ORMOption]"

_MAX_LIMIT = 2**63 - 1


class ReadOptions(TypedDict, total=False):
    """What every query for several rows takes beside its own arguments.

    Attributes:
        order_by: See :meth:`BaseRepository.get_many`.
        limit: Rows at most.
        offset: Rows to skip.
        load: Relationships to load with them.
    """

    order_by: OrderBy
    limit: int | None
    offset: int | None
    load: Load


def given(**filters: Any) -> dict[str, Any]:
    """Return the filters that were given: for optional arguments of a query."""
    return {name: value for name, value in filters.items() if value is not None}


def within(
    column: InstrumentedAttribute[Any], start: datetime | None, end: datetime | None
) -> list[ColumnElement[bool]]:
    """Return the criteria for times from ``start`` to before ``end``."""
    return [
        *([] if start is None else [column >= start]),
        *([] if end is None else [column < end]),
    ]


def criteria_of(
    model: type[Any], criteria: Iterable[Any], filters: Mapping[str, Any]
) -> list[ColumnElement[bool]]:
    """Return WHERE criteria from SQLAlchemy expressions and keyword equality.

    A keyword with None means IS NULL, a list, tuple or set means IN.
    """
    clauses: list[ColumnElement[bool]] = []
    for criterion in criteria:
        if not isinstance(criterion, ExpressionElementRole) or isinstance(criterion, str):
            msg = (
                f"a criterion must be an SQLAlchemy expression such as {model.__name__}.id > 1, "
                f"not {type(criterion).__name__}"
            )
            raise InvalidInputError(msg, field="criteria")
        clauses.append(criterion)  # type: ignore[arg-type]  # checked at run time above
    clauses += [_equality(model, name, value) for name, value in filters.items()]
    return clauses


def _equality(model: type[Any], name: str, value: Any) -> ColumnElement[bool]:
    column = column_of(model, name)
    if value is None:
        return column.is_(None)
    if isinstance(value, list | tuple | set | frozenset):
        return column.in_([_checked(model, name, item) for item in value])
    equality: ColumnElement[bool] = column == _checked(model, name, value)
    return equality


def _checked(model: type[Any], name: str, value: Any) -> Any:
    return validate_values(model, {name: value}, partial=True)[name]


def column_of(model: type[Any], name: object) -> InstrumentedAttribute[Any]:
    """Return the column attribute called ``name``.

    Raises:
        InvalidInputError: The model has no such column; lists those it has.
    """
    mapper: Mapper[Any] = inspect(model)
    if not isinstance(name, str) or name not in mapper.column_attrs:
        known = ", ".join(sorted(mapper.column_attrs.keys()))
        msg = f"{model.__name__} has no column {str(name)[:80]!r}; it has {known}"
        raise InvalidInputError(msg, field=str(name)[:80])
    attribute: InstrumentedAttribute[Any] = getattr(model, name)
    return attribute


def primary_key_of(model: type[Any]) -> list[InstrumentedAttribute[Any]]:
    """Return the attributes of the primary key."""
    mapper: Mapper[Any] = inspect(model)
    return [
        column_of(model, mapper.get_property_by_column(column).key) for column in mapper.primary_key
    ]


def identity_of(model: type[Any], entity_id: Any) -> list[ColumnElement[bool]]:
    """Return the criteria of one primary key, a tuple for a composite one."""
    attributes = primary_key_of(model)
    values = entity_id if isinstance(entity_id, tuple) else (entity_id,)
    if len(values) != len(attributes) or any(value is None for value in values):
        names = ", ".join(attribute.key for attribute in attributes)
        msg = f"the primary key of {model.__name__} is ({names}); give a value for each"
        raise InvalidInputError(msg, field="entity_id")
    pairs = zip(attributes, values, strict=True)
    return [_equality(model, attribute.key, value) for attribute, value in pairs]


def orderings_of(model: type[Any], order_by: OrderBy) -> list[tuple[ColumnElement[Any], bool]]:
    """Return (expression, descending) for each part of ``order_by``.

    Args:
        model: The mapped class.
        order_by: A field name, ``-name`` for descending, a column or an
            ordering expression, or a sequence of these.
    """
    if order_by is None:
        return []
    parts = order_by if isinstance(order_by, list | tuple) else (order_by,)
    return [_ordering(model, part) for part in parts]


def _ordering(model: type[Any], part: Any) -> tuple[ColumnElement[Any], bool]:
    if isinstance(part, str):
        return column_of(model, part.removeprefix("-")).expression, part.startswith("-")
    if isinstance(part, UnaryExpression) and part.modifier in (asc_op, desc_op):
        return part.element, part.modifier is desc_op
    if isinstance(part, InstrumentedAttribute):
        if isinstance(part.property, RelationshipProperty):
            msg = f"{part} is a relationship; order by one of its columns"
            raise InvalidInputError(msg, field="order_by")
        return part.expression, False
    if isinstance(part, ColumnElement):
        return part, False
    msg = f"order_by takes field names and column expressions, not {type(part).__name__}"
    raise InvalidInputError(msg, field="order_by")


def ordered(
    statement: Select[Any], orderings: Iterable[tuple[ColumnElement[Any], bool]], dialect: str
) -> Select[Any]:
    """Add ORDER BY with NULLs last, whatever the backend's own habit."""
    for expression, descending in orderings:
        directed = expression.desc() if descending else expression.asc()
        if not getattr(expression, "nullable", True):
            statement = statement.order_by(directed)
        elif dialect in ("mysql", "mariadb"):
            statement = statement.order_by(expression.is_(None), directed)
        else:
            statement = statement.order_by(nulls_last(directed))
    return statement


def sliced(statement: Select[Any], limit: int | None, offset: int | None) -> Select[Any]:
    """Add LIMIT and OFFSET."""
    for name, value in (("limit", limit), ("offset", offset)):
        if value is not None and not _is_count(value):
            msg = f"{name} must be an integer of at least 0"
            raise InvalidInputError(msg, field=name)
    if limit is not None:
        statement = statement.limit(limit)
    return statement if offset is None else statement.offset(offset)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_LIMIT


def loaded(model: type[Any], statement: Select[Any], load: Load) -> Select[Any]:
    """Add the loading of relationships, one more statement for each.

    Args:
        model: The mapped class.
        statement: The SELECT.
        load: Relationship attributes (``User.strategies``), or loader options
            of SQLAlchemy for paths of several steps.
    """
    if isinstance(load, InstrumentedAttribute | str):
        msg = f"load takes a sequence: load=({model.__name__}.attribute,)"
        raise InvalidInputError(msg, field="load")
    for part in load:
        if isinstance(part, InstrumentedAttribute):
            if not isinstance(part.property, RelationshipProperty):
                msg = f"{part} is no relationship, so there is nothing to load"
                raise InvalidInputError(msg, field="load")
            statement = statement.options(selectinload(part))
        elif hasattr(part, "process_compile_state"):
            statement = statement.options(part)
        else:
            msg = f"load takes relationships such as {model.__name__}.attribute"
            raise InvalidInputError(msg, field="load")
    return statement
