"""Threads for what would keep the event loop."""

from __future__ import annotations

import errno
import os
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

import pytest

from hqt_async_db.backup.native.pg_tools import Tools
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


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    """A program that tells its priority."""
    programs(tmp_path, "sleep 0.2; nice")
    return Tools(tmp_path, {})


async def test_programs_of_postgresql_give_way_as_well(tools: Tools) -> None:
    assert await tools.run("pg_dump") == b"%d\n" % min(priority() + 10, 19)
