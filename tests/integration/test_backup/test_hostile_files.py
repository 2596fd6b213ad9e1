"""Files made to fill the memory, to keep a thread busy, or to break what reads them."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING

import pytest
from zstandard import ZstdCompressor

from hqt_async_db import DatabaseManager, ImportDataError
from hqt_async_db.backup import DatabaseBackup
from hqt_async_db.backup.formats.unpacking import file_blocks

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.backends("sqlite-file")

EMPTY_MEMBERS = 60_000


@pytest.fixture
def backup(db: DatabaseManager) -> DatabaseBackup:
    return DatabaseBackup(db)


async def write(path: Path, content: bytes) -> Path:
    await asyncio.to_thread(path.write_bytes, content)
    return path


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
async def test_members_without_content_take_no_time(
    backup: DatabaseBackup, tmp_path: Path, suffix: str
) -> None:
    path = await write(tmp_path / f"users.csv{suffix}", empty_member(suffix) * EMPTY_MEMBERS)
    with pytest.raises(ImportDataError, match="has no header"):
        async with asyncio.timeout(5):
            await backup.import_table_from_csv("users", path)


async def test_a_cancellation_does_not_wait_for_members_without_content(
    backup: DatabaseBackup, tmp_path: Path
) -> None:
    path = await write(tmp_path / "users.csv.gz", empty_member(".gz") * 20 * EMPTY_MEMBERS)
    importing = asyncio.create_task(backup.import_table_from_csv("users", path))
    await asyncio.sleep(0.3)
    assert not importing.done()
    importing.cancel()
    async with asyncio.timeout(1):
        await asyncio.wait([importing])
    assert importing.cancelled()


async def test_members_are_joined_wherever_they_end(tmp_path: Path) -> None:
    parts = [bytes([n % 251]) * n for n in range(600)]
    path = await write(tmp_path / "x.gz", b"".join(map(gzip.compress, parts)))
    assert b"".join([block async for block in file_blocks(path)]) == b"".join(parts)


def empty_member(suffix: str) -> bytes:
    if suffix == ".gz":
        return gzip.compress(b"")
    return ZstdCompressor().compress(b"")
