"""The synchronous half of a session: what its transaction has, and what it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from sqlalchemy import event
from sqlalchemy.orm import Session

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import ORMExecuteState, SessionTransaction


class TrackedSession(Session):
    """A session of SQLAlchemy that takes notes.

    Attributes:
        written_tables: Names of the tables that the transaction wrote to.
        has_written: Whether it may have written anything.
        open_connection: The connection of the transaction, None before its
            first statement.
        is_committed: Whether the database has committed it, whatever fails
            afterwards.
        has_read_alone: Whether there were reads outside of a transaction
            since the last one ended.
    """

    written_tables: set[str]
    has_written: bool = False
    open_connection: Connection | None = None
    is_committed: bool = False
    has_read_alone: bool = False


@event.listens_for(TrackedSession, "do_orm_execute")
def _note_statement(state: ORMExecuteState) -> None:
    """Remember that something may be written, and the table where it is known."""
    if state.is_select:
        return
    session = cast("TrackedSession", state.session)
    session.has_written = True
    table = getattr(state.statement, "table", None)
    if table is not None:
        session.written_tables.add(table.name)


@event.listens_for(TrackedSession, "after_begin")
def _note_connection(session: TrackedSession, _: object, connection: Connection) -> None:
    session.open_connection = connection
    session.is_committed = False


@event.listens_for(TrackedSession, "after_commit")
def _note_commit(session: TrackedSession) -> None:
    session.is_committed = session.get_nested_transaction() is None


@event.listens_for(TrackedSession, "after_transaction_end")
def _forget_connection(session: TrackedSession, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.open_connection = None


@event.listens_for(TrackedSession, "before_flush")
def _note_flush(session: TrackedSession, *_: object) -> None:
    """Remember the tables of the objects that are about to be written."""
    session.has_written = True
    for instance in (*session.new, *session.dirty, *session.deleted):
        session.written_tables.update([table.name for table in instance.__mapper__.tables])
