"""Insert or update, atomically, in the way of each backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import UniqueConstraint, insert, inspect, select, tuple_
from sqlalchemy.dialects import mysql, postgresql, sqlite

from hqt_async_db.errors import DuplicateKeyError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Table
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Mapper

T = TypeVar("T")

# Parameters per statement are limited: 32766 on SQLite, 32767 on PostgreSQL.
_MAX_PARAMETERS: Final = 30_000
_INSERT_ATTEMPTS: Final = 3
_INSERTS: Final = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def require_unique_key(model: type[Any], fields: Iterable[str]) -> tuple[str, ...]:
    """Return ``fields`` if they are exactly a unique key of the model.

    Raises:
        InvalidInputError: They are not; lists the keys that are.
    """
    mapper: Mapper[Any] = inspect(model)
    wanted = tuple(dict.fromkeys(fields))
    keys = _unique_keys(mapper)
    if frozenset(wanted) not in keys:
        known = "; ".join(sorted(", ".join(sorted(key)) for key in keys))
        msg = f"match_fields must be a unique key of {model.__name__}: {known}"
        raise InvalidInputError(msg, field="match_fields")
    return wanted


def _unique_keys(mapper: Mapper[Any]) -> set[frozenset[str]]:
    table: Table = mapper.local_table  # type: ignore[assignment]  # a mapped class has a Table
    groups = [tuple(mapper.primary_key)]
    groups += [
        tuple(constraint.columns)
        for constraint in table.constraints
        if isinstance(constraint, UniqueConstraint)
    ]
    groups += [tuple(index.columns) for index in table.indexes if index.unique]
    return {
        frozenset(mapper.get_property_by_column(column).key for column in group)
        for group in groups
    }


async def upsert_rows(
    session: AsyncSession,
    model: type[T],
    rows: Sequence[Mapping[str, Any]],
    match: tuple[str, ...],
) -> list[T]:
    """Insert the rows, or update those whose unique key exists.

    One statement per chunk of rows on SQLite and PostgreSQL. On MySQL and
    MariaDB, whose ON DUPLICATE KEY may rewrite another row through another
    unique key, the existing rows are locked first: four statements a chunk.

    Args:
        session: Where to run; the caller commits.
        model: The mapped class.
        rows: Complete rows by attribute name, all with the same names.
        match: The attributes of the unique key.

    Returns:
        The instances, in the order of the rows.

    Raises:
        InvalidInputError: Two rows have the same key.
    """
    await session.flush()
    write = _on_conflict if session.get_bind().dialect.name in _INSERTS else _locking
    size = max(1, _MAX_PARAMETERS // len(inspect(model).columns))
    stored: dict[tuple[Any, ...], T] = {}
    keys = [_key(row, match) for row in rows]
    _refuse_duplicates(keys)
    for start in range(0, len(rows), size):
        for instance in await write(session, model, rows[start : start + size], match):
            stored[tuple(getattr(instance, name) for name in match)] = instance
    return [stored[key] for key in keys]


def _key(row: Mapping[str, Any], match: tuple[str, ...]) -> tuple[Any, ...]:
    for name in match:
        if row.get(name) is None:
            msg = f"{name} is part of the key to match and must have a value"
            raise InvalidInputError(msg, field=name)
    return tuple(row[name] for name in match)


def _refuse_duplicates(keys: Sequence[tuple[Any, ...]]) -> None:
    seen: dict[tuple[Any, ...], int] = {}
    for index, key in enumerate(keys):
        if key in seen:
            msg = f"rows {seen[key]} and {index} have the same key; which one should win?"
            raise InvalidInputError(msg, field="rows")
        seen[key] = index


async def _on_conflict(
    session: AsyncSession,
    model: type[T],
    rows: Sequence[Mapping[str, Any]],
    match: tuple[str, ...],
) -> Sequence[T]:
    mapper: Mapper[Any] = inspect(model)
    statement = _INSERTS[session.get_bind().dialect.name](model)
    statement = statement.on_conflict_do_update(
        index_elements=[mapper.columns[name] for name in match],
        set_=_changes(mapper, rows[0], match, statement.excluded),
    )
    result = await session.scalars(
        statement.returning(model), list(rows), execution_options={"populate_existing": True}
    )
    return result.all()


def _changes(
    mapper: Mapper[Any], row: Mapping[str, Any], match: tuple[str, ...], proposed: Any
) -> dict[str, Any]:
    """Return what an existing row is set to, by column name."""
    changes: dict[str, Any] = {}
    for prop in mapper.column_attrs:
        column: Any = prop.columns[0]
        if column is mapper.version_id_col:
            changes[column.name] = column + 1
        elif prop.key in row or (column.onupdate is not None and column.default is not None):
            changes[column.name] = proposed[column.name]
    key_columns = {mapper.columns[name].name for name in match}
    # Something must be set, or the database would return nothing.
    return {
        name: value for name, value in changes.items() if name not in key_columns
    } or changes


async def _locking(
    session: AsyncSession,
    model: type[T],
    rows: Sequence[Mapping[str, Any]],
    match: tuple[str, ...],
) -> Sequence[T]:
    for _ in range(_INSERT_ATTEMPTS):
        existing = await _lock(session, model, rows, match)
        missing = [row for row in rows if _key(row, match) not in existing]
        if await _try_insert(session, model, missing):
            break
    mapper: Mapper[Any] = inspect(model)
    updates = [
        {**row, **existing[key]} for row in rows if (key := _key(row, match)) in existing
    ]
    if updates:
        statement = mysql.insert(model)
        changes = _changes(mapper, rows[0], match, statement.inserted)
        await session.execute(statement.on_duplicate_key_update(changes), updates)
    found = select(model).where(_matches(mapper, rows, match))
    result = await session.scalars(found, execution_options={"populate_existing": True})
    return result.all()


async def _lock(
    session: AsyncSession,
    model: type[Any],
    rows: Sequence[Mapping[str, Any]],
    match: tuple[str, ...],
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Lock the rows that exist; return their primary keys by unique key."""
    mapper: Mapper[Any] = inspect(model)
    primary = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    columns = [mapper.columns[name] for name in (*match, *primary)]
    statement = select(*columns).where(_matches(mapper, rows, match)).with_for_update()
    width = len(match)
    return {
        tuple(row[:width]): dict(zip(primary, row[width:], strict=True))
        for row in await session.execute(statement)
    }


async def _try_insert(
    session: AsyncSession, model: type[Any], rows: Sequence[Mapping[str, Any]]
) -> bool:
    """Insert; False if somebody else inserted one of the rows meanwhile."""
    if not rows:
        return True
    try:
        async with session.begin_nested():
            await session.execute(insert(model), list(rows))
    except DuplicateKeyError:
        return False
    return True


def _matches(
    mapper: Mapper[Any], rows: Sequence[Mapping[str, Any]], match: tuple[str, ...]
) -> ColumnElement[bool]:
    columns = [mapper.columns[name] for name in match]
    if len(columns) == 1:
        return columns[0].in_([row[match[0]] for row in rows])
    return tuple_(*columns).in_([_key(row, match) for row in rows])
