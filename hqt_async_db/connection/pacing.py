"""Long work on the event loop, in steps short enough for its other tasks."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy.util.concurrency import await_, in_greenlet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

T = TypeVar("T")

# Half of what a step may take: its last piece of work comes on top.
STEP_S: Final = 0.0005


async def paced(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield the items; after each half millisecond let other tasks run first.

    What the loop body does with an item counts as well, so it may be any
    small piece of work. Each item costs about 0.2 µs.
    """
    step_ends = perf_counter() + STEP_S
    for item in items:
        if perf_counter() >= step_ends:
            await asyncio.sleep(0)
            step_ends = perf_counter() + STEP_S
        yield item


class Pauses:
    """Pauses in code that cannot await, because SQLAlchemy calls it.

    SQLAlchemy runs in a greenlet, from which the loop can be let go.
    """

    __slots__ = ("_step_ends",)

    def __init__(self) -> None:
        self._step_ends = 0.0

    def pause(self) -> None:
        """Let other tasks run if the step is over."""
        if perf_counter() >= self._step_ends and in_greenlet():
            await_(asyncio.sleep(0))
            self._step_ends = perf_counter() + STEP_S
