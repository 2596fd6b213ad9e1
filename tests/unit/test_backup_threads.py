"""Threads for what would keep the event loop."""

from __future__ import annotations

import errno
import os
import sys
import threading
from typing import NoReturn

import pytest

from hqt_async_db.backup.threads import WorkThread

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads share their priority")


def priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


async def test_a_thread_that_gives_way_has_the_lowest_priority_alone() -> None:
    before = priority()
    async with WorkThread("eager") as eager, WorkThread("idle", gives_way=True) as idle:
        assert await idle.run(priority) == 19
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
