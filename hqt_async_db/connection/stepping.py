"""A driver's answer, waited for in the task that asked, whose cancellation does not undo it.

To run a short statement in a task of its own costs as much as the statement.
"""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from types import coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from hqt_async_db.connection import tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

T = TypeVar("T")


async def attend(
    work: Coroutine[Any, Any, T],
    *,
    name: str,
    owner: object = None,
    timeout_s: float | None = None,
    hasten: Callable[[], object] | None = None,
) -> tuple[asyncio.Future[T], asyncio.CancelledError | None]:
    """Do as :func:`tasks.attend`, but in the running task as long as ``work`` waits only once.

    What more it does after that, it does in a task of its own. A loop that
    ends waits for the first part, as every task does that waits here; it
    cancels the second.

    Args:
        work: Nothing that belongs to a task, such as ``asyncio.timeout``, may
            last in it from before its first wait until after that.
        name: Name of the task.
        owner: As there.
        timeout_s: As there, for all of it.
        hasten: As there, for each of the two parts.

    Returns:
        As there; what was given up may be cancelled by then.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()
    context = copy_context()  # what ``work`` sets there is its own, as in a task
    awaited, cancelled = context.run(_go_on, work, outcome), None
    if isinstance(awaited, asyncio.Future):
        # As a task does that steps; but the running one waits for a future of its own.
        awaited._asyncio_future_blocking = False  # noqa: SLF001 - asyncio's own protocol
        ends_at = None if timeout_s is None else loop.time() + timeout_s
        tasks.note(outcome, owner)
        try:
            cancelled = await tasks.wait(awaited, timeout_s, hasten)
        except BaseException:  # the program ends
            outcome.cancel()
            raise
        if awaited.done():
            awaited = context.run(_go_on, work, outcome)
        else:
            awaited.cancel()  # which tells the driver, and ``work`` in its task
            hasten = None  # that was to no avail
        timeout_s = None if ends_at is None else max(0.0, ends_at - loop.time())
    if outcome.done():
        return outcome, cancelled
    outcome.cancel()  # nobody has it; from here on there is a task
    ended, further = await tasks.attend(
        _rest(work, awaited),
        name=name,
        owner=owner,
        timeout_s=timeout_s,
        hasten=hasten,
        context=context,
    )
    return ended, further or cancelled


def _go_on(work: Coroutine[Any, Any, T], outcome: asyncio.Future[T]) -> Any:
    """Go on with ``work`` until it waits, for what is returned, or has an outcome."""
    try:
        return work.send(None)
    except StopIteration as end:
        outcome.set_result(end.value)
    except Exception as error:  # noqa: BLE001 - raised again by whoever looks
        outcome.set_exception(error)
    except asyncio.CancelledError:
        outcome.cancel()
    except BaseException:  # the program ends
        outcome.cancel()
        raise
    return None


async def _rest(work: Coroutine[Any, Any, T], awaited: Any) -> T:
    """Do what is left of ``work``, which waits for ``awaited``."""
    return await _steps(work, awaited)


@coroutine
def _steps(work: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, None, T]:
    if awaited is not None:
        awaited._asyncio_future_blocking = True  # noqa: SLF001 - as it was when it came
    while True:
        thrown: BaseException | None = None
        try:
            yield awaited
        except BaseException as error:  # noqa: BLE001 - for ``work``, which is what was cancelled
            thrown = error
        try:
            awaited = work.send(None) if thrown is None else work.throw(thrown)
        except StopIteration as end:
            result: T = end.value
            return result
