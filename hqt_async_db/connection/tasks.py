"""Work that must reach its end whatever happens to the task that asked for it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context

T = TypeVar("T")

# asyncio itself keeps only weak references to running tasks.
_running: dict[asyncio.Future[Any], object] = {}


def start(
    work: Coroutine[object, object, T],
    *,
    name: str,
    owner: object = None,
    context: Context | None = None,
) -> asyncio.Task[T]:
    """Run ``work`` in a task that nothing else references or cancels.

    Args:
        work: What to run.
        name: Name of the task, for whoever looks at the loop.
        owner: On whose behalf, for :func:`drain`.
        context: Where it runs, None for a copy of the caller's.
    """
    task = asyncio.create_task(work, name=name, context=context)
    note(task, owner)
    return task


def note(work: asyncio.Future[Any], owner: object) -> None:
    """Keep what is on its way until it is done, for :func:`drain`."""
    _running[work] = owner
    work.add_done_callback(_forget)


async def wait(
    task: asyncio.Future[T],
    timeout_s: float | None,
    hasten: Callable[[], object] | None = None,
) -> asyncio.CancelledError | None:
    """Wait for ``task`` to end; cancelling the waiter does not cancel it.

    Args:
        task: What to wait for.
        timeout_s: How long, None for ever.
        hasten: Called once if the waiter is cancelled, to bring the end about.

    Returns:
        The cancellation that arrived while waiting, for the caller to raise
        once it knows how the task ended, or None. After ``timeout_s`` the
        task may still be running.
    """
    loop = asyncio.get_running_loop()
    cancelled: asyncio.CancelledError | None = None
    is_over = False

    def wake(_: object = None) -> None:
        nonlocal is_over
        is_over = True
        if not waiter.done():
            waiter.set_result(None)

    waiter = loop.create_future()
    timer = None if timeout_s is None else loop.call_later(timeout_s, wake)
    task.add_done_callback(wake)
    try:
        if hasten is not None:  # behind the shield it would not be called
            try:
                await waiter
            except asyncio.CancelledError as first:
                cancelled = first
                hasten()
        if not is_over:
            with _shield():
                while not is_over:
                    waiter = loop.create_future()
                    try:
                        await waiter
                    except asyncio.CancelledError as further:
                        cancelled = further
    finally:
        task.remove_done_callback(wake)
        if timer is not None:
            timer.cancel()
    return cancelled


async def attend(  # noqa: PLR0913 - what start and wait take
    work: Coroutine[object, object, T],
    *,
    name: str,
    owner: object = None,
    timeout_s: float | None = None,
    hasten: Callable[[], object] | None = None,
    context: Context | None = None,
) -> tuple[asyncio.Future[T], asyncio.CancelledError | None]:
    """Run ``work`` in a task of its own, as :func:`start`, and wait for it as :func:`wait` does.

    Returns:
        What became of it, not done if it was given up after ``timeout_s``; and
        the cancellation that arrived meanwhile, or None.
    """
    task = start(work, name=name, owner=owner, context=context)
    cancelled = await wait(task, timeout_s, hasten)
    if not task.done():
        give_up(task)
    return task, cancelled


async def finish(
    work: Coroutine[object, object, T],
    *,
    name: str,
    owner: object = None,
    timeout_s: float | None = None,
) -> T:
    """Run ``work`` to its end in a task of its own and return its result.

    A cancellation that arrives meanwhile goes on once the work has ended.

    Raises:
        TimeoutError: The work did not end within ``timeout_s``; it is
            cancelled, and ends by itself.
    """
    ended, cancelled = await attend(work, name=name, owner=owner, timeout_s=timeout_s)
    if not ended.done():
        raise cancelled or TimeoutError
    if cancelled is not None:
        retrieve(ended)
        raise cancelled
    return ended.result()


def give_up(task: asyncio.Task[Any]) -> None:
    """Cancel a task that nobody waits for any more."""
    task.add_done_callback(retrieve)
    task.cancel()


def are_running(owner: object) -> bool:
    """Tell whether a task of ``owner`` has not ended yet."""
    return any(of is owner for of in _running.values())


async def drain(owner: object) -> None:
    """Wait for the work of ``owner``, whatever its result."""
    while pending := [work for work, of in _running.items() if of is owner]:
        await asyncio.wait(pending)


def _forget(work: asyncio.Future[Any]) -> None:
    del _running[work]


def retrieve(work: asyncio.Future[Any]) -> None:
    """Take the exception out of what nobody waits for any more."""
    if not work.cancelled():
        work.exception()


def _shield() -> contextlib.AbstractContextManager[object]:
    """Return anyio's shield where anyio runs.

    anyio delivers a cancellation again and again until the scope is left, so
    that waiting without its shield would spin.
    """
    anyio = sys.modules.get("anyio")
    return contextlib.nullcontext() if anyio is None else anyio.CancelScope(shield=True)
