"""Databases that are damaged or hold what no backup brings back, and how one gets out of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hqt_async_db import BackupError, BackupVerificationError, DatabaseManager, ImportDataError
from hqt_async_db.backup import DatabaseBackup
from tests.integration.test_backup.archives import put_rows
from tests.integration.test_backup.keeping import everything, fill, usernames

PAGE_BYTES = 4096


def damage(live: Path, what: str) -> None:
    """Overwrite the header of a file that nobody uses, or the second half of its pages."""
    content = bytearray(live.read_bytes())
    start = 0 if what == "header" else len(content) // PAGE_BYTES // 2 * PAGE_BYTES
    end = 100 if what == "header" else len(content)
    content[start:end] = b"\xa5" * (end - start)
    live.write_bytes(content)


def move_away(live: Path) -> None:
    """Do what the error says."""
    for suffix in ("", "-wal", "-shm"):
        path = live.with_name(f"{live.name}{suffix}")
        if path.exists():
            path.rename(f"{path}.damaged")


@pytest.mark.parametrize("what", ["header", "pages"])
async def test_a_damaged_file_is_told_from_a_damaged_backup(tmp_path: Path, what: str) -> None:
    live = tmp_path / "live.db"
    url = f"sqlite:///{live}"
    async with DatabaseManager(url) as db:
        await db.create_all()
        await fill(db)
        before = await everything(db)
        path = await DatabaseBackup(db).backup_database(tmp_path / "backups")
    await asyncio.to_thread(damage, live, what)
    damaged = await asyncio.to_thread(live.read_bytes)
    async with DatabaseManager(url) as db:
        with pytest.raises(BackupError, match=r"backup to be restored is whole.*move it") as raised:
            await DatabaseBackup(db).restore_database(path, confirm=True)
    assert not isinstance(raised.value, BackupVerificationError)
    assert await asyncio.to_thread(live.read_bytes) == damaged
    await asyncio.to_thread(move_away, live)
    async with DatabaseManager(url) as db:
        await DatabaseBackup(db).restore_database(path, confirm=True)
        assert await everything(db) == before


@pytest.mark.backends("sqlite-memory", "postgresql", "mariadb")
async def test_a_load_that_is_refused_names_the_safety_backup(
    db: DatabaseManager, tmp_path: Path
) -> None:
    """An archive whose rows cannot be together: its figures fit them."""
    await fill(db)
    path = await DatabaseBackup(db).backup_database(tmp_path, format="archive")
    users = (await everything(db))["users"]
    await asyncio.to_thread(put_rows, path, "users", users + users.replace(b'"id":1', b'"id":2'))
    with pytest.raises(ImportDataError, match="row 1 has the same") as raised:
        await DatabaseBackup(db).restore_database(path, confirm=True)
    (note,) = raised.value.__notes__
    kept = Path(note.rpartition(": ")[2])
    assert await usernames(db) == ["keeper"]
    restored = await DatabaseBackup(db).restore_database(kept, confirm=True)
    assert restored.rows["users"] == 1
