"""From stages into their tables: appended, merged by key, or instead of what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Column,
    Integer,
    Text,
    and_,
    case,
    cast,
    delete,
    false,
    func,
    insert,
    null,
    or_,
    select,
    text,
    update,
)
from sqlalchemy import exists as sql_exists

from hqt_async_db.backup.loading.faults import duplicate_in, fault_of
from hqt_async_db.backup.loading.linking import links_in
from hqt_async_db.backup.loading.references import (
    checks_each_row,
    is_referenced,
    links_of,
    name_of,
    own_references,
    references_to,
    refers,
    restricts,
    stays,
)
from hqt_async_db.backup.loading.strangers import strangers
from hqt_async_db.backup.tables import all_tables
from hqt_async_db.errors import ImportDataError, IntegrityViolationError
from hqt_async_db.models import Base
from hqt_async_db.models.types import Int32, Int64
from hqt_async_db.repositories.queries import holds_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, Executable, ForeignKeyConstraint, Table

    from hqt_async_db.backup.loading.linking import Values
    from hqt_async_db.backup.loading.staging import Stage
    from hqt_async_db.connection.sessions.session import Session


async def append(session: Session, stages: Sequence[Stage]) -> None:
    """Insert all rows, those referenced first.

    Raises:
        ImportDataError: A constraint refuses a row; names it.
    """
    for stage in stages:
        await _insert_rows(session, stage, (), is_keyed=False)


async def upsert(session: Session, stages: Sequence[Stage]) -> None:
    """Update the rows whose primary key exists, insert the others.

    Rows of one table may refer to each other, which costs a statement more.
    Databases compare unique keys row by row, so rows cannot exchange theirs.

    Raises:
        ImportDataError: Two rows have the same key, or a constraint refuses one.
    """
    for stage in stages:
        duplicate = await duplicate_in(session, stage, tuple(stage.target.primary_key.columns))
        if duplicate is not None:
            raise duplicate
    for stage in stages:
        await _upsert_rows(session, stage)


async def replace(session: Session, stages: Sequence[Stage]) -> None:
    """Do as :func:`upsert` does, and delete the rows that the stages lack.

    Nothing cascades, not to tables that are of no model either. What nobody
    refers to is deleted before, so that its unique keys are free; what the
    new rows no longer refer to, afterwards.
    Where rows must refer to others of their table, that takes as many
    statements as the branches that go are deep.

    Raises:
        ImportDataError: As there, or a row to be deleted is referenced; says
            from where and how often.
    """
    further = await strangers(session)
    for stage in reversed(stages):
        await _delete_unreferenced(session, stage, further)
    await upsert(session, stages)
    for stage in reversed(stages):
        await _delete_unreferenced(session, stage, further)
        await _refuse_referenced(session, stage, further)


async def empty(session: Session) -> None:
    """Delete every row of every table, those that refer first.

    Where rows must refer to others of their table, that may take as many
    statements as they are deep.
    """
    dialect = session.get_bind().dialect
    for table in reversed(all_tables()):
        references = own_references(table)
        if references and (checks_each_row(dialect) or restricts(references)):
            await _unlink(session, table)
            await _delete_leaves(session, table, references)
        await session.execute(delete(table))


async def _upsert_rows(session: Session, stage: Stage) -> None:
    """Update, insert, and then refer to what was inserted."""
    each = checks_each_row(session.get_bind().dialect)
    links = links_in(stage, as_is=not each)
    await _run(session, stage, _update(stage, links), is_keyed=True)
    is_new = ~sql_exists().where(_same_key(stage.target.alias(), stage))
    await _insert_rows(session, stage, (is_new,), is_keyed=True)
    if links and not each:
        await _link(session, stage)


async def _insert_rows(
    session: Session, stage: Stage, criteria: Sequence[ColumnElement[bool]], *, is_keyed: bool
) -> None:
    """Insert rows; where each is checked at once, they refer to each other afterwards."""
    each = checks_each_row(session.get_bind().dialect)
    links = links_in(stage) if each else {}
    await _run(session, stage, _insert(stage, criteria, links), is_keyed=is_keyed)
    if links:
        await _link(session, stage)


async def _link(session: Session, stage: Stage) -> None:
    """Have the rows, all of which are there by now, refer to each other."""
    await _run(session, stage, _update_links(stage), is_keyed=True, are_there=True)


async def _run(
    session: Session,
    stage: Stage,
    statement: Executable | None,
    *,
    is_keyed: bool,
    are_there: bool = False,
) -> None:
    if statement is None:
        return
    savepoint = Savepoint(session)
    await savepoint.begin()
    try:
        await session.execute(statement)
    except IntegrityViolationError as error:
        await savepoint.undo()
        fault = await fault_of(session, stage, error, is_keyed=is_keyed, are_there=are_there)
        if fault is None:
            error.table = error.table or stage.target.name
            raise
        raise fault from error


def _insert(
    stage: Stage, criteria: Sequence[ColumnElement[bool]], links: Values
) -> Executable | None:
    if not stage.columns:
        return None
    values = (links.get(c.name, stage.table.columns[c.name]) for c in stage.columns)
    rows = select(*values).select_from(stage.table).where(*criteria)
    statement = insert(stage.target)
    return statement.from_select(stage.columns, rows.order_by(stage.row), include_defaults=False)


def _update(stage: Stage, links: Values) -> Executable | None:
    values: dict[Any, Any] = {
        column: links.get(column.name, stage.table.columns[column.name])
        for column in stage.given
        if not column.primary_key
    }
    if not values:
        return None
    version = _version_of(stage.target)
    if version is not None and (version not in values or _counts(version)):
        given = values.pop(version, None)
        # First: MySQL sets one after the other, and they are compared with what was there.
        values = {version: _next(version, given, values), **values}
    statement = update(stage.target).where(_same_key(stage.target, stage))
    return statement.ordered_values(*values.items())


def _next(version: Column[Any], given: Any, values: Mapping[Any, Any]) -> Any:
    """Return the version of a row, so that whoever has read it is told of a change."""
    if given is None:
        return version + 1
    is_other = or_(false(), *(_differs(column, value) for column, value in values.items()))
    least = case((is_other, version + 1), else_=version)
    return case((given > least, given), else_=least)


def _differs(column: Column[Any], value: Any) -> ColumnElement[bool]:
    if holds_json(column):  # which PostgreSQL does not compare
        return cast(column, Text).is_distinct_from(cast(value, Text))
    return column.is_distinct_from(value)


def _update_links(stage: Stage) -> Executable:
    target = stage.target
    links = {name: stage.table.columns[name] for name in links_in(stage)}
    linked = {c: links[c.name] for c in target.columns if c.name in links}
    is_other = or_(*(column.is_distinct_from(link) for column, link in linked.items()))
    # Nothing else changes, not even the time of the change.
    kept = {column: column for column in target.columns if column.onupdate is not None}
    return update(target).where(_same_key(target, stage), is_other).values({**kept, **linked})


def _version_of(table: Table) -> Column[Any] | None:
    """Return the column that counts the changes of a row, if there is one."""
    counters = [m.version_id_col for m in Base.registry.mappers if m.local_table is table]
    return next((column for column in counters if isinstance(column, Column)), None)


def _counts(version: Column[Any]) -> bool:
    return isinstance(version.type, Integer | Int32 | Int64)


def _same_key(table: Any, stage: Stage) -> ColumnElement[bool]:
    key = stage.target.primary_key.columns
    return and_(*(table.columns[c.key] == stage.table.columns[c.name] for c in key))


def _is_gone(stage: Stage) -> ColumnElement[bool]:
    """Return what is true of the rows of the target that the stage lacks."""
    return ~sql_exists().where(_same_key(stage.target, stage)).correlate(stage.target)


async def _delete_unreferenced(
    session: Session, stage: Stage, further: Sequence[ForeignKeyConstraint]
) -> None:
    target, references = stage.target, references_to(stage.target, further)
    if references:
        # Locked first: a row that refers to them from now on would be deleted with them.
        gone = select(*target.primary_key.columns).where(_is_gone(stage)).with_for_update()
        await session.execute(select(func.count()).select_from(gone.subquery()))
    # What goes refers to nothing any more, neither to what goes with it.
    await _unlink(session, target, _is_gone(stage))
    await _delete_leaves(session, target, references, _is_gone(stage))


async def _delete_leaves(
    session: Session,
    table: Table,
    references: Sequence[ForeignKeyConstraint],
    *criteria: ColumnElement[bool],
) -> None:
    """Delete what nobody refers to, and what nobody refers to then, and so on."""
    dialect = session.get_bind().dialect
    unreferenced = [~is_referenced(reference, dialect) for reference in references]
    statement = delete(table).where(*criteria, *unreferenced)
    is_deep = stays(own_references(table))
    while (await _changed(session, statement)) and is_deep:
        pass


async def _changed(session: Session, statement: Executable) -> bool:
    result: Any = await session.execute(statement)
    return bool(result.rowcount)


async def _unlink(session: Session, table: Table, *criteria: ColumnElement[bool]) -> None:
    """Have rows refer to none of their own table, where they may."""
    links = links_of(own_references(table))
    if links:
        is_linked = or_(*(column.is_not(None) for column in links))
        nothing = {column: null() for column in links}
        await session.execute(update(table).where(is_linked, *criteria).values(nothing))


async def _refuse_referenced(
    session: Session, stage: Stage, further: Sequence[ForeignKeyConstraint]
) -> None:
    found = []
    for reference in references_to(stage.target, further):
        referring = reference.table.alias()
        is_referring = refers(reference, referring, stage.target)
        statement = (
            select(func.count())
            .select_from(referring.join(stage.target, is_referring))
            .where(_is_gone(stage))
        )
        count = (await session.execute(statement)).scalar_one()
        if count:
            found.append(f"{count} of {name_of(reference)}")
    if found:
        msg = (
            f"{stage.source}: rows of {stage.target.name} that it lacks are still referenced, by "
            f"{', '.join(found)}; replace or delete those first, or upsert"
        )
        raise ImportDataError(msg, source=stage.source)


class Savepoint:
    """A way back where a refused statement would end the transaction: on PostgreSQL."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._is_needed = session.get_bind().dialect.name == "postgresql"

    async def begin(self) -> None:
        """Set it, instead of the one before."""
        if self._is_needed:
            await self._session.execute(text("SAVEPOINT hqt_import"))

    async def undo(self) -> None:
        """Go back to it."""
        if self._is_needed:
            await self._session.execute(text("ROLLBACK TO SAVEPOINT hqt_import"))
