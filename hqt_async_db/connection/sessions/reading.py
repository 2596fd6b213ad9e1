"""Reads of a session past SQLAlchemy's execution, where nothing would differ.

A plain session is READ COMMITTED: until it writes, each of its reads stands
alone. So those before its first statement on a connection of its own take the
way of one-shot reads, and the session takes no connection for them. That is
not for statements that may do more than to read, nor for sessions whose
transaction somebody prepares when it begins.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, inspect, select
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.attributes import instance_state

from hqt_async_db.connection import tasks
from hqt_async_db.connection.backends.direct import NoWayError
from hqt_async_db.connection.greenlets import spawn
from hqt_async_db.connection.pacing import mapped
from hqt_async_db.connection.translation.translate import leaves_connection_usable
from hqt_async_db.connection.watching import renames_schemas

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Select
    from sqlalchemy.orm import Session as SyncSession

    from hqt_async_db.connection.executors.fetching import Shape
    from hqt_async_db.connection.executors.shortcut import Shortcut

# No column has such a name, which a parameter must not share.
_KEY: Final = "hqt_key_"


async def read(
    session: Any, statement: Any, values: Mapping[str, Any] | None, shape: Shape
) -> list[Any]:
    """Return all rows of a SELECT; instances belong to the session.

    Args:
        session: Our session.
        statement: As for :meth:`Shortcut.fetch`.
        values: As there.
        shape: As there.

    Raises:
        NoWayError: It must go through the session; nothing was run.
    """
    sync, shortcut = session.sync_session, session.shortcut
    if shortcut is None or not _is_plain(sync):
        raise NoWayError
    connection: Connection | None = sync.open_connection
    if connection is not None:
        found = await _read_on(connection, shortcut, statement, values, shape)
    elif session.reads_stand_alone and _may_stay_closed(sync):
        found = await shortcut.fetch(statement, values, shape, may_have_effects=False)
        sync.has_read_alone = True
    else:
        raise NoWayError
    if shape == "instances":
        return await mapped(lambda instance: _attached(sync, instance), found)
    if shape == "page":
        return await mapped(lambda row: (_attached(sync, row[0]), *row[1:]), found)
    return found


async def get(session: Any, entity: Any, ident: Any) -> Any:
    """Return the instance with this primary key, or None.

    Raises:
        NoWayError: It must go through the session; nothing was run.
    """
    mapper = inspect(entity, raiseerr=False)
    keys = ident if isinstance(ident, tuple) else (ident,)
    if not isinstance(mapper, Mapper) or len(keys) != len(mapper.primary_key):
        raise NoWayError
    if any(key is None or isinstance(key, dict | list | set) for key in keys):
        raise NoWayError
    if mapper.identity_key_from_primary_key(keys) in session.sync_session.identity_map:
        raise NoWayError  # which costs no statement, unless it expired
    values = {f"{_KEY}{number}": key for number, key in enumerate(keys)}
    found = await read(session, _by_identity(mapper), values, "instances")
    return found[0] if found else None


@lru_cache(maxsize=256)
def _by_identity(mapper: Mapper[Any]) -> Select[Any]:
    criteria = [
        column == bindparam(f"{_KEY}{number}") for number, column in enumerate(mapper.primary_key)
    ]
    return select(mapper.class_).where(*criteria)


def _is_plain(sync: Any) -> bool:
    """Tell whether a SELECT of this session has no effect but its rows."""
    dispatch = sync.dispatch
    return (
        sync.is_active
        and sync._is_clean()  # noqa: SLF001 - what decides whether SQLAlchemy flushes first
        and len(dispatch.do_orm_execute) == 1  # our own
        and not dispatch.loaded_as_persistent
    )


def _may_stay_closed(sync: Any) -> bool:
    """Tell whether nobody waits for the session's transaction to begin, to prepare it."""
    dispatch = sync.dispatch
    return len(dispatch.after_begin) == 1 and not dispatch.after_transaction_create  # 1: our own


async def _read_on(
    connection: Connection,
    shortcut: Shortcut,
    statement: Any,
    values: Mapping[str, Any] | None,
    shape: Shape,
) -> list[Any]:
    """Read on the session's own connection, in its transaction."""
    if connection.closed or connection.invalidated or renames_schemas(connection):
        raise NoWayError
    run = getattr(connection.connection.dbapi_connection, "read_directly", None)
    if run is None:
        raise NoWayError
    try:
        return await shortcut.fetch(statement, values, shape, run)
    except BaseException as error:
        if not isinstance(error, NoWayError) and not leaves_connection_usable(error):
            await tasks.finish(spawn(connection.invalidate), name="hqt_async_db close connection")
        raise


def _attached(sync: SyncSession, instance: Any) -> Any:
    """Return the session's own instance of a row: this one, unless it has one already."""
    state: Any = instance_state(instance)
    present = sync.identity_map.get(state.key)
    if present is None:
        sync.identity_map.add(state)
        state.session_id = sync.hash_key
        return instance
    known = instance_state(present)
    if known.expired_attributes or not known.dict.keys() >= set(state.mapper.column_attrs.keys()):
        raise NoWayError  # SQLAlchemy completes it
    return present
