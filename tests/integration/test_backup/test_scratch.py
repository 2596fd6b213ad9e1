"""Scratch databases and the programs that fill them: gone, whenever a caller is cancelled."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from hqt_async_db.backup.native.pg_tools import Tools
from hqt_async_db.backup.native.scratch import in_use, scratch_database
from tests.integration.test_backup.programs import programs

if TYPE_CHECKING:
    from pathlib import Path

    from hqt_async_db import DatabaseManager
    from tests.fixtures.managers import RecordStatements
    from tests.servers.admin import Admin

# So many turns of the loop are more than a program takes to start.
TURNS = 40


@pytest.mark.backends("postgresql")
async def test_a_scratch_database_is_dropped_whenever_its_caller_is_cancelled(
    db: DatabaseManager, server: Admin, statements: RecordStatements
) -> None:
    """Cancelled at one moment after the other, until the database is lent before."""
    lent = asyncio.Event()

    async def work() -> None:
        async with scratch_database(db) as scratch:
            await scratch.ping()
            lent.set()

    with statements(db) as sent:
        for delay_ms in range(0, 2000, 3):
            task = asyncio.create_task(work())
            await asyncio.sleep(delay_ms / 1000)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            left = await asyncio.to_thread(server.databases, "hqt_scratch_")
            made = [statement for statement in sent if "CREATE DATABASE" in statement]
            assert [name for name in left if any(name in statement for statement in made)] == []
            if lent.is_set():
                break
    assert lent.is_set()
    assert any("CREATE DATABASE" in statement for statement in sent)


@pytest.mark.backends("postgresql")
async def test_what_a_killed_process_left_is_dropped_unless_it_is_used(
    db: DatabaseManager, server: Admin
) -> None:
    now = int(time.time())
    left, used, new = (f"hqt_scratch_{now - age_s}" for age_s in (4000, 4001, 1000))
    try:
        for name in (left, used, new):
            await asyncio.to_thread(server.execute, f'CREATE DATABASE "{name}"')
        async with in_use(db, used), scratch_database(db) as scratch:
            await scratch.ping()
            there = await asyncio.to_thread(server.databases, "hqt_scratch_")
            assert left not in there
            assert {used, new, scratch.url.database} <= set(there)
    finally:
        for name in (left, used, new):
            await asyncio.to_thread(server.execute, f'DROP DATABASE IF EXISTS "{name}"')


def running(directory: Path) -> list[str]:
    """Return the programs of a directory that run, or that nobody waited for."""
    found = psutil.Process().children(recursive=True)
    return [" ".join(one.cmdline()) for one in found if str(directory) in " ".join(one.cmdline())]


async def test_a_program_is_ended_whenever_its_caller_is_cancelled(tmp_path: Path) -> None:
    """Cancelled after each turn of the loop, while it starts, too."""
    await asyncio.to_thread(programs, tmp_path, "exec tail -f /dev/null --retry -- $0")
    tools = Tools(tmp_path, {})
    for turns in range(TURNS):
        task = asyncio.create_task(tools.run("pg_dump"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(running, tmp_path) == []


async def test_what_a_program_writes_is_private(tmp_path: Path) -> None:
    await asyncio.to_thread(programs, tmp_path, 'touch "$1"')
    await Tools(tmp_path, {}).run("pg_dump", str(tmp_path / "written"))
    mode = (await asyncio.to_thread(os.stat, tmp_path / "written")).st_mode
    assert stat.S_IMODE(mode) == 0o600
