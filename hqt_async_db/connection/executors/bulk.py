"""Many rows in few statements, each of which keeps the loop busy only briefly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from sqlalchemy import Column, Float, insert, inspect, select

from hqt_async_db.connection.executors.fetching import fetch
from hqt_async_db.connection.executors.instances import any_of
from hqt_async_db.connection.pacing import paced
from hqt_async_db.models.types import Double

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Mapper

T = TypeVar("T")
Row = dict[str, Any]
Insert: TypeAlias = "Callable[[Sequence[Row]], Awaitable[Sequence[Any]]]"

# What SQLAlchemy prepares in well under a millisecond; twice as long with RETURNING.
_VALUES_PER_STATEMENT: Final = 1000
_VALUES_PER_RETURNING: Final = 500
# Without it the mapper leaves NULLs out and sends further statements for these rows.
WITH_NULLS: Final = {"render_nulls": True}


async def insert_rows(
    session: AsyncSession,
    model: type[T],
    rows: Sequence[Mapping[str, Any]],
    *,
    returning: bool,
) -> list[T]:
    """Insert rows that were checked; one statement per chunk of them.

    Args:
        session: Where to run; the caller commits.
        model: The mapped class.
        rows: Values by attribute name.
        returning: Whether to return the instances, in the order of the rows.
    """
    await session.flush()
    mapper: Mapper[Any] = inspect(model)
    # The dialect of a manager that has not connected does not know yet what its server can do.
    await session.connection(bind_arguments={"mapper": mapper})
    insert_part = (
        _returning_insert(session, mapper) if returning else _plain_insert(session, mapper)
    )
    stored: dict[int, T] = {}
    for indexes, group in await _groups(mapper, rows):
        for part in chunks(mapper, len(group), returning=returning):
            stored.update(zip(indexes[part], await insert_part(group[part]), strict=False))
    return [stored[index] for index in range(len(stored))]


def _plain_insert(session: AsyncSession, mapper: Mapper[Any]) -> Insert:
    # Half the work of an INSERT through the mapper, which hierarchies need, and first versions.
    is_simple = (
        len(mapper.tables) == 1 and mapper.polymorphic_on is None and not _makes_versions(mapper)
    )
    target: Any = mapper.local_table if is_simple else mapper
    statement = insert(target)
    keys = {prop.key: prop.columns[0].key for prop in mapper.column_attrs} if is_simple else {}
    renamed = any(name != key for name, key in keys.items())

    async def insert_part(rows: Sequence[Row]) -> tuple[()]:
        if renamed:
            rows = [{keys[name]: value for name, value in row.items()} for row in rows]
        await session.execute(statement, rows, execution_options=WITH_NULLS)
        return ()

    return insert_part


def _makes_versions(mapper: Mapper[Any]) -> bool:
    """Tell whether the mapper, and no default of the column, makes the first version of a row."""
    version: Any = mapper.version_id_col
    return version is not None and version.default is None and version.server_default is None


def _returning_insert(session: AsyncSession, mapper: Mapper[Any]) -> Insert:
    dialect = session.get_bind(mapper).dialect
    sorts_by_key = dialect.name == "sqlite" and is_numbered(mapper)
    statement = insert(mapper).returning(mapper, sort_by_parameter_order=not sorts_by_key)

    async def insert_part(rows: Sequence[Row]) -> Sequence[Any]:
        found = await fetch_returned(session, mapper, statement, rows, WITH_NULLS)
        return await in_order(mapper, rows, found) if sorts_by_key else found

    async def flush_part(rows: Sequence[Row]) -> Sequence[Any]:
        added = [mapper.class_(**row) for row in rows]
        session.add_all(added)
        await session.flush()
        await _load_computed(session, mapper, added)
        return added

    return insert_part if dialect.insert_executemany_returning else flush_part


async def fetch_returned(
    session: AsyncSession,
    mapper: Mapper[Any],
    statement: Any,
    rows: Sequence[Row],
    options: Mapping[str, Any],
) -> list[Any]:
    """Return the instances of what a statement returns of the rows that it wrote.

    SQLite keeps a double that is a whole number as an integer, and RETURNING,
    unlike SELECT, gives it as it is kept.
    """
    found = await fetch(session, statement, rows, shape="instances", options=options)
    if session.get_bind(mapper).dialect.name == "sqlite":
        names = [
            attribute.key
            for attribute in mapper.column_attrs
            if isinstance(attribute.columns[0].type, Double | Float)
        ]
        for instance in found:
            values = instance.__dict__
            values.update({n: float(values[n]) for n in names if type(values.get(n)) is int})
    await _load_computed(session, mapper, found)
    return found


async def _load_computed(session: AsyncSession, mapper: Mapper[Any], found: Sequence[Any]) -> None:
    """Read what a SELECT computes, as of a column_property, where a model has such; one more."""
    if all(isinstance(attribute.columns[0], Column) for attribute in mapper.column_attrs):
        return
    keys = [inspect(instance).identity for instance in found]
    statement = select(mapper.class_).where(any_of(mapper.primary_key, keys))
    await fetch(session, statement, shape="instances", options={"populate_existing": True})


def is_numbered(mapper: Mapper[Any]) -> bool:
    """Tell whether the database gives out the primary key, each larger than those before."""
    key: Any = mapper.primary_key[0]
    is_numbered_upwards = key is key.table.autoincrement_column and key.identity is None
    return len(mapper.primary_key) == 1 and is_numbered_upwards


async def in_order(
    mapper: Mapper[Any], rows: Sequence[Mapping[str, Any]], found: Sequence[T]
) -> list[T]:
    """Put instances into the order of their rows.

    RETURNING promises no order, so that SQLAlchemy would fall back to one
    statement per row on SQLite. But SQLite numbers the rows of one INSERT in
    their order, and PostgreSQL in that of the ORDER BY that they come from.
    """
    name = mapper.get_property_by_column(mapper.primary_key[0]).key
    by_key = {getattr(instance, name): instance async for instance in paced(found)}
    keys = (row[name] for row in rows) if name in rows[0] else sorted(by_key)
    return [by_key[key] async for key in paced(keys)]


def chunks(mapper: Mapper[Any], rows: int, *, returning: bool) -> Iterator[slice]:
    """Yield slices of so many rows that a statement is quickly prepared."""
    values = _VALUES_PER_RETURNING if returning else _VALUES_PER_STATEMENT
    size = max(1, values // len(mapper.columns))
    return (slice(start, start + size) for start in range(0, rows, size))


async def groups_of_same_fields(
    rows: Sequence[Mapping[str, Any]],
) -> list[tuple[list[int], list[Row]]]:
    """Return (indexes, rows) of the rows that have the same fields.

    All rows of one statement need the same columns.
    """
    groups: dict[frozenset[str], tuple[list[int], list[Row]]] = {}
    index = 0
    async for row in paced(rows):
        indexes, members = groups.setdefault(frozenset(row), ([], []))
        indexes.append(index)
        members.append(dict(row))
        index += 1
    return list(groups.values())


async def _groups(
    mapper: Mapper[Any], rows: Sequence[Mapping[str, Any]]
) -> list[tuple[list[int], list[Row]]]:
    """Group the rows, after writing out the NULLs that some of them leave out."""
    groups = await groups_of_same_fields(rows)
    if len(groups) == 1:
        return groups
    names = {name for _, members in groups for name in members[0]}
    blank = {name: None for name in names if _is_null_by_default(mapper, name)}
    return await groups_of_same_fields([{**blank, **row} for row in rows])


def _is_null_by_default(mapper: Mapper[Any], name: str) -> bool:
    column = mapper.columns.get(name)
    return (
        isinstance(column, Column)
        and bool(column.nullable)
        and column.default is None
        and column.server_default is None
    )
