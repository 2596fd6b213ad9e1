"""From names and values to a SELECT, refused before any SQL runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, TypedDict, TypeVar

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Select,
    false,
    inspect,
    literal,
    nulls_last,
    or_,
    select,
)
from sqlalchemy.orm import InstrumentedAttribute, RelationshipProperty, selectinload
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import asc_op, desc_op, nulls_first_op, nulls_last_op
from sqlalchemy.sql.roles import ExpressionElementRole

from hqt_async_db.errors import InvalidInputError
from hqt_async_db.models.types import ColumnType
from hqt_async_db.models.validation import is_sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Dialect
    from sqlalchemy.orm import Mapper
    from sqlalchemy.orm.interfaces import ORMOption

T = TypeVar("T")

Ordering: TypeAlias = "str | ColumnElement[Any] | InstrumentedAttribute[Any]"
OrderBy: TypeAlias = "Ordering | Sequence[Ordering] | None"
Directed: TypeAlias = "tuple[ColumnElement[Any], bool]"
Load: TypeAlias = "Sequence[InstrumentedAttribute[Any] | ORMOption]"

# Servers take both as a 32-bit parameter.
_MAX_LIMIT: Final = 2**31 - 2
# Each is a parameter of its own, which costs 1 to 3 µs of the loop's time.
_MAX_VALUES: Final = 500
_SHOWN: Final = 80


class ReadOptions(TypedDict, total=False):
    """What every query for several rows takes beside its own arguments.

    Attributes:
        order_by: See :meth:`BaseRepository.get_many`.
        limit: Rows at most.
        offset: Rows to skip.
        for_update: Lock the rows until the session ends its transaction.
        load: Relationships to load with them.
    """

    order_by: OrderBy
    limit: int | None
    offset: int | None
    for_update: bool
    load: Load


def given(**filters: Any) -> dict[str, Any]:
    """Return the filters that were given: for optional arguments of a query."""
    return {name: value for name, value in filters.items() if value is not None}


def within(
    column: InstrumentedAttribute[Any], start: datetime | None, end: datetime | None
) -> list[ColumnElement[bool]]:
    """Return the criteria for times from ``start`` to before ``end``."""
    first = [] if start is None else [column >= start]
    return first if end is None else [*first, column < end]


# -- criteria --------------------------------------------------------------


def criteria_of(
    model: type[Any], criteria: Iterable[Any], filters: Mapping[str, Any], dialect: Dialect
) -> list[ColumnElement[bool]]:
    """Return WHERE criteria from SQLAlchemy expressions and keyword equality.

    A keyword with None means IS NULL; a list, tuple or set means IN, and a
    None in it IS NULL as well.
    """
    clauses = [_expression(model, criterion) for criterion in criteria]
    clauses += [_equality(model, name, value, dialect) for name, value in filters.items()]
    return clauses


def _expression(model: type[Any], criterion: Any) -> ColumnElement[bool]:
    is_expression = isinstance(criterion, ExpressionElementRole) and not isinstance(criterion, str)
    if not is_expression or _is_relationship(criterion):
        msg = (
            f"a criterion must be an SQLAlchemy expression such as {model.__name__}.id > 1, "
            f"not {type(criterion).__name__}"
        )
        raise InvalidInputError(msg, field="criteria")
    expression: ColumnElement[bool] = criterion
    _refuse_other_tables(model, expression, "a criterion", "criteria")
    return expression


def _refuse_other_tables(
    model: type[Any], expression: ColumnElement[Any], kind: str, field: str
) -> None:
    """Refuse what is about another table: joined to nothing, each row meets all of its rows."""
    own = {table.key for table in inspect(model).tables}
    for source in select(literal(1)).where(expression).get_final_froms():
        if getattr(source, "key", None) not in own:
            msg = (
                f"{kind} is about {getattr(source, 'name', 'another table')}, not about "
                f"{model.__name__}; relate the two with exists(), in_() or a scalar_subquery()"
            )
            raise InvalidInputError(msg, field=field)


def _equality(model: type[Any], name: str, value: Any, dialect: Dialect) -> ColumnElement[bool]:
    column = column_of(model, name)
    if value is None:
        return column.is_(None)
    if holds_json(column):
        _refuse(f"{name} holds JSON; compare one of its entries, in a criterion", name)
    if isinstance(value, list | tuple | set | frozenset):
        return _membership(column, value, dialect)
    return _equals(column, value, dialect)


def holds_json(column: ColumnElement[Any] | InstrumentedAttribute[Any]) -> bool:
    """Tell whether a column holds JSON, which PostgreSQL does not compare and others as text."""
    return isinstance(column.type, JSON) or isinstance(getattr(column.type, "impl", None), JSON)


def _equals(
    column: InstrumentedAttribute[Any], value: Any, dialect: Dialect
) -> ColumnElement[bool]:
    equality: ColumnElement[bool] = column == checker_of(column, dialect)(value)
    return equality


def _membership(
    column: InstrumentedAttribute[Any], values: Iterable[Any], dialect: Dialect
) -> ColumnElement[bool]:
    wanted = list(values)
    if len(wanted) > _MAX_VALUES:
        _refuse(f"{column.key} takes {_MAX_VALUES} values at most, not {len(wanted)}", column.key)
    check = checker_of(column, dialect)
    checked = [check(value) for value in wanted if value is not None]
    is_any = column.in_(checked) if checked else false()
    return or_(is_any, column.is_(None)) if len(checked) < len(wanted) else is_any


def checker_of(column: InstrumentedAttribute[Any], dialect: Dialect) -> Callable[[Any], Any]:
    """Return what turns a value into what the column holds; stock types take any."""
    kind = column.type
    if not isinstance(kind, ColumnType):
        return lambda value: value
    coerce = kind.coerce
    return lambda value: value if is_sql(value) else coerce(value, dialect)


def column_of(model: type[Any], name: object) -> InstrumentedAttribute[Any]:
    """Return the column attribute called ``name``.

    Raises:
        InvalidInputError: The model has no such column; lists those it has.
    """
    mapper: Mapper[Any] = inspect(model)
    if not isinstance(name, str) or name not in mapper.column_attrs:
        known = ", ".join(sorted(mapper.column_attrs.keys()))
        shown = str(name)[:_SHOWN]
        _refuse(f"{model.__name__} has no column {shown!r}; it has {known}", shown)
    attribute: InstrumentedAttribute[Any] = getattr(model, name)
    return attribute


def columns_of(model: type[Any]) -> list[InstrumentedAttribute[Any]]:
    """Return the attributes of all columns but secret ones, in their order.

    A row prints itself with its values; a column whose ``info`` says
    ``{"secret": True}`` is only in it when it is asked for by name.
    """
    mapper: Mapper[Any] = inspect(model)
    return [
        getattr(model, prop.key)
        for prop in mapper.column_attrs
        # An expression, as of a column_property, has no info.
        if not getattr(prop.columns[0], "info", {}).get("secret")
    ]


def primary_key_of(model: type[Any]) -> list[InstrumentedAttribute[Any]]:
    """Return the attributes of the primary key."""
    mapper: Mapper[Any] = inspect(model)
    return [
        getattr(model, mapper.get_property_by_column(column).key) for column in mapper.primary_key
    ]


# -- order -----------------------------------------------------------------


def orderings_of(model: type[Any], order_by: OrderBy) -> list[Directed]:
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


def _ordering(model: type[Any], part: Any) -> Directed:
    if isinstance(part, str):
        column = column_of(model, part.removeprefix("-")).expression
        _refuse_json(column)
        return column, part.startswith("-")
    descending = False
    while isinstance(part, UnaryExpression) and part.modifier in (asc_op, desc_op, nulls_last_op):
        descending = descending or part.modifier is desc_op
        part = part.element
    if isinstance(part, UnaryExpression) and part.modifier is nulls_first_op:
        _refuse("NULLs always come last; leave nulls_first() out", "order_by")
    expression = part.expression if isinstance(part, InstrumentedAttribute) else part
    if _is_relationship(part) or not isinstance(expression, ColumnElement):
        kind = "a relationship" if _is_relationship(part) else type(part).__name__
        _refuse(f"order_by takes field names and column expressions, not {kind}", "order_by")
    if isinstance(expression, Column) and expression.table not in inspect(model).tables:
        _refuse(f"{expression} is no column of {model.__name__}", "order_by")
    _refuse_json(expression)
    _refuse_other_tables(model, expression, "an ordering", "order_by")
    return expression, descending


def _refuse_json(expression: ColumnElement[Any]) -> None:
    if holds_json(expression):
        _refuse(
            f"cannot order by {expression}: JSON has no order; take an entry, such as as_string()",
            "order_by",
        )


def with_tie_break(model: type[Any], orderings: Iterable[Directed]) -> list[Directed]:
    """Add the primary key, so that the order of any two rows is certain.

    It goes down where all else does, so that one index serves both.
    """
    complete = list(orderings)
    known = {expression for expression, _ in complete}
    descending = bool(complete) and all(down for _, down in complete)
    keys = [attribute.expression for attribute in primary_key_of(model)]
    return complete + [(key, descending) for key in keys if key not in known]


def ordered(statement: Select[Any], orderings: Iterable[Directed], dialect: Dialect) -> Select[Any]:
    """Add ORDER BY with NULLs last, whatever the backend's own habit."""
    for expression, descending in orderings:
        directed = expression.desc() if descending else expression.asc()
        if not getattr(expression, "nullable", True):
            statement = statement.order_by(directed)
        elif dialect.name in ("mysql", "mariadb"):
            statement = statement.order_by(expression.is_(None), directed)
        else:
            statement = statement.order_by(nulls_last(directed))
    return statement


# -- the rest --------------------------------------------------------------


def require_count(name: str, value: Any, *, at_least: int = 0) -> int:
    """Return ``value`` if it is a number of rows."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not is_number or not at_least <= value <= _MAX_LIMIT:
        _refuse(f"{name} must be an integer from {at_least} to {_MAX_LIMIT}", name)
    count: int = value
    return count


def loaded(model: type[Any], statement: Select[Any], load: Load) -> Select[Any]:
    """Add the loading of relationships, one more statement for each.

    Args:
        model: The mapped class.
        statement: The SELECT.
        load: Relationship attributes (``User.strategies``), or loader options
            of SQLAlchemy for paths of several steps.
    """
    if not isinstance(load, list | tuple):
        _refuse(f"load takes a tuple: load=({model.__name__}.attribute,)", "load")
    return statement.options(*(_option(model, part) for part in load)) if load else statement


def _option(model: type[Any], part: Any) -> Any:
    if hasattr(part, "process_compile_state"):
        return part
    if not _is_relationship(part) or not issubclass(model, part.class_):
        _refuse(f"load takes relationships of {model.__name__}, or loader options", "load")
    return selectinload(part)


def _is_relationship(part: Any) -> bool:
    return isinstance(part, InstrumentedAttribute) and isinstance(
        part.property, RelationshipProperty
    )


def _refuse(message: str, field: str) -> NoReturn:
    raise InvalidInputError(message, field=field)
