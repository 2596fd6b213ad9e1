"""Transactions that a MySQL server rolled back, wholly or in part, by itself.

After a deadlock the server has undone the transaction and goes on with a new
one; after a lock timeout it has undone the statement alone. Whatever followed
would be committed without what came before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import event

from hqt_async_db.errors import TransientError

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.engine import ExceptionContext
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.pool import ConnectionPoolEntry

_ENDED: Final = "hqt_transaction_ended"
# Row changed under a snapshot, lock timeout, lock table full, deadlock.
_ENDING: Final = frozenset({1020, 1205, 1206, 1213})


def refuse_ended_transactions(engine: AsyncEngine) -> None:
    """Refuse every statement, and COMMIT, until the transaction is rolled back."""

    @event.listens_for(engine.sync_engine, "handle_error")
    def _note(context: ExceptionContext) -> None:
        arguments, connection = context.original_exception.args, context.connection
        is_ending = bool(arguments) and arguments[0] in _ENDING
        if is_ending and connection is not None and not _is_autocommit(connection):
            connection.info[_ENDED] = True

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def _refuse(connection: Connection, *_: object) -> None:
        _require_not_ended(connection)

    event.listen(engine.sync_engine, "commit", _require_not_ended)

    @event.listens_for(engine.sync_engine, "rollback")
    def _forget(connection: Connection) -> None:
        if not connection.invalidated:
            connection.info.pop(_ENDED, None)

    @event.listens_for(engine.sync_engine, "checkout")
    def _start_anew(_raw: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        # After a refused COMMIT it is the pool that rolls back.
        record.info.pop(_ENDED, None)


def _is_autocommit(connection: Connection) -> bool:
    """Tell whether each statement is a transaction of its own, so that none is left to end."""
    pooled = None if connection.invalidated else connection.connection.dbapi_connection
    return pooled is not None and connection.dialect.detect_autocommit_setting(pooled)


def _require_not_ended(connection: Connection) -> None:
    if not connection.invalidated and _ENDED in connection.info:
        msg = (
            "the server has ended this transaction after a deadlock or a lock timeout; roll back "
            "and run it again (db.run does)"
        )
        raise TransientError(msg)
