"""A driver's answer, waited for in the task that asked, whose cancellation does not undo it.

To run a short statement in a task of its own costs as much as the statement.
"""

from __future__ import annotations

import asyncio
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
    """Do as :func:`tasks.attend`, but in the running task if ``work`` waits only once.

    What more it does after that, it does in a task of its own.

    Args:
        work: Must not ask for the running task before it has waited.
        name: Name of that task.
        owner: As there.
        timeout_s: As there, for each of the two parts.
        hasten: As there, for each of them.

    Returns:
        As there; what was given up may be cancelled by then.
    """
    outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    awaited, cancelled = _go_on(work, outcome), None
    if isinstance(awaited, asyncio.Future):
        # As a task does that steps; but the running one waits for a future of its own.
        awaited._asyncio_future_blocking = False  # noqa: SLF001 - asyncio's own protocol
        tasks.note(outcome, owner)
        cancelled = await tasks.wait(awaited, timeout_s, hasten)
        if awaited.done():
            awaited = _go_on(work, outcome)
        else:
            awaited.cancel()  # which tells the driver, and ``work`` in its task
            hasten, timeout_s = None, 0
    if outcome.done():
        return outcome, cancelled
    rest = tasks.attend(
        _rest(work, awaited), name=name, owner=owner, timeout_s=timeout_s, hasten=hasten
    )
    outcome.cancel()  # which nobody needs: there will be a task
    ended, further = await rest
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
