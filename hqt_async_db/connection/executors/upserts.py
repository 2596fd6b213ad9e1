"""Insert or update, atomically, in the way of each backend."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import merge
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import Column, UniqueConstraint, insert, inspect, literal_column, select
from sqlalchemy.dialects import mysql, postgresql, sqlite

from hqt_async_db.connection.executors.bulk import (
    WITH_NULLS,
    chunks,
    fetch_returned,
    groups_of_same_fields,
)
from hqt_async_db.connection.executors.fetching import fetch
from hqt_async_db.connection.executors.instances import any_of
from hqt_async_db.connection.executors.many_rows import counted_version, require_one_table
from hqt_async_db.connection.pacing import paced
from hqt_async_db.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Executable, Index
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Mapper

T = TypeVar("T")
Row = dict[str, Any]
Key = tuple[Any, ...]

_INSERTS: Final[dict[str, Callable[[Any], Any]]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}
# In a fifth of a millisecond.
_SORTED_AT_ONCE: Final = 500
_FRESH: Final = {"populate_existing": True}


def require_unique_key(model: type[Any], fields: Iterable[str]) -> tuple[str, ...]:
    """Return ``fields`` if they are exactly a unique key of the model.

    Raises:
        InvalidInputError: They are not; lists the keys that are.
    """
    mapper: Mapper[Any] = inspect(model)
    is_sequence = isinstance(fields, Iterable) and not isinstance(fields, str)
    if not is_sequence or not all(isinstance(field, str) for field in fields):
        msg = "match_fields must be a sequence of field names"
        raise InvalidInputError(msg, field="match_fields")
    require_one_table(mapper, "upsert")
    counted_version(mapper, "upsert")
    wanted = tuple(dict.fromkeys(fields))
    keys = _unique_keys(mapper)
    if frozenset(wanted) not in keys:
        known = "; ".join(sorted(", ".join(sorted(key)) for key in keys))
        msg = f"match_fields must be the fields of a unique key of {model.__name__}: {known}"
        raise InvalidInputError(msg, field="match_fields")
    return wanted


def _unique_keys(mapper: Mapper[Any]) -> set[frozenset[str]]:
    table: Any = mapper.local_table
    groups = [tuple(mapper.primary_key)]
    groups += [
        tuple(constraint.columns)
        for constraint in table.constraints
        if isinstance(constraint, UniqueConstraint)
    ]
    groups += [tuple(index.columns) for index in table.indexes if _is_key(index)]
    names: dict[ColumnElement[Any], str] = {
        column: attribute.key for attribute in mapper.column_attrs for column in attribute.columns
    }
    return {
        frozenset(names[column] for column in group)
        for group in groups
        if all(column in names for column in group)
    }


def _is_key(index: Index) -> bool:
    """Tell whether no two rows at all may have the same values in the index."""
    is_partial = any(
        index.dialect_options[name].get("where") is not None for name in ("postgresql", "sqlite")
    )
    return index.unique and not is_partial and all(isinstance(c, Column) for c in index.expressions)


async def upsert_rows(
    session: AsyncSession,
    model: type[T],
    rows: Sequence[Mapping[str, Any]],
    match: tuple[str, ...],
) -> list[T]:
    """Insert the rows, or update those whose unique key exists.

    One statement per chunk of rows on SQLite and PostgreSQL. On MySQL and
    MariaDB, whose ON DUPLICATE KEY may rewrite another row through another
    unique key, existing rows are locked first: at least three a chunk.

    Args:
        session: Where to run; the caller commits.
        model: The mapped class.
        rows: Complete rows by attribute name.
        match: The attributes of the unique key.

    Returns:
        The instances, in the order of the rows.

    Raises:
        InvalidInputError: Two rows have the same key, or a key has a NULL.
    """
    keys = await keys_of(rows, match)
    await session.flush()
    is_atomic = session.get_bind(model).dialect.name in _INSERTS
    kind = _AtomicUpsert if is_atomic else _LockingUpsert
    found: list[T] = []
    for _, group in await groups_of_same_fields(rows):
        upsert = kind(session, model, tuple(group[0]), match)
        for part in chunks(inspect(model), len(group), returning=True):
            # In one order everywhere, two tasks wait for each other less often.
            chunk = sorted(group[part], key=lambda row: _key(row, match))
            found += await upsert.run(chunk)
    return await in_order_of(keys, found, match)


async def in_order_of_locks(
    rows: Sequence[Mapping[str, Any]], match: tuple[str, ...]
) -> list[list[Row]]:
    """Return the rows in groups of the same fields, each in the order of the keys.

    In one order everywhere, two tasks wait for each other less often.
    """

    def key(row: Row) -> Key:
        return _key(row, match)

    groups: list[list[Row]] = []
    for _, group in await groups_of_same_fields(rows):
        parts = range(0, len(group), _SORTED_AT_ONCE)
        runs = [sorted(group[n : n + _SORTED_AT_ONCE], key=key) async for n in paced(parts)]
        groups.append([row async for row in paced(merge(*runs, key=key))])
    return groups


async def in_order_of(keys: Sequence[Key], found: Sequence[T], match: tuple[str, ...]) -> list[T]:
    """Return instances in the order of the keys of their rows."""
    stored = {_key_of(instance, match): instance async for instance in paced(found)}
    return [_stored(stored, key, match) async for key in paced(keys)]


def _stored(stored: Mapping[Key, T], key: Key, match: tuple[str, ...]) -> T:
    if key not in stored:  # of a column type that is not ours
        msg = f"the database returned other values of {', '.join(match)} than it was given"
        raise InvalidInputError(msg, field=match[0])
    return stored[key]


async def keys_of(rows: Sequence[Mapping[str, Any]], match: tuple[str, ...]) -> list[Key]:
    """Return the key of each row.

    Raises:
        InvalidInputError: Two rows have the same key, or a key has a NULL.
    """
    keys: list[Key] = []
    seen: dict[Key, int] = {}
    async for row in paced(rows):
        for name in match:
            if row.get(name) is None:
                msg = f"{name} is part of the key to match and must have a value"
                raise InvalidInputError(msg, field=name)
        keys.append(_key(row, match))
        first = seen.setdefault(keys[-1], len(keys) - 1)
        if first != len(keys) - 1:
            msg = f"rows {first} and {len(keys) - 1} have the same key; which one should win?"
            raise InvalidInputError(msg, field="rows")
    return keys


def _key(row: Mapping[str, Any], match: tuple[str, ...]) -> Key:
    return tuple(row[name] for name in match)


def _key_of(instance: object, match: tuple[str, ...]) -> Key:
    return tuple(getattr(instance, name) for name in match)


class _AtomicUpsert:
    """INSERT … ON CONFLICT DO UPDATE … RETURNING."""

    def __init__(
        self,
        session: AsyncSession,
        model: type[Any],
        names: tuple[str, ...],
        match: tuple[str, ...],
    ) -> None:
        self._session = session
        self._mapper = mapper = inspect(model)
        statement = _INSERTS[session.get_bind(model).dialect.name](model)
        statement = statement.on_conflict_do_update(
            index_elements=[mapper.columns[name] for name in match],
            set_=changes_of(mapper, names, match, statement.excluded),
        )
        self._statement = statement.returning(model)

    async def run(self, rows: Sequence[Row]) -> Sequence[Any]:
        """Write rows of the same fields; return their instances, in any order."""
        options = WITH_NULLS | _FRESH
        return await fetch_returned(self._session, self._mapper, self._statement, rows, options)


class _LockingUpsert:
    """Lock what exists and update it, insert the rest: for MySQL and MariaDB."""

    def __init__(
        self,
        session: AsyncSession,
        model: type[Any],
        names: tuple[str, ...],
        match: tuple[str, ...],
    ) -> None:
        self._session = session
        self._model = model
        self._match = match
        mapper: Mapper[Any] = inspect(model)
        self._columns = [mapper.columns[name] for name in match]
        self._primary = [mapper.get_property_by_column(key).key for key in mapper.primary_key]
        # A plain INSERT would leave a shared lock on what others inserted; two
        # tasks that then want it for themselves wait for each other.
        first = mapper.primary_key[0]
        self._insert_if_new = mysql.insert(model).on_duplicate_key_update({first.key: first})
        statement = mysql.insert(model)
        changes = changes_of(mapper, names, match, statement.inserted)
        self._rewrite_by_key = statement.on_duplicate_key_update(changes)

    async def run(self, rows: Sequence[Row]) -> Sequence[Any]:
        """Write rows of the same fields; return their instances, in any order."""
        stored = await self._lock(rows)
        new = [row for row in rows if _key(row, self._match) not in stored]
        outdated = [row for row in rows if _key(row, self._match) in stored]
        if new:
            stored |= await self._insert(new)
            # Somebody else may have been quicker; to rewrite an equal row is needless.
            outdated += [row for row in new if _differs(stored[_key(row, self._match)], row)]
        if outdated:
            stored |= await self._rewrite(outdated, stored)
        return list(stored.values())

    async def _lock(self, rows: Sequence[Row]) -> dict[Key, Any]:
        """Return the rows that exist, by key, locked."""
        keys = [_key(row, self._match) for row in rows]
        statement = select(self._model).where(any_of(self._columns, keys)).with_for_update()
        found = await fetch(self._session, statement, shape="instances", options=_FRESH)
        return {_key_of(instance, self._match): instance for instance in found}

    async def _insert(self, rows: Sequence[Row]) -> dict[Key, Any]:
        """Insert rows; return them, or those that others inserted meanwhile."""
        await self._execute(self._insert_if_new, rows)
        stored = await self._lock(rows)
        refused = [row for row in rows if _key(row, self._match) not in stored]
        if refused:  # by another unique key: this raises the error that says which
            await self._execute(insert(self._model), refused)
        return stored

    async def _rewrite(self, rows: Sequence[Row], stored: Mapping[Key, Any]) -> dict[Key, Any]:
        """Update rows that are locked, through their primary key."""
        complete = []
        for row in rows:
            instance = stored[_key(row, self._match)]
            complete.append(row | {name: getattr(instance, name) for name in self._primary})
        await self._execute(self._rewrite_by_key, complete)
        return await self._lock(rows)

    async def _execute(self, statement: Executable, rows: Sequence[Row]) -> None:
        await self._session.execute(statement, rows, execution_options=WITH_NULLS)


def _differs(instance: object, row: Row) -> bool:
    return any(getattr(instance, name) != value for name, value in row.items())


def changes_of(
    mapper: Mapper[Any], names: tuple[str, ...], match: tuple[str, ...], proposed: Any
) -> dict[str, Any]:
    """Return what an existing row is set to, by column key."""
    changes: dict[str, Any] = {}
    version = counted_version(mapper, "upsert")
    for attribute in mapper.column_attrs:
        column = attribute.columns[0]
        if not isinstance(column, Column) or attribute.key in match or column.primary_key:
            continue
        if column is version:
            # No parameter: asyncmy looks for all of them among the VALUES.
            changes[column.key] = column + literal_column("1")
        elif attribute.key in names:
            changes[column.key] = proposed[column.key]
        elif column.onupdate is not None:
            changes[column.key] = _on_update(column, proposed)
    # Something must be set, or the database would return nothing.
    first = mapper.columns[match[0]].key
    return changes or {first: proposed[first]}


def is_fixed_on_update(mapper: Mapper[Any], names: tuple[str, ...], match: tuple[str, ...]) -> bool:
    """Tell whether :func:`changes_of` says the same of every statement."""
    return not any(
        prop.columns[0].onupdate is not None
        and prop.columns[0].onupdate.is_callable
        and prop.columns[0].default is None
        for prop in mapper.column_attrs
        if isinstance(prop.columns[0], Column) and prop.key not in (*names, *match)
    )


def _on_update(column: Column[Any], proposed: Any) -> Any:
    """Return the value that an UPDATE gives the column by itself."""
    default: Any = column.onupdate
    if column.default is not None and not default.is_clause_element:
        return proposed[column.key]  # as fresh as the statement
    return default.arg(None) if default.is_callable else default.arg
