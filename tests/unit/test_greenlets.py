"""Greenlets that are kept: as SQLAlchemy's own, one call after the other."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import NoReturn

import pytest
from greenlet import getcurrent
from sqlalchemy.util.concurrency import await_, in_greenlet

from hqt_async_db.connection.greenlets import spawn

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


def add(one: int, *, other: int) -> int:
    assert in_greenlet()
    await_(asyncio.sleep(0))
    return one + other


async def test_a_function_awaits_and_returns() -> None:
    assert [await spawn(add, number, other=1) for number in range(50)] == list(range(1, 51))
    assert sorted(await asyncio.gather(*(spawn(add, n, other=0) for n in range(50)))) == list(
        range(50)
    )


async def test_the_same_greenlet_serves_the_next_call() -> None:
    first = await spawn(getcurrent)
    assert await spawn(getcurrent) is first


async def test_an_error_is_raised_and_forgotten() -> None:
    def fail() -> NoReturn:
        await_(asyncio.sleep(0))
        raise LookupError

    with pytest.raises(LookupError):
        await spawn(fail)
    assert await spawn(add, 1, other=1) == 2


async def test_a_cancellation_arrives_where_the_function_awaits() -> None:
    arrived: list[bool] = []

    def wait() -> None:
        try:
            await_(asyncio.sleep(60))
        except asyncio.CancelledError:
            arrived.append(True)
            raise

    task = asyncio.create_task(spawn(wait))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert arrived == [True]
    assert await spawn(add, 1, other=1) == 2


async def test_context_variables_are_those_of_the_task() -> None:
    def read_and_set(value: str) -> str:
        before = VARIABLE.get()
        VARIABLE.set(value)
        return before

    async def use(value: str) -> None:
        VARIABLE.set(value)
        assert await spawn(read_and_set, f"{value}!") == value
        assert VARIABLE.get() == f"{value}!"

    await asyncio.gather(use("a"), use("b"))


def test_each_thread_keeps_its_own() -> None:
    found: list[object] = []

    def run() -> None:
        found.append(asyncio.run(spawn(getcurrent)))

    for _ in range(2):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert found[0] is not found[1]
