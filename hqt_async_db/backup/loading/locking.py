"""Every table of the models kept for one transaction, wherever there are several writers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, false, func, literal, select, text

from hqt_async_db.backup.tables import all_tables
from hqt_async_db.connection.backends.sqlite.locations import is_in_memory

if TYPE_CHECKING:
    from hqt_async_db.connection.sessions.session import Session


async def keep_writers_out(session: Session) -> None:
    """Let others read only, until the transaction ends; waits for those who write.

    Costs one statement on PostgreSQL, and on MySQL one for each table, which
    locks its rows and, where the transaction is SERIALIZABLE, the gaps beside
    them. On a SQLite file it is a write of nothing, in memory nothing at all.

    Raises:
        DatabaseLockedError: A writer did not end within ``lock_timeout_s``.
        DeadlockError: A writer waits for this transaction in turn.
    """
    dialect = session.get_bind().dialect
    if dialect.name == "postgresql":
        names = ", ".join(map(dialect.identifier_preparer.format_table, all_tables()))
        await session.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))
    elif dialect.name in {"mysql", "mariadb"}:
        for table in all_tables():
            # By the primary key: whoever waits at another index has put his row into this one.
            # Where there is none, no index at all is what the rows are in.
            hint = "FORCE INDEX (PRIMARY)" if table.primary_key.columns else "USE INDEX ()"
            rows = select(literal(1)).select_from(table).with_for_update()
            locked = rows.with_hint(table, hint).subquery()
            await session.execute(select(func.count()).select_from(locked))
    elif not is_alone(session):
        await session.execute(delete(all_tables()[0]).where(false()))


def is_alone(session: Session) -> bool:
    """Tell whether its connection is the only one to the database, which is in memory."""
    engine = session.get_bind().engine
    return engine.dialect.name == "sqlite" and is_in_memory(engine.url)
