"""Table, columns and key of a violated constraint, looked up in the metadata.

Each database names a different part: SQLite the columns of a unique key and
nothing of a foreign key, MariaDB the key without its table, PostgreSQL both.
The statement's own table and the metadata of the models fill in the rest, so
that an error's attributes are the same everywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from sqlalchemy import (
    CheckConstraint,
    Delete,
    ForeignKeyConstraint,
    Insert,
    Table,
    UniqueConstraint,
    Update,
)

from hqt_async_db.connection.translation import findings
from hqt_async_db.errors import ForeignKeyViolationError, IntegrityViolationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Index
    from sqlalchemy.engine import ExecutionContext
    from sqlalchemy.sql.schema import ColumnCollectionConstraint

    from hqt_async_db.connection.translation.findings import Finding

_MYSQL_PRIMARY: Final = "PRIMARY"
_RESOLVING_ACTIONS: Final = frozenset({"CASCADE", "SET DEFAULT", "SET NULL"})
_WORD: Final = re.compile(r"\w+")
# SQLAlchemy cuts names over the limit of 63 or 64 characters to 60 or 61, of
# which the last ones are "_" and four hexadecimal digits of a hash.
_SHORTEST_CUT_NAME: Final = 60
_HASHED_SUFFIX: Final = 5


Verb: TypeAlias = Literal["insert", "update", "delete"]


@dataclass(frozen=True, slots=True)
class Statement:
    """The INSERT, UPDATE or DELETE that failed.

    Attributes:
        table: The table it writes.
        verb: What it does.
        given: Names of the columns that it gives a value other than NULL.
    """

    table: Table
    verb: Verb
    given: frozenset[str] = frozenset()


class _Key(NamedTuple):
    """A constraint or a unique index, with the table it belongs to."""

    table: Table
    schema_item: ColumnCollectionConstraint | Index

    @property
    def name(self) -> str | None:
        """Return its name in the database, None where that is the database's choice."""
        name = self.schema_item.name
        return str(name) if isinstance(name, str) else None

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of its columns, in order."""
        names = tuple(column.name for column in self.schema_item.columns)
        if names or not isinstance(self.schema_item, CheckConstraint):
            return names
        # A check written as text knows no columns; its words do.
        words = _WORD.findall(getattr(self.schema_item.sqltext, "text", ""))
        return tuple(dict.fromkeys(word for word in words if word in self.table.columns))


def statement_of(context: ExecutionContext | None) -> Statement | None:
    """Return what an execution wrote, None for a read or for textual SQL."""
    statement = getattr(getattr(context, "compiled", None), "statement", None)
    if not isinstance(statement, Insert | Update | Delete):
        return None
    if not isinstance(statement.table, Table):
        return None
    rows: Any = getattr(context, "compiled_parameters", None) or ()
    given = {name for row in rows for name, value in row.items() if value is not None}
    verb: Verb = "insert" if isinstance(statement, Insert) else "update"
    if isinstance(statement, Delete):
        verb = "delete"
    return Statement(statement.table, verb, frozenset(given))


def complete(found: Finding, statement: Statement | None) -> Finding:
    """Return ``found`` with table, columns and key as far as they are known."""
    if found.verdict in (findings.NOT_NULL, findings.VALUE):
        return _with_table(found, statement)
    if not issubclass(found.verdict.error, IntegrityViolationError):
        return found
    key = (_named(found, statement) if found.key else None) or _unnamed(found, statement)
    if key is not None:
        found = replace(found, table=key.table.name, columns=key.columns, key=key.name or found.key)
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
    table_name = found.table
    if found.key == _MYSQL_PRIMARY:
        if table_name is None and statement is not None:
            table_name = statement.table.name
        tables = _tables(statement)
        return next((_primary_key(table) for table in tables if table.name == table_name), None)
    return _single(
        key
        for table in _tables(statement)
        if table_name in (None, table.name)
        for key in _keys(table)
        if key.name is not None and _is_same_name(key.name, found.key or "")
    )


def _unnamed(found: Finding, statement: Statement | None) -> _Key | None:
    """Find a constraint that the database does not name, or named by itself."""
    if issubclass(found.verdict.error, ForeignKeyViolationError):
        return _foreign_key(found, statement) if statement is not None else None
    wanted = sorted(found.columns)
    return _single(
        key
        for table in _tables(statement)
        if table.name == found.table
        for key in _unique_keys(table)
        if sorted(key.columns) == wanted
    )


def _foreign_key(found: Finding, statement: Statement) -> _Key | None:
    """Return the one foreign key that the statement can have violated."""
    return _single(
        key
        for key in (_incoming(statement) if statement.verb == "delete" else _outgoing(statement))
        if found.table in (None, key.table.name) and (found.key is None or key.name is None)
    )


def _outgoing(statement: Statement) -> Iterator[_Key]:
    for constraint in statement.table.foreign_key_constraints:
        key = _Key(statement.table, constraint)
        if not statement.given or statement.given.issuperset(key.columns):
            yield key


def _incoming(statement: Statement) -> Iterator[_Key]:
    target = statement.table.fullname
    for table in statement.table.metadata.tables.values():
        for constraint in table.foreign_key_constraints:
            resolves_itself = (constraint.ondelete or "").upper() in _RESOLVING_ACTIONS
            referred = constraint.elements[0].target_fullname.rpartition(".")[0]
            if referred == target and not resolves_itself:
                yield _Key(table, constraint)


def _single(keys: Iterator[_Key]) -> _Key | None:
    """Return the only key, None if there is none or any doubt."""
    key = next(keys, None)
    return key if next(keys, None) is None else None


def _tables(statement: Statement | None) -> Iterator[Table]:
    """Yield the tables of the statement's metadata, or else of the models'."""
    if statement is not None:
        yield from statement.table.metadata.tables.values()
        return
    # Late, because an engine of another schema need not load the models.
    from hqt_async_db.models.base import Base  # noqa: PLC0415

    yield from Base.metadata.tables.values()


def _keys(table: Table) -> Iterator[_Key]:
    yield from _unique_keys(table)
    of_columns = (constraint for column in table.columns for constraint in column.constraints)
    for constraint in (*table.constraints, *of_columns):
        if isinstance(constraint, ForeignKeyConstraint | CheckConstraint):
            yield _Key(table, constraint)


def _unique_keys(table: Table) -> Iterator[_Key]:
    yield _primary_key(table)
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield _Key(table, constraint)
    for index in table.indexes:
        if index.unique:
            yield _Key(table, index)


def _primary_key(table: Table) -> _Key:
    return _Key(table, table.primary_key)


def _is_same_name(name: str, reported: str) -> bool:
    """Compare names, one of which the database may have had cut to its limit."""
    if name == reported:
        return True
    stem = reported[:-_HASHED_SUFFIX]
    return len(reported) >= _SHORTEST_CUT_NAME and name.startswith(stem)
