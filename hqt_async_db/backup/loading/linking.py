"""What rows hold for the time in which the rows of their table that they refer to are not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, case, null, or_
from sqlalchemy import exists as sql_exists

from hqt_async_db.backup.loading.references import links_of, own_references

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement, ForeignKeyConstraint

    from hqt_async_db.backup.loading.staging import Stage

    Values = Mapping[str, ColumnElement[Any]]


def links_in(stage: Stage, *, as_is: bool = False) -> Values:
    """Return the columns by which rows refer to others of their table, and a value for now.

    There are none where the references could not be NULL, or a row not be
    found again.

    Args:
        stage: The rows.
        as_is: Whether references to what is there already may stay.
    """
    key = set(stage.target.primary_key.columns)
    references = [
        reference
        for reference in own_references(stage.target)
        if key.union(reference.columns) <= set(stage.given)
    ]
    are_there = [_is_there(stage, reference) for reference in references]
    return {
        column.name: case((and_(*are_there), stage.table.columns[column.name]), else_=null())
        if as_is
        else null()
        for column in links_of(references)
    }


def _is_there(stage: Stage, reference: ForeignKeyConstraint) -> ColumnElement[bool]:
    """Return what is true of the rows that refer to nothing or to what is there."""
    referred = stage.target.alias()
    pairs = [
        (stage.table.columns[element.parent.name], referred.columns[element.column.key])
        for element in reference.elements
    ]
    is_same = [value == column for value, column in pairs]
    exists = sql_exists().where(*is_same).correlate(stage.table)
    return or_(*(value.is_(None) for value, _ in pairs), exists)
