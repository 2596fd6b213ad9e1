"""A new row in a session, without a unit of work where nothing would differ.

What SQLAlchemy's flush does for one instance without relatives is to run one
INSERT and to take the instance in; it takes ten times as long to find that
out. Here that is done at once, on the connection and in the transaction of
the session, and so that a rollback undoes it as it undoes a flush.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import inspect
from sqlalchemy.util.concurrency import await_

from hqt_async_db.connection import tasks
from hqt_async_db.connection.backends.direct import NoWayError
from hqt_async_db.connection.executors.stored import stored
from hqt_async_db.connection.greenlets import spawn
from hqt_async_db.connection.translation.translate import leaves_connection_usable
from hqt_async_db.connection.watching import renames_schemas

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection
    from sqlalchemy.orm import Mapper

    from hqt_async_db.connection.executors.shortcut import RunWrite, Shortcut
    from hqt_async_db.connection.sessions.session import Session
    from hqt_async_db.connection.sessions.tracked import TrackedSession

T = TypeVar("T")

# Those whom a session tells of what it takes in, and of its flushes.
_EVENTS: Final = attrgetter(
    "before_attach", "after_attach", "transient_to_pending", "pending_to_persistent",
    "after_flush", "after_flush_postexec",
)  # fmt: skip


async def insert(session: Session, model: type[T], values: Mapping[str, Any]) -> T:
    """Store a new row of checked values; its complete instance belongs to the session.

    Args:
        session: Our session.
        model: A mapped class.
        values: By attribute name.

    Raises:
        NoWayError: It takes a flush; nothing was run.
    """
    if session.shortcut is None:
        raise NoWayError
    created: T = await session.run_sync(_insert, session.shortcut, inspect(model), values)
    return created


def _insert(
    session: Any, shortcut: Shortcut, mapper: Mapper[Any], values: Mapping[str, Any]
) -> Any:
    """Do it, in SQLAlchemy's greenlet."""
    row = stored(mapper)
    if row.has_key_of_its_own(values) or not _is_plain(session):
        raise NoWayError
    connection = None
    try:
        connection = session.connection({"mapper": mapper})
        instance = await_(row.create(shortcut, values, _way_of(connection)))
        _take_in(session, instance)
    except NoWayError:
        raise
    except BaseException as error:
        if connection is not None and not leaves_connection_usable(error):
            closing = spawn(connection.invalidate)
            await_(tasks.finish(closing, name="hqt_async_db close connection"))
        # As a flush that failed: the transaction is over, up to the last savepoint.
        session._autobegin_t()._begin().rollback(_capture_exception=True)  # noqa: SLF001 - as above
        raise
    return instance


def _is_plain(session: TrackedSession) -> bool:
    """Tell whether a flush would have no effect but this row, and be nobody else's business."""
    dispatch = session.dispatch
    return (
        session.is_active
        and session._is_clean()  # noqa: SLF001 - what decides whether there is anything to flush
        and len(dispatch.before_flush) == 1  # our own
        and not any(_EVENTS(dispatch))
    )


def _way_of(connection: Connection) -> RunWrite:
    """Return what runs a statement on the session's own connection."""
    if connection.closed or connection.invalidated or renames_schemas(connection):
        raise NoWayError
    pooled: Any = connection.connection.dbapi_connection
    run: RunWrite | None = getattr(pooled, "write_directly", None)
    if run is None or pooled.read_only:
        raise NoWayError
    return run


def _take_in(session: TrackedSession, instance: Any) -> None:
    """Make an instance that was stored one of the session, as at the end of a flush."""
    state = inspect(instance)
    session.has_written = True
    session.written_tables.add(state.mapper.local_table.name)
    state.session_id = session.hash_key
    session._new[state] = instance  # noqa: SLF001 - from there a flush takes it
    session._register_persistent({state})  # noqa: SLF001 - as a flush does
