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
from hqt_async_db.connection.backends.mysql.connection import transport_of

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


class Killer:
    """Ends on the server what the connections of an engine have begun.

    It costs a second connection for the moment, and nothing otherwise.

    Args:
        engine: The engine; connections that it gives up in mid-statement are
            ended on the server by themselves.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._arguments: dict[str, Any] = {}
        for name in ("do_connect", "connect", "invalidate"):
            event.listen(engine.sync_engine, name, getattr(self, f"_{name}"))

    def _do_connect(
        self, _dialect: object, _record: object, _positional: object, keywords: dict[str, Any]
    ) -> None:
        self._arguments.update(keywords)

    def _connect(self, _connection: object, record: ConnectionPoolEntry) -> None:
        record.info[_PORT] = client_port(record.driver_connection)

    def _invalidate(
        self, _connection: object, record: ConnectionPoolEntry, error: BaseException | None
    ) -> None:
        port = record.info.get(_PORT)
        if port is None or not isinstance(error, asyncio.CancelledError) or not in_greenlet():
            return
        thread_id = record.driver_connection.thread_id()  # type: ignore[union-attr]  # it is still there
        task = self._start("KILL", thread_id, port)
        cancelled = await_(tasks.wait(task, None))
        if cancelled is not None:
            raise cancelled

    def end_statement(self, driver: Any) -> None:
        """Have the server end what runs on a connection of the driver, and answer."""
        port = client_port(driver)
        if port is not None:
            self._start("KILL QUERY", driver.thread_id(), port)

    def _start(self, verb: str, thread_id: int, port: str) -> asyncio.Task[None]:
        killing = _kill(dict(self._arguments), verb, thread_id, port)
        return tasks.start(killing, name="hqt_async_db kill statement")


def client_port(connection: Any) -> str | None:
    """Return the local port of a driver's connection, None for a Unix socket."""
    address = transport_of(connection).get_extra_info("sockname")
    return str(address[1]) if isinstance(address, tuple) else None


async def _kill(arguments: dict[str, Any], verb: str, thread_id: int, port: str) -> None:
    connect = arguments.pop("async_creator_fn")
    arguments.pop("init_command", None)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            connection = await connect(**arguments)
            try:
                async with connection.cursor() as cursor:
                    await cursor.execute(_FIND, (thread_id, port))
                    if await cursor.fetchone():
                        await cursor.execute(f"{verb} {thread_id:d}")
            finally:
                connection.close()
    except Exception as error:  # noqa: BLE001 - the cancellation is what the caller must see
        _log.warning("a cancelled statement may still run on the server: %s", type(error).__name__)
