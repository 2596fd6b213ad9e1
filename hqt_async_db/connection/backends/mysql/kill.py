"""Ending on a MySQL server what was cancelled here.

The server goes on with a statement whose client is gone, and keeps the locks
of its transaction until the statement ends by itself, hours later perhaps.
PostgreSQL's drivers ask their server to stop; those of MySQL do not.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import event
from sqlalchemy.util.concurrency import await_, in_greenlet

from hqt_async_db.connection import tasks

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.pool import ConnectionPoolEntry

_log = logging.getLogger("hqt_async_db")

_TIMEOUT_S: Final = 2.0
_PORT: Final = "hqt_client_port"
# By the port of the client as well: behind a proxy or a balancer the id alone
# could name a connection of somebody else.
_FIND: Final = (
    "SELECT id FROM information_schema.processlist "
    "WHERE id = %s AND SUBSTRING_INDEX(host, ':', -1) = %s"
)


def end_cancelled_statements(engine: AsyncEngine) -> None:
    """Kill the server's side of a connection that is given up in mid-statement.

    It costs a second connection for the moment, and nothing otherwise.
    """
    arguments: dict[str, Any] = {}

    @event.listens_for(engine.sync_engine, "do_connect")
    def _remember(
        _dialect: object, _record: object, _positional: object, keywords: dict[str, Any]
    ) -> None:
        arguments.update(keywords)

    @event.listens_for(engine.sync_engine, "connect")
    def _note_port(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info[_PORT] = client_port(record.driver_connection)

    @event.listens_for(engine.sync_engine, "invalidate")
    def _kill(
        _connection: object, record: ConnectionPoolEntry, error: BaseException | None
    ) -> None:
        port = record.info.get(_PORT)
        if port is None or not isinstance(error, asyncio.CancelledError) or not in_greenlet():
            return
        thread_id = record.driver_connection.thread_id()  # type: ignore[union-attr]  # it is still there
        killing = _kill_thread(dict(arguments), thread_id, port)
        task = tasks.start(killing, name="hqt_async_db kill statement")
        cancelled = await_(tasks.wait(task, None))
        if cancelled is not None:
            raise cancelled


def client_port(connection: Any) -> str | None:
    """Return the local port of a driver's connection, None for a Unix socket."""
    transport = getattr(connection, "_transport", None)  # asyncmy
    if transport is None:
        transport = connection._writer.transport  # noqa: SLF001 - aiomysql has no public name
    address = transport.get_extra_info("sockname")
    return str(address[1]) if isinstance(address, tuple) else None


async def _kill_thread(arguments: dict[str, Any], thread_id: int, port: str) -> None:
    connect = arguments.pop("async_creator_fn")
    arguments.pop("init_command", None)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            connection = await connect(**arguments)
            try:
                async with connection.cursor() as cursor:
                    await cursor.execute(_FIND, (thread_id, port))
                    if await cursor.fetchone():
                        await cursor.execute(f"KILL {thread_id:d}")
            finally:
                connection.close()
    except Exception as error:  # noqa: BLE001 - the cancellation is what the caller must see
        _log.warning("a cancelled statement may still run on the server: %s", type(error).__name__)
