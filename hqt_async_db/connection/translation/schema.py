"""Table, columns and key of a violated constraint, looked up in the metadata.

Each database names a different part: SQLite the columns of a unique key and
nothing of a foreign key, MariaDB the key without its table, PostgreSQL both.
The statement's own table and the metadata of the models fill in the rest, so
that an error's attributes are the same everywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    Table,
    UniqueConstraint,
)

from hqt_async_db.connection.translation import findings
from hqt_async_db.errors import ForeignKeyViolationError, IntegrityViolationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Constraint
    from sqlalchemy.engine import ExecutionContext

    from hqt_async_db.connection.translation.findings import Finding

_MYSQL_PRIMARY: Final = "PRIMARY"
_WORD: Final = re.compile(r"\w+")
# Longer names end in "_" and four hexadecimal digits of their hash.
_HASHED_SUFFIX: Final = 5
_SHORTEST_LIMIT: Final = 63


@dataclass(frozen=True, slots=True)
class Statement:
    """The INSERT, UPDATE or DELETE that failed.

    Attributes:
        table: The table it writes.
        verb: ``insert``, ``update`` or ``delete``.
        given: Names of the columns that it gives a value other than NULL.
    """

    table: Table
    verb: Literal["insert", "update", "delete"]
    given: frozenset[str] = frozenset()


class _Key(NamedTuple):
    table: str
    columns: tuple[str, ...]
    name: str | None


def statement_of(context: ExecutionContext | None) -> Statement | None:
    """Return what an execution wrote, None for a read or for textual SQL."""
    compiled: Any = getattr(context, "compiled", None)
    table = getattr(getattr(compiled, "statement", None), "table", None)
    if not isinstance(table, Table):
        return None
    parameters = getattr(context, "compiled_parameters", None) or ()
    given = {name for row in parameters for name, value in row.items() if value is not None}
    if compiled.isinsert:
        return Statement(table, "insert", frozenset(given))
    return Statement(table, "update" if compiled.isupdate else "delete", frozenset(given))


def complete(found: Finding, statement: Statement | None) -> Finding:
    """Return ``found`` with table, columns and key as far as they are known."""
    if found.verdict in (findings.NOT_NULL, findings.VALUE):
        return _with_table(found, statement)
    if not issubclass(found.verdict.error, IntegrityViolationError):
        return found
    match = _named(found, statement) if found.key else _unnamed(found, statement)
    if match is not None:
        key = match.name or found.key
        found = replace(found, table=match.table, columns=match.columns, key=key)
    elif found.key == _MYSQL_PRIMARY and found.table is None and statement is not None:
        found = replace(found, table=statement.table.name)
    return _with_direction(found, statement)


def _with_direction(found: Finding, statement: Statement | None) -> Finding:
    """Say which side of a foreign key failed, if the statement tells it."""
    if found.verdict is not findings.FOREIGN_KEY or statement is None:
        return found
    if statement.verb == "delete":
        return replace(found, verdict=findings.STILL_REFERRED_TO)
    if statement.verb == "insert":
        return replace(found, verdict=findings.PARENT_MISSING)
    return found


def _with_table(found: Finding, statement: Statement | None) -> Finding:
    if found.table is not None or not found.columns or statement is None:
        return found
    return replace(found, table=statement.table.name)


def _named(found: Finding, statement: Statement | None) -> _Key | None:
    """Find the constraint by its name; MySQL calls each primary key PRIMARY."""
    primary = found.key == _MYSQL_PRIMARY
    if primary and found.table is None and statement is not None:
        found = replace(found, table=statement.table.name)
    matches = [
        key
        for table in _tables(statement)
        if found.table in (None, table.name)
        for key in _keys(table)
        if (primary and found.table and key == _primary_key(table))
        or (key.name is not None and _is_same_name(key.name, found.key or ""))
    ]
    return matches[0] if len(set(matches)) == 1 else None


def _unnamed(found: Finding, statement: Statement | None) -> _Key | None:
    if issubclass(found.verdict.error, ForeignKeyViolationError):
        return _foreign_key(statement)
    matches = {
        key
        for table in _tables(statement)
        if table.name == found.table
        for key in _unique_keys(table)
        if sorted(key.columns) == sorted(found.columns)
    }
    return matches.pop() if len(matches) == 1 else None


def _foreign_key(statement: Statement | None) -> _Key | None:
    """Find the one foreign key that the statement can have violated.

    SQLite does not say which. If several qualify, the table may still be
    certain.
    """
    if statement is None:
        return None
    keys = list(_incoming(statement) if statement.verb == "delete" else _outgoing(statement))
    if not keys:
        return None
    if len(keys) == 1:
        return keys[0]
    tables = {key.table for key in keys}
    return _Key(tables.pop(), (), None) if len(tables) == 1 else None


def _outgoing(statement: Statement) -> Iterator[_Key]:
    for constraint in statement.table.foreign_key_constraints:
        key = _key(statement.table, constraint)
        if not statement.given or statement.given.issuperset(key.columns):
            yield key


def _incoming(statement: Statement) -> Iterator[_Key]:
    for table in statement.table.metadata.tables.values():
        for constraint in table.foreign_key_constraints:
            resolves_itself = (constraint.ondelete or "").upper() in {
                "CASCADE",
                "SET NULL",
                "SET DEFAULT",
            }
            if constraint.referred_table is statement.table and not resolves_itself:
                yield _key(table, constraint)


def _tables(statement: Statement | None) -> Iterator[Table]:
    if statement is not None:
        yield from statement.table.metadata.tables.values()
    # Late, because the models must not be loaded for the sake of an error
    # that never happens.
    from hqt_async_db.models.base import Base  # noqa: PLC0415

    if statement is None or statement.table.metadata is not Base.metadata:
        yield from Base.metadata.tables.values()


def _keys(table: Table) -> Iterator[_Key]:
    yield from _unique_keys(table)
    of_columns = (constraint for column in table.columns for constraint in column.constraints)
    for constraint in (*table.constraints, *of_columns):
        if isinstance(constraint, ForeignKeyConstraint | CheckConstraint):
            yield _key(table, constraint)


def _unique_keys(table: Table) -> Iterator[_Key]:
    yield _primary_key(table)
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield _key(table, constraint)
    for index in table.indexes:
        if index.unique:
            columns = tuple(column.name for column in index.columns)
            yield _Key(table.name, columns, index.name and str(index.name))


def _primary_key(table: Table) -> _Key:
    return _key(table, table.primary_key)


def _key(table: Table, constraint: Constraint) -> _Key:
    name = str(constraint.name) if isinstance(constraint.name, str) else None
    return _Key(table.name, _columns_of(table, constraint), name)


def _columns_of(table: Table, constraint: Constraint) -> tuple[str, ...]:
    if isinstance(constraint, CheckConstraint):
        # A check written as text knows no columns; its words do.
        words = _WORD.findall(str(constraint.sqltext))
        return tuple(dict.fromkeys(word for word in words if word in table.columns))
    columns = constraint.columns  # type: ignore[attr-defined]  # every kind seen here has them
    return tuple(column.name for column in columns)


def _is_same_name(name: str, reported: str) -> bool:
    """Compare names, one of which the database may have had cut to its limit."""
    if name == reported:
        return True
    stem = reported[:-_HASHED_SUFFIX]
    return len(name) > _SHORTEST_LIMIT - _HASHED_SUFFIX and bool(stem) and name.startswith(stem)
