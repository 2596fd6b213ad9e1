"""Opening driver connections that cannot be lost on the way."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from hqt_async_db.connection import tasks
from hqt_async_db.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from sqlalchemy.ext.asyncio import AsyncEngine

_CLOSE_TIMEOUT_S: Final = 5.0


async def own(opening: Coroutine[Any, Any, Any], timeout_s: float | None = None) -> Any:
    """Return the connection that ``opening`` makes.

    A driver that is cancelled half-way may leave its socket, file or thread
    behind; so the opening runs in a task of its own, and a connection that
    arrives after its caller was cancelled is closed.

    Raises:
        TimeoutError: It took longer than ``timeout_s``.
    """
    task = tasks.start(_within(opening, timeout_s), name="hqt_async_db connect")
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_close_late)
        raise


def owning(connect: Callable[..., Awaitable[Any]], timeout_s: float) -> Callable[..., Any]:
    """Return ``connect`` so that :func:`own` guards every call of it."""

    async def opening(*arguments: Any, **keywords: Any) -> Any:
        try:
            return await connect(*arguments, **keywords)
        except TypeError as error:
            refused = str(error)
        # Outside the handler: a traceback of the driver's arguments helps nobody.
        msg = f"the driver does not take these connect_args: {refused}"
        raise ConfigurationError(msg)

    async def connect_owned(*arguments: Any, **keywords: Any) -> Any:
        return await own(opening(*arguments, **keywords), timeout_s)

    return connect_owned


class _Returned(Connection):
    """A connection that goes back to the pool if it cannot be prepared.

    MySQL needs round trips to set the isolation level; SQLAlchemy leaves it
    to the collector to find a connection that was cancelled in one of them.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        try:
            super().__init__(*arguments, **keywords)
        except BaseException as error:
            pooled = self.__dict__.get("_dbapi_connection")
            if pooled is not None:
                pooled.invalidate(error)
            raise


def return_unprepared(engine: AsyncEngine) -> None:
    """Have the connections of ``engine`` returned even when preparing them fails."""
    engine.sync_engine._connection_cls = _Returned  # noqa: SLF001 - there is no public way


async def _within(opening: Coroutine[Any, Any, Any], timeout_s: float | None) -> Any:
    async with asyncio.timeout(timeout_s):
        return await opening


def _close_late(task: asyncio.Task[Any]) -> None:
    if task.cancelled() or task.exception() is not None:
        return
    tasks.start(_close(task.result()), name="hqt_async_db close late connection")


async def _close(connection: Any) -> None:
    async with asyncio.timeout(_CLOSE_TIMEOUT_S):
        closing = connection.close()
        if inspect.isawaitable(closing):
            await closing
