"""Which tables, columns and rows: looked up in the metadata, never put into SQL as text."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from hqt_async_db.errors import BackupError, InvalidInputError
from hqt_async_db.migrations.environment import our_tables
from hqt_async_db.models import Base
from hqt_async_db.repositories.queries import holds_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from sqlalchemy import Column, ColumnElement, Table

    from hqt_async_db.backup.manifest import Manifest


def all_tables() -> tuple[Table, ...]:
    """Return every table of the models, those referenced before those that refer."""
    return tuple(Base.metadata.sorted_tables)


def table_named(name: str) -> Table:
    """Return one table of the models.

    Raises:
        InvalidInputError: There is none of that name.
    """
    for table in all_tables():
        if table.name == name:
            return table
    msg = f"no table {_shown(name)}; there are {', '.join(table.name for table in all_tables())}"
    raise InvalidInputError(msg, field="table")


def refuse_unknown(manifest: Manifest, path: Path) -> None:
    """Refuse a backup whose rows of one table could only be left out.

    Raises:
        BackupError: It has a table of no model that is imported here.
    """
    known = {table.name for table in all_tables()}
    unknown = [entry.table for entry in manifest.tables if entry.table not in known]
    if unknown:
        msg = (
            f"{path} has tables of models that are not imported here: {', '.join(unknown)[:200]}; "
            "restore it in the application that has them"
        )
        raise BackupError(msg)


def is_own(table: Table) -> bool:
    """Tell whether a table is of a model of the application's own.

    What columns it has is for the migrations of the application to say, and
    not for the revision of the schema.
    """
    return table.name not in _our_names()


@functools.cache
def _our_names() -> frozenset[str]:
    return frozenset(our_tables())


def stored_columns(table: Table, names: Iterable[str] | None = None) -> tuple[Column[Any], ...]:
    """Return the columns that take a value: all but those that the database computes.

    Args:
        table: The table.
        names: Of the columns that a database has, if it may lack some.
    """
    stored = tuple(column for column in table.columns if column.computed is None)
    if names is None:
        return stored
    there = {name.lower() for name in names}
    return tuple(column for column in stored if column.name.lower() in there)


def text_of(table: Table, columns: Iterable[Column[Any]]) -> str | None:
    """Return what the text of a table's rows depends on: columns, their types, and the key.

    For a table of ours that is None, as the revision tells.
    """
    if not is_own(table):
        return None
    written = [f"{column.name} {type(column.type).__name__}" for column in columns]
    key = [column.name for column in table.primary_key.columns]
    return f"{', '.join(written)} by {', '.join(key)}"


def columns_named(table: Table, names: Iterable[str] | None) -> tuple[Column[Any], ...]:
    """Return the chosen columns in the order given, or all that take a value.

    Raises:
        InvalidInputError: One is unknown or given twice, or there is none.
    """
    if names is None:
        return stored_columns(table)
    names = tuple(names)
    if not names or len(set(names)) < len(names):
        msg = "give at least one column, and each once"
        raise InvalidInputError(msg, field="columns")
    return tuple(_column(table, name) for name in names)


def equals(table: Table, filters: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    """Return the criteria of ``column=value``; None asks for NULL.

    Raises:
        InvalidInputError: A column is unknown or holds JSON, or a value does
            not fit it.
    """
    return [_equality(_column(table, name), value) for name, value in filters.items()]


def _equality(column: Column[Any], value: object) -> ColumnElement[bool]:
    if value is None:
        return column.is_(None)
    if holds_json(column):
        msg = f"{column.name} holds JSON; only NULL can be asked for"
        raise InvalidInputError(msg, field=column.name)
    return column == value


def _column(table: Table, name: str) -> Column[Any]:
    column = table.columns.get(name)
    if column is None:
        msg = f"{table.name} has no column {_shown(name)}; it has {', '.join(table.columns.keys())}"
        raise InvalidInputError(msg, field=table.name)
    return column


def _shown(name: object) -> str:
    """Return a name to show in an error, whatever was given for one."""
    return repr(name) if len(repr(name)) <= 80 else f"{repr(name)[:80]}..."  # noqa: PLR2004
