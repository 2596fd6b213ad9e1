"""Which of the rows set aside a constraint refuses."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import CheckConstraint, UniqueConstraint, and_, func, or_, select
from sqlalchemy import exists as sql_exists
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.sql.util import ClauseAdapter

from hqt_async_db.backup.formats.rows import place
from hqt_async_db.backup.loading.references import checks_each_row, references_of
from hqt_async_db.errors import CheckViolationError, HqtDbError, ImportDataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Column, ColumnElement, ForeignKeyConstraint, FromClause, Table

    from hqt_async_db.backup.loading.staging import Stage
    from hqt_async_db.connection.sessions.session import Session

    Key = tuple[Column[Any], ...]


async def fault_of(
    session: Session,
    stage: Stage,
    error: HqtDbError,
    *,
    is_keyed: bool,
    are_there: bool = False,
) -> ImportDataError | None:
    """Return what is wrong with the first row at fault, None if nothing is found.

    Args:
        session: In the state in which the database refused the rows.
        stage: The rows.
        error: What the database said.
        is_keyed: Whether a row may take the place of one with its primary key.
        are_there: Whether all rows have taken their places.
    """
    for reference in references_of(stage.target):
        row = await _first_lost(session, stage, reference, are_there=are_there)
        if row is not None:
            reason = f"there is no such row of {reference.referred_table.name}"
            return _fault(stage, row, tuple(reference.columns), reason)
    for key in _unique_keys(stage):
        duplicate = await duplicate_in(session, stage, key)
        if duplicate is not None:
            return duplicate
        if is_keyed and key == tuple(stage.target.primary_key.columns):
            continue
        is_taken = sql_exists().where(_is_same(stage, key), _is_other(stage, is_keyed=is_keyed))
        if (row := await _first(session, stage, is_taken)) is not None:
            reason = f"{stage.target.name} has such a row already"
            if is_keyed and (other := await _row_that_frees(session, stage, key, row)) is not None:
                reason = (
                    f"{stage.target.name} has such a row until row {other} changes it, and rows "
                    "are changed one after the other; give both another value first"
                )
            return _fault(stage, row, key, reason)
    if isinstance(error, CheckViolationError):
        return await _refused_by_check(session, stage, error, is_keyed=is_keyed)
    return None


async def _refused_by_check(
    session: Session, stage: Stage, error: CheckViolationError, *, is_keyed: bool
) -> ImportDataError | None:
    """Return what is wrong with the first row that a CHECK refuses, of a model of one's own.

    None where that cannot be told from the rows that were set aside: of a row
    that is updated they have what changes, and SQL may be about its own table.
    """
    known = stage.given if is_keyed else stage.columns
    for check in stage.target.constraints:
        if not isinstance(check, CheckConstraint) or str(check.name) != error.key:
            continue
        columns = _columns_of(check, stage.target)
        if not columns or not set(columns) <= set(known):
            return None
        to_stage = ClauseAdapter(stage.table, adapt_on_names=True)
        with suppress(HqtDbError):
            row = await _first(session, stage, ~Grouping(to_stage.traverse(check.sqltext)))
            if row is not None:
                return _fault(stage, row, columns, f"{check.name} does not hold")
    return None


def _columns_of(check: CheckConstraint, table: Table) -> tuple[Column[Any], ...]:
    """Return the columns that a constraint is about; SQL that is text names them."""
    text = str(check.sqltext)
    return tuple(check.columns) or tuple(
        column
        for column in table.columns
        if re.search(rf"(?<!\w){re.escape(column.name)}(?!\w)", text, re.IGNORECASE)
    )


async def _first_lost(
    session: Session, stage: Stage, reference: ForeignKeyConstraint, *, are_there: bool
) -> int | None:
    """Return the first row that refers to what is neither there nor comes with it."""
    if not set(reference.columns) <= set(stage.given):
        return None
    values = [stage.table.columns[column.name] for column in reference.columns]
    referred = [element.column for element in reference.elements]
    is_lost = [
        *(value.is_not(None) for value in values),
        ~sql_exists().where(_are(values, referred)),
    ]
    is_own = reference.referred_table is stage.target
    if are_there or not is_own or not set(referred) <= set(stage.columns):
        return await _first(session, stage, *is_lost)
    dialect = session.get_bind().dialect
    if checks_each_row(dialect) and not getattr(dialect, "is_mariadb", False):
        return None  # MySQL opens a temporary table once a query
    # Joined, as SQLite makes an index for that.
    others = stage.table.alias()
    same = [others.columns[column.name] for column in referred]
    joined = stage.table.outerjoin(others, _are(values, same))
    return await _first(session, stage, *is_lost, same[0].is_(None), rows=joined)


def _are(values: Sequence[Column[Any]], others: Sequence[Column[Any]]) -> ColumnElement[bool]:
    return and_(*(value == other for value, other in zip(values, others, strict=True)))


async def duplicate_in(session: Session, stage: Stage, key: Key) -> ImportDataError | None:
    """Return what is wrong if two rows have the same unique key; the later one counts."""
    if not stage.given:
        return None
    columns = [stage.table.columns[column.name] for column in key]
    several = (
        select(func.min(stage.row), func.max(stage.row).label("last"))
        .where(*(column.is_not(None) for column in columns))
        .group_by(*columns)
        .having(func.count() > 1)
        .order_by("last")
        .limit(1)
    )
    found = (await session.execute(several)).first()
    if found is None:
        return None
    return _fault(stage, found[1], key, f"row {found[0]} has the same")


async def _row_that_frees(session: Session, stage: Stage, key: Key, row: int) -> int | None:
    """Return the row that changes the one whose unique key another row is to have.

    Two queries, because MySQL opens a temporary table once a query.
    """
    columns = tuple(stage.target.primary_key.columns)
    is_holder = _is_same(stage, key), _is_other(stage, is_keyed=True), stage.row == row
    holder = (await session.execute(select(*columns).where(*is_holder))).first()
    if holder is None:
        return None
    named = zip(columns, holder, strict=True)
    is_changed = (stage.table.columns[column.name] == value for column, value in named)
    return await _first(session, stage, *is_changed)


async def _first(
    session: Session, stage: Stage, *criteria: ColumnElement[bool], rows: FromClause | None = None
) -> int | None:
    rows = stage.table if rows is None else rows
    statement = select(stage.row).select_from(rows).where(*criteria)
    statement = statement.order_by(stage.row).limit(1)
    return (await session.execute(statement)).scalar_one_or_none()


def _fault(stage: Stage, row: int, key: Sequence[Column[Any]], reason: str) -> ImportDataError:
    names = ", ".join(column.name for column in key)
    msg = f"{place(stage.source, row, names)}: {reason}"
    return ImportDataError(msg, source=stage.source, row=row, column=names)


def _unique_keys(stage: Stage) -> Iterator[Key]:
    """Yield the unique keys that all rows have."""
    table = stage.target
    keys = [tuple(table.primary_key.columns)]
    constraints = [c for c in table.constraints if isinstance(c, UniqueConstraint)]
    keys += sorted((tuple(c.columns) for c in constraints), key=lambda key: key[0].name)
    keys += [tuple(index.columns) for index in table.indexes if index.unique]
    return (key for key in keys if key and set(key) <= set(stage.given))


def _is_same(stage: Stage, key: Key) -> ColumnElement[bool]:
    return and_(*(column == stage.table.columns[column.name] for column in key))


def _is_other(stage: Stage, *, is_keyed: bool) -> ColumnElement[bool]:
    """Return what is true of the rows that those with other primary keys may not meet."""
    key = tuple(stage.target.primary_key.columns) if is_keyed else ()
    differences = [column != stage.table.columns[column.name] for column in key]
    return or_(*differences) if differences else and_(True)  # noqa: FBT003 - SQL's
