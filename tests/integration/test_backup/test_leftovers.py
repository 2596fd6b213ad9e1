"""What a killed restore or verify leaves where temporary files are, and who clears it away."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from hqt_async_db.backup import DatabaseBackup, verify_backup
from tests.integration.test_backup.keeping import fill

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hqt_async_db import DatabaseManager

pytestmark = [pytest.mark.backends("sqlite-file"), pytest.mark.timeout(60)]

# Stays in the middle of it, with everything in scratch.
WORKING = """
import asyncio, sys, time
from hqt_async_db import DatabaseManager
from hqt_async_db.backup import DatabaseBackup
def stay(progress):
    print("reading", flush=True)
    time.sleep(60)
async def main():
    async with DatabaseManager(sys.argv[1]) as db:
        backup = DatabaseBackup(db)
        if sys.argv[3] == "verify":
            await backup.verify_backup(sys.argv[2], progress=stay)
        else:
            await backup.restore_database(sys.argv[2], confirm=True, progress=stay)
asyncio.run(main())
"""


@asynccontextmanager
async def working(url: str, path: Path, what: str) -> AsyncIterator[list[str]]:
    """Lend the names of what a process has in scratch, until it is killed."""
    before = set(await scratch())
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WORKING, url, str(path), what),
        stdout=subprocess.PIPE,
        env=os.environ | {"TMPDIR": tempfile.gettempdir()},
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"reading\n"
        yield sorted(set(await scratch()) - before)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()


async def scratch() -> list[str]:
    """Return the names of what is there."""
    return sorted(await asyncio.to_thread(os.listdir, tempfile.gettempdir()))


@pytest.mark.parametrize("what", ["verify", "restore"])
async def test_the_next_verify_clears_away_what_a_killed_process_left(
    db: DatabaseManager,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    """What another process works with, and what is nobody's scratch, stays."""
    await fill(db)
    path = await DatabaseBackup(db).backup_database(tmp_path / "backups")
    place = tmp_path / "temporary"
    await asyncio.to_thread((place / "hqt_scratch_of_mine").mkdir, parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    async with working(database_url, path, what) as left:
        assert await asyncio.to_thread(os.listdir, place / left[-1])
    async with working(database_url, path, what) as used:
        assert await asyncio.to_thread(os.listdir, place / used[-1])
        assert await scratch() == sorted(
            [*used, "hqt_scratch_of_mine"]
        )  # which cleared when it began
        await verify_backup(path)
        assert await scratch() == sorted([*used, "hqt_scratch_of_mine"])
    assert await scratch() == sorted([*used, "hqt_scratch_of_mine"])
    await DatabaseBackup(db).restore_database(path, confirm=True)
    assert await scratch() == ["hqt_scratch_of_mine"]
