"""Work that ends whatever happens to who asked for it."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
from typing import TYPE_CHECKING

import anyio
import pytest

from hqt_async_db.connection import tasks

if TYPE_CHECKING:
    from collections.abc import Callable


class Work:
    """Waits for a sign, then returns or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.may_end = asyncio.Event()
        self.has_ended = False
        self._error = error

    async def __call__(self) -> str:
        await self.may_end.wait()
        self.has_ended = True
        if self._error is not None:
            raise self._error
        return "result"


async def test_the_result_comes_back() -> None:
    work = Work()
    work.may_end.set()
    assert await tasks.finish(work(), name="work") == "result"


async def test_the_error_comes_back() -> None:
    work = Work(LookupError("mine"))
    work.may_end.set()
    with pytest.raises(LookupError, match="mine"):
        await tasks.finish(work(), name="work")


@pytest.mark.parametrize("error", [None, LookupError("nobody sees it")])
async def test_a_cancelled_caller_waits_and_is_cancelled(error: Exception | None) -> None:
    work = Work(error)
    caller = asyncio.create_task(tasks.finish(work(), name="work"))
    for _ in range(3):
        await asyncio.sleep(0)
        caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    work.may_end.set()
    await asyncio.wait([caller])
    assert caller.cancelled()
    assert work.has_ended


async def test_the_timeout_of_the_caller_keeps_its_count() -> None:
    work = Work()
    asyncio.get_running_loop().call_later(0.05, work.may_end.set)
    task = asyncio.current_task()
    assert task is not None
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await tasks.finish(work(), name="work")
    assert work.has_ended
    assert task.cancelling() == 0


async def test_anyio_cancels_again_and_again_to_no_avail() -> None:
    """Nor does the loop spin while it waits."""
    work = Work()
    asyncio.get_running_loop().call_later(0.3, work.may_end.set)
    began = time.thread_time()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await tasks.finish(work(), name="work")
        await anyio.lowlevel.checkpoint()
        pytest.fail("the scope is cancelled")
    assert work.has_ended
    assert time.thread_time() - began < 0.15
    assert scope.cancelled_caught


async def test_who_does_not_end_in_time_is_given_up() -> None:
    work = Work()
    owner = object()
    with pytest.raises(TimeoutError):
        await tasks.finish(work(), name="work", owner=owner, timeout_s=0.01)
    assert tasks.are_running(owner)
    await tasks.drain(owner)
    assert not tasks.are_running(owner)
    assert not work.has_ended


async def test_nobody_else_keeps_it_alive() -> None:
    ended: list[str] = []

    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    def start(end: Callable[[], None]) -> None:
        tasks.start(work(), name="forgotten").add_done_callback(lambda _: end())

    start(lambda: ended.append("collected"))
    await asyncio.sleep(0)
    gc.collect()
    assert not ended
    for task in asyncio.all_tasks():
        if task.get_name() == "forgotten":
            task.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert ended


async def test_draining_waits_for_the_owner_s_tasks_alone() -> None:
    mine, others = Work(), Work()
    owner = object()
    tasks.start(mine(), name="mine", owner=owner)
    other = tasks.start(others(), name="other", owner=object())
    draining = asyncio.create_task(tasks.drain(owner))
    await asyncio.sleep(0)
    assert not draining.done()
    mine.may_end.set()
    await draining
    assert not other.done()
    others.may_end.set()
    assert await other == "result"


async def test_a_cancellation_outlives_what_cannot_be_hastened() -> None:
    def hasten() -> None:
        msg = "there is nobody to ask"
        raise LookupError(msg)

    work = Work()
    ended = tasks.start(work(), name="work")
    caller = asyncio.create_task(tasks.wait(ended, None, hasten))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0)
    work.may_end.set()
    assert isinstance(await caller, asyncio.CancelledError)
    assert ended.result() == "result"


async def test_what_is_late_is_hastened_once_and_given_up_after_a_grace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "GRACE_S", 0.05)
    calls: list[float] = []
    started = time.monotonic()
    work = Work()
    ended = tasks.start(work(), name="work")
    waiting = tasks.wait(ended, 0.05, lambda: calls.append(time.monotonic() - started))
    assert await waiting is None
    assert not ended.done()
    assert len(calls) == 1
    assert 0.05 <= calls[0] < time.monotonic() - started - 0.04
    work.may_end.set()
    await ended


def test_loops_in_several_threads_do_not_disturb_each_other() -> None:
    owner, is_over = object(), threading.Event()

    async def work() -> None:
        while not is_over.is_set():
            works = [tasks.start(asyncio.sleep(0), name="work", owner=owner) for _ in range(50)]
            await asyncio.wait(works)

    async def look() -> None:
        others = [tasks.start(asyncio.sleep(5), name="other") for _ in range(500)]
        for _ in range(2000):
            tasks.are_running(None)
            await tasks.drain(object())
        for other in others:
            other.cancel()
        await asyncio.wait(others)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    worker = threading.Thread(target=asyncio.run, args=(work(),))
    worker.start()
    try:
        asyncio.run(look())
    finally:
        is_over.set()
        worker.join()
        sys.setswitchinterval(interval)
