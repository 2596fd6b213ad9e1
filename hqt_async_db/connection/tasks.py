"""Work that must reach its end whatever happens to the task that asked for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context

T = TypeVar("T")

_log = logging.getLogger("hqt_async_db")

# How long what is late may take once it was asked to end.
GRACE_S: Final = 1.0

# asyncio itself keeps only weak references to running tasks. Loops in other threads come and
# go in it, so whoever looks through it looks at a copy, which is made at once.
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
        hasten: Called once if the waiter is cancelled or the time is up, to
            bring the end about; which may then take ``GRACE_S`` more.

    Returns:
        The cancellation that arrived while waiting, for the caller to raise
        once it knows how the task ended, or None. After ``timeout_s`` the
        task may still be running.
    """
    waiting = _Waiting(hasten)
    cancelled: asyncio.CancelledError | None = None
    waiting.limit(timeout_s)
    task.add_done_callback(waiting.wake)
    try:
        if hasten is not None:  # behind the shield it would not be called
            try:
                await waiting.once()
            except asyncio.CancelledError as first:
                cancelled = first
                waiting.urge()
        if not waiting.is_over:
            with _shield():
                while not waiting.is_over:
                    try:
                        await waiting.once()
                    except asyncio.CancelledError as further:
                        cancelled = further
    finally:
        task.remove_done_callback(waiting.wake)
        waiting.limit(None)
    return cancelled


class _Waiting:
    """What wakes one call of :func:`wait`: the end of the task, or that of its time."""

    __slots__ = ("_hasten", "_loop", "_timer", "_waiter", "is_over")

    def __init__(self, hasten: Callable[[], object] | None) -> None:
        self._hasten = hasten
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.is_over = False

    def once(self) -> asyncio.Future[None]:
        """Return what is done when it is over."""
        self._waiter = self._loop.create_future()
        return self._waiter

    def wake(self, _: object = None) -> None:
        """End the wait."""
        self.is_over = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def limit(self, timeout_s: float | None) -> None:
        """Set the time from now on, None for no limit."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if timeout_s is None else self._loop.call_later(timeout_s, self._run_out)

    def _run_out(self) -> None:
        if self._hasten is None:
            self.wake()
        else:
            self.urge()
            self.limit(GRACE_S)

    def urge(self) -> None:
        """Call ``hasten``, once."""
        hasten, self._hasten = self._hasten, None
        if hasten is None:
            return
        try:
            hasten()
        except Exception as error:  # noqa: BLE001 - what the caller must know is how the task ends
            _log.warning("what was given up could not be ended early: %s", type(error).__name__)


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
    return any(of is owner for of in _running.copy().values())


async def drain(owner: object) -> None:
    """Wait for the work of ``owner``, whatever its result; what a closed loop left has ended."""
    # A copy is made at once. A list of the items may meet a collection of garbage, in which
    # another thread gets its turn, and changes them.
    while pending := [work for work, of in _running.copy().items() if of is owner]:
        for work in pending:
            if work.get_loop().is_closed():
                _forget(work)
        if left := [work for work in pending if work in _running]:
            await asyncio.wait(left)


def _forget(work: asyncio.Future[Any]) -> None:
    _running.pop(work, None)


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
