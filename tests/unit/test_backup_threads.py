"""Threads for what would keep the event loop."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

import pytest

from hqt_async_db.backup.native.pg_tools import Tools
from hqt_async_db.backup.progress import FileReport, Progress
from hqt_async_db.backup.threads import WorkThread
from tests.integration.test_backup.programs import programs

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads share their priority")


def priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


async def test_a_thread_that_gives_way_has_a_lower_priority_alone() -> None:
    before = priority()
    async with WorkThread("eager") as eager, WorkThread("idle", gives_way=True) as idle:
        assert await idle.run(priority) == min(before + 5, 19)
        assert await eager.run(priority) == before
    assert priority() == before


async def test_it_works_where_priorities_may_not_be_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise PermissionError(errno.EPERM, "not in this sandbox")

    monkeypatch.setattr(os, "setpriority", refuse)
    async with WorkThread("idle", gives_way=True) as idle:
        assert await idle.run(int, "7") == 7


async def test_nothing_is_told_while_nothing_is_known() -> None:
    told: list[Progress] = []
    report = FileReport("hqt.db", told.append)
    for pages, total in ((0, 0), (0, 0), (3, 3)):  # at first another process has the lock
        await asyncio.to_thread(report.at, pages, total)
    assert told == [Progress("hqt.db", 3, 3, "pages")]


def test_what_was_lent_is_closed_where_the_loop_ends() -> None:
    made: list[Lent] = []
    may_be_made = threading.Event()
    running: list[asyncio.Task[None]] = []

    async def borrow() -> None:
        async with WorkThread("lend") as thread, thread.lending(Lent, made, may_be_made):
            pytest.fail("the loop ended before")

    async def leave() -> None:
        running.append(asyncio.create_task(borrow()))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.05, may_be_made.set)

    asyncio.run(leave())
    assert [lent.is_closed for lent in made] == [True]


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    """A program that tells its priority."""
    programs(tmp_path, "sleep 0.2; nice")
    return Tools(tmp_path, {})


async def test_programs_of_postgresql_give_way_as_well(tools: Tools) -> None:
    assert await tools.run("pg_dump") == b"%d\n" % min(priority() + 10, 19)


class Lent:
    """Something to be closed, which takes its time to be made."""

    def __init__(self, made: list[Lent], may_be_made: threading.Event) -> None:
        assert may_be_made.wait(10)
        made.append(self)
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_what_was_lent_is_closed_though_nobody_got_to_use_it(*, is_cancelled: bool) -> None:
    made: list[Lent] = []
    may_be_made = threading.Event()

    async def borrow() -> bool:
        async with WorkThread("lend") as thread, thread.lending(Lent, made, may_be_made) as lent:
            return lent.is_closed

    task = asyncio.create_task(borrow())
    await asyncio.sleep(0)
    if is_cancelled:
        task.cancel()
        await asyncio.sleep(0)
    may_be_made.set()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(outcome, asyncio.CancelledError) if is_cancelled else outcome is False
    assert [lent.is_closed for lent in made] == [True]
