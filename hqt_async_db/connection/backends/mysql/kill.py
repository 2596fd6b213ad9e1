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
from hqt_async_db.connection.backends.mysql.connection import is_open

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.pool import ConnectionPoolEntry

_log = logging.getLogger("hqt_async_db")

_TIMEOUT_S: Final = 2.0
_NO_SUCH_THREAD: Final = 1094
# By its client as well: behind a balancer the id alone could name a connection of
# somebody else, on another server.
_FIND: Final = "SELECT id FROM information_schema.processlist WHERE id = %s AND host = %s"


class Killer:
    """Ends on the server what the connections of an engine have begun.

    It costs a second connection for the moment, and nothing otherwise.

    Args:
        engine: The engine; connections that it gives up in mid-statement are
            ended on the server by themselves.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._arguments: dict[str, Any] = {}
        event.listen(engine.sync_engine, "do_connect", self._do_connect)
        event.listen(engine.sync_engine, "invalidate", self._invalidate)

    def _do_connect(
        self, _dialect: object, _record: object, _positional: object, keywords: dict[str, Any]
    ) -> None:
        self._arguments.update(keywords)

    def _invalidate(
        self, _connection: object, record: ConnectionPoolEntry, error: BaseException | None
    ) -> None:
        driver = record.driver_connection
        if not isinstance(error, asyncio.CancelledError) or is_open(driver) or not in_greenlet():
            return  # nothing runs on a connection that is open: it has been waited for
        cancelled = await_(tasks.wait(self._start("KILL", driver), None))
        if cancelled is not None:
            raise cancelled

    def end_statement(self, driver: Any) -> None:
        """Have the server end what runs on a connection of the driver, and answer."""
        self._start("KILL QUERY", driver)

    def _start(self, verb: str, driver: Any) -> asyncio.Task[None]:
        killing = _kill(dict(self._arguments), verb, driver.thread_id(), driver.client)
        return tasks.start(killing, name="hqt_async_db kill statement")


async def _kill(arguments: dict[str, Any], verb: str, thread_id: int, client: str) -> None:
    connect = arguments.pop("async_creator_fn")
    arguments.pop("init_command", None)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            connection = await connect(**arguments)
            try:
                async with connection.cursor() as cursor:
                    await cursor.execute(_FIND, (thread_id, client))
                    if await cursor.fetchone():
                        await cursor.execute(f"{verb} {thread_id:d}")
            finally:
                connection.close()
    except Exception as error:  # noqa: BLE001 - the cancellation is what the caller must see
        if error.args[:1] == (_NO_SUCH_THREAD,):
            return  # it has ended by itself
        _log.warning("a cancelled statement may still run on the server: %s", type(error).__name__)
