"""References from tables that are of no model imported here, as the database knows them."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, ForeignKeyConstraint, MetaData, Table, and_, func, select

from hqt_async_db.backup.loading.references import name_of
from hqt_async_db.backup.tables import all_tables
from hqt_async_db.errors import BackupError, SchemaMismatchError
from hqt_async_db.migrations.references import FOREIGN_KEYS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hqt_async_db.connection.sessions.session import Session


async def strangers(session: Session) -> list[ForeignKeyConstraint]:
    """Return the foreign keys to tables of ours that no model has; one statement.

    Raises:
        SchemaMismatchError: One leads to a column that no model has.
    """
    rows = await session.execute(FOREIGN_KEYS[session.get_bind().dialect.name])
    ours = {table.name.lower(): table for table in all_tables()}
    found = []
    for (is_here, _, name, _, target), links in groupby(rows.all(), _constraint):
        is_known = is_here and name.lower() in ours
        if target in ours and not is_known:
            found.append(_reference(list(links), ours[target]))
    return found


def _constraint(row: Any) -> tuple[Any, ...]:
    is_here, schema, name, constraint, _, target, *_rest = row
    return is_here, schema, name, constraint, target.lower()


def _reference(links: Sequence[Any], target: Table) -> ForeignKeyConstraint:
    """Return a foreign key in the terms of SQLAlchemy; ``waits`` in its info tells the last."""
    _, schema, name, *_rest, waits = links[0]
    columns = {column.name.lower(): column for column in target.columns}
    key = list(target.primary_key.columns)
    referred = []
    for place, link in enumerate(links):
        column = key[place] if link[6] is None else columns.get(link[6].lower())
        if column is None:
            msg = f"{name}.{link[4]} refers to {target.name}.{link[6]}, which no model has"
            raise SchemaMismatchError(msg)
        referred.append(column)
    own = [Column(link[4], column.type) for link, column in zip(links, referred, strict=True)]
    reference = ForeignKeyConstraint([c.name for c in own], referred, info={"waits": bool(waits)})
    Table(name, MetaData(), *own, reference, schema=schema)
    return reference


async def refuse_strangers(session: Session) -> None:
    """Refuse to replace all rows while rows of no model refer to some of them.

    They would be deleted, or lose what they refer to, or keep it only until
    the transaction ends, which is left to the database.

    Raises:
        BackupError: There are such rows; says where and how many.
    """
    found = []
    for reference in await strangers(session):
        refers = and_(*(column.is_not(None) for column in reference.columns))
        counted = select(func.count()).select_from(reference.table).where(refers)
        count = 0 if reference.info["waits"] else (await session.execute(counted)).scalar_one()
        if count:
            found.append(f"{count} of {name_of(reference)} to {reference.referred_table.name}")
    if found:
        msg = (
            f"rows of tables that are of no model imported here refer to rows that a restore "
            f"replaces: {', '.join(found)}; restore in the application that has these models, or "
            "move those rows away"
        )
        raise BackupError(msg)
