"""Long work on the event loop, in steps short enough for its other tasks."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy.util.concurrency import await_, in_greenlet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

T = TypeVar("T")
R = TypeVar("R")

# Half of what a step may take: its last piece of work comes on top.
STEP_S: Final = 0.0005
# Instances of a wide model that take 10 µs each make a piece of this size too.
_FIRST_PIECE: Final = 50
_SHORTEST_S: Final = 1e-6


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


async def mapped(make: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Return ``make`` of each item, in pieces of half a millisecond.

    Cheaper than :func:`paced` where there is nothing to await in between.
    """
    return await in_pieces(lambda piece: [make(item) for item in piece], items)


async def in_pieces(make: Callable[[Sequence[T]], list[R]], items: Sequence[T]) -> list[R]:
    """Return what ``make`` makes of pieces that take it half a millisecond each."""
    size = _FIRST_PIECE
    if len(items) <= size:
        return make(items)
    made: list[R] = []
    start = 0
    while True:
        began = perf_counter()
        made += make(items[start : start + size])
        start += size
        if start >= len(items):
            return made
        took = perf_counter() - began
        # No more than twice as many: one quick piece says little of the next.
        size = max(1, min(2 * size, int(size * STEP_S / max(took, _SHORTEST_S))))
        await asyncio.sleep(0)


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
