"""Opening driver connections that cannot be lost on the way."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

from hqt_async_db.connection import tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine


async def own(opening: Coroutine[Any, Any, Any], timeout_s: float | None = None) -> Any:
    """Return the connection that ``opening`` makes.

    A driver that is cancelled half-way may leave its socket, file or thread
    behind; so the opening runs in a task of its own, and a connection that
    arrives after its caller was cancelled is closed.

    Raises:
        TimeoutError: It took longer than ``timeout_s``.
    """
    task = tasks.start(opening, name="hqt_async_db connect")
    try:
        async with asyncio.timeout(timeout_s):
            return await asyncio.shield(task)
    except (asyncio.CancelledError, TimeoutError):
        task.add_done_callback(_close_late)
        raise


def owning(connect: Callable[..., Awaitable[Any]], timeout_s: float) -> Callable[..., Any]:
    """Return ``connect`` so that :func:`own` guards every call of it."""

    async def opening(*arguments: Any, **keywords: Any) -> Any:
        return await connect(*arguments, **keywords)

    async def connect_owned(*arguments: Any, **keywords: Any) -> Any:
        return await own(opening(*arguments, **keywords), timeout_s)

    return connect_owned


def _close_late(task: asyncio.Task[Any]) -> None:
    if task.cancelled() or task.exception() is not None:
        return
    tasks.start(_close(task.result()), name="hqt_async_db close late connection")


async def _close(connection: Any) -> None:
    closing = connection.close()
    if inspect.isawaitable(closing):
        await closing
