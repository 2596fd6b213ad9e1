"""Cancelling an operation at one of its awaits, chosen by number."""

from __future__ import annotations

import asyncio
import os
import types
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

T = TypeVar("T")

Moment = Literal["asleep", "waking"]

# Where all awaits of slow operations would take minutes, some are tried.
TRIES_ALL: Final = bool(os.environ.get("HQT_TEST_EVERY_AWAIT"))


class Point:
    """The await at which an operation is cancelled.

    Args:
        number: Its number, counted from 1.
        moment: ``asleep`` cancels while what is awaited has not happened;
            ``waking`` when it has, but the task does not run yet.
    """

    def __init__(self, number: int, moment: Moment) -> None:
        self.number = number
        self.moment = moment
        self.was_reached = False

    def __str__(self) -> str:
        return f"await {self.number}, {self.moment}"


@types.coroutine
def cancelled_at(
    point: Point, operation: Coroutine[Any, Any, T], cancel: Callable[[], object]
) -> Generator[Any, Any, T]:
    """Run ``operation``, calling ``cancel`` when it waits for the n-th time."""
    steps = operation.__await__()
    advance: Callable[[], Any] = lambda: next(steps)  # noqa: E731 - replaced in each turn
    count = 0
    while True:
        try:
            awaited = advance()
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # it is the operation's result
        count += 1
        if count == point.number:
            point.was_reached = True
            _arrange(point.moment, awaited, cancel)
        try:
            value = yield awaited
        except BaseException as error:  # noqa: BLE001 - thrown into the operation
            advance = _throwing(steps, error)
        else:
            advance = _sending(steps, value)


def _sending(steps: Generator[Any, Any, Any], value: Any) -> Callable[[], Any]:
    return lambda: steps.send(value)


def _throwing(steps: Generator[Any, Any, Any], error: BaseException) -> Callable[[], Any]:
    return lambda: steps.throw(error)


def _arrange(moment: Moment, awaited: Any, cancel: Callable[[], object]) -> None:
    if moment == "waking" and awaited is not None:
        awaited.add_done_callback(lambda _: cancel())  # before the task's own
    else:
        asyncio.get_running_loop().call_soon(cancel)


async def cancelled(point: Point, operation: Coroutine[Any, Any, Any]) -> None:
    """Run ``operation`` in a task of its own, cancelled at a point."""

    async def work() -> None:
        await cancelled_at(point, operation, lambda: task.cancel())  # noqa: PLW0108 - it is made below

    task = asyncio.create_task(work())
    with suppress(asyncio.CancelledError):
        await task


async def every_await(
    trial: Callable[[Point], Awaitable[None]],
    moment: Moment,
    *,
    at_most: int = 400,
    first: int = 1,
    step: int = 1,
) -> int:
    """Try every await in turn, until the operation has fewer; return their number.

    Args:
        trial: Runs the operation, cancelled at a point.
        moment: When it is cancelled there.
        at_most: More awaits than these are an error.
        first: Which await to begin with.
        step: How many to go on, where the operation is too slow for all of them.
    """
    for number in range(first, at_most, step):
        point = Point(number, moment)
        await trial(point)
        if not point.was_reached:
            return number - 1
    msg = f"the operation awaits more than {at_most} times"
    raise AssertionError(msg)
