"""How long work keeps the event loop from all else."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable


async def longest_step_ms(work: Awaitable[Any]) -> tuple[float, float]:
    """Return the CPU time in ms of the longest turn of the loop, and of all."""
    loop: Any = asyncio.get_running_loop()
    turn = loop._run_once  # noqa: SLF001 - a task that looks after each turn would make them busy
    spent: list[float] = []

    def timed_turn() -> None:
        started = time.thread_time()
        turn()
        spent.append(time.thread_time() - started)

    task = asyncio.ensure_future(work)  # it begins with the next turn
    gc.collect()  # new objects then take the memory of old ones
    gc.freeze()  # what is left need not be looked at again
    gc.disable()
    loop._run_once = timed_turn  # noqa: SLF001
    try:
        await task
    finally:
        del loop._run_once  # noqa: SLF001
        gc.enable()
    return max(spent) * 1e3, sum(spent) * 1e3
