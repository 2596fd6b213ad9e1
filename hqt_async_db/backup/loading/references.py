"""Foreign keys, of one column or several, also of a table to itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import CheckConstraint, and_, or_, select, true
from sqlalchemy import exists as sql_exists

from hqt_async_db.backup.tables import all_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import (
        Column,
        ColumnElement,
        Dialect,
        ForeignKeyConstraint,
        FromClause,
        Table,
    )


def references_of(table: Table) -> list[ForeignKeyConstraint]:
    """Return the foreign keys that the table has."""
    return sorted(table.foreign_key_constraints, key=lambda found: list(found.column_keys))


def references_to(
    table: Table, further: Sequence[ForeignKeyConstraint] = ()
) -> list[ForeignKeyConstraint]:
    """Return the foreign keys that refer to the table, of models and further ones."""
    known = [reference for other in all_tables() for reference in references_of(other)]
    return [found for found in (*known, *further) if found.referred_table is table]


def own_references(table: Table) -> list[ForeignKeyConstraint]:
    """Return the foreign keys of the table to itself."""
    return [found for found in references_of(table) if found.referred_table is table]


def links_of(references: Sequence[ForeignKeyConstraint]) -> list[Column[Any]]:
    """Return the columns that may be NULL for a while, where a row refers to nothing."""
    columns = (column for reference in references for column in reference.columns)
    may_be_null = (column for column in columns if column.nullable and not _is_checked(column))
    return list(dict.fromkeys(may_be_null))


def _is_checked(column: Column[Any]) -> bool:
    """Tell whether a CHECK may be about the column: one that has its name in it."""
    checks = (c for c in column.table.constraints if isinstance(c, CheckConstraint))
    return any(column.name in str(check.sqltext) for check in checks)


def stays(references: Sequence[ForeignKeyConstraint]) -> bool:
    """Tell whether a row must refer to another as long as it is there."""
    return not all(links_of([reference]) for reference in references)


def restricts(references: Sequence[ForeignKeyConstraint]) -> bool:
    """Tell whether any backend refuses to delete both rows of a reference at once."""
    return any((reference.ondelete or "").upper() == "RESTRICT" for reference in references)


def checks_each_row(dialect: Dialect) -> bool:
    """Tell whether the backend checks a reference row by row, not at the end of a statement."""
    return dialect.name in {"mysql", "mariadb"}


def refers(
    reference: ForeignKeyConstraint, referring: FromClause, referred: FromClause
) -> ColumnElement[bool]:
    """Return what is true where a row refers to another; never of one with a NULL."""
    return and_(
        true(),
        *(
            referring.columns[element.parent.key] == referred.columns[element.column.key]
            for element in reference.elements
        ),
    )


def is_referenced(reference: ForeignKeyConstraint, dialect: Dialect) -> ColumnElement[bool]:
    """Return what is true of the rows of the referenced table that have to stay for another.

    On MySQL and MariaDB a row that refers to itself has to stay, too.
    """
    target = reference.referred_table
    referring: FromClause = reference.table
    criteria = []
    if referring is target and checks_each_row(dialect):
        # MySQL deletes from no table that it reads, but from a copy's original.
        referring = select(*reference.columns).distinct().subquery()
    elif referring is target:
        referring = target.alias()
        key = target.primary_key.columns
        criteria.append(or_(*(referring.columns[column.key] != column for column in key)))
    elif reference.table.schema is not None:  # where it may have the same name
        referring = reference.table.alias()
    exists = sql_exists().where(refers(reference, referring, target), *criteria)
    return exists.correlate(target)


def name_of(reference: ForeignKeyConstraint) -> str:
    """Return its table and columns as an error shows them."""
    names = [column.name for column in reference.columns]
    shown = names[0] if len(names) == 1 else f"({', '.join(names)})"
    return f"{reference.table.name}.{shown}"
