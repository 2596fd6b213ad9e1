"""Paths, files and figures that no backup can be made of, or come back from."""

from __future__ import annotations

import asyncio
import math
import re
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from hqt_async_db import (
    BackupError,
    BackupVerificationError,
    InvalidInputError,
    UserRepository,
)
from hqt_async_db.backup import DatabaseBackup, Progress, prune_backups, verify_backup
from hqt_async_db.backup.manifest import manifest_of_file
from hqt_async_db.backup.names import record_beside
from tests.integration.test_backup.keeping import fill

if TYPE_CHECKING:
    from pathlib import Path

    from hqt_async_db import DatabaseManager

pytestmark = pytest.mark.backends("sqlite-memory")


async def test_a_path_with_nul_is_refused(db: DatabaseManager) -> None:
    backup = DatabaseBackup(db)
    for refused in (
        backup.backup_database("a\0b"),
        backup.verify_backup("a\0b.zip"),
        backup.restore_database("a\0b.db", confirm=True),
        prune_backups("a\0b"),
    ):
        with pytest.raises(InvalidInputError, match="NUL") as raised:
            await refused
        assert raised.value.field == "path"


@pytest.mark.parametrize("path", [None, 3])
async def test_what_is_no_path_is_refused(db: DatabaseManager, path: Any) -> None:
    backup = DatabaseBackup(db)
    for refused in (
        backup.backup_database(path),
        backup.verify_backup(path),
        backup.import_table_from_csv("users", path),
        prune_backups(path),
    ):
        with pytest.raises(InvalidInputError, match="a path is a str or a Path, not") as raised:
            await refused
        assert raised.value.field == "path"


@pytest.mark.parametrize("confirm", [False, None, "no", 1])
async def test_only_true_confirms(db: DatabaseManager, tmp_path: Path, confirm: Any) -> None:
    path = await DatabaseBackup(db).backup_database(tmp_path)
    await fill(db)
    with pytest.raises(InvalidInputError, match="confirm=True"):
        await DatabaseBackup(db).restore_database(path, confirm=confirm)
    assert await UserRepository(db).count() > 0


@pytest.mark.parametrize("timeout_s", [math.nan, math.inf, -1, "30", None, True])
async def test_a_timeout_is_a_number_of_seconds(
    db: DatabaseManager, tmp_path: Path, timeout_s: Any
) -> None:
    with pytest.raises(InvalidInputError, match="number of seconds") as raised:
        await DatabaseBackup(db).restore_database(tmp_path, confirm=True, timeout_s=timeout_s)
    assert raised.value.field == "timeout_s"


async def test_a_backup_that_is_deleted_while_it_is_verified_was_whole(
    db: DatabaseManager, tmp_path: Path
) -> None:
    await fill(db)
    path = await DatabaseBackup(db).backup_database(tmp_path)
    deleting: list[asyncio.Task[None]] = []

    def delete(_: Progress) -> None:  # the rows are already those of a copy
        if not deleting:
            deleting.append(asyncio.create_task(asyncio.to_thread(path.unlink)))

    verified = await verify_backup(path, progress=delete)
    assert verified.rows["backtest_trades"] == 20
    await deleting[0]
    assert not await asyncio.to_thread(record_beside(path).exists)


async def test_a_mistyped_path_is_told_from_a_missing_manifest(
    db: DatabaseManager, tmp_path: Path
) -> None:
    for name in ("mistyped.db", "mistyped.dump", "mistyped"):
        with pytest.raises(BackupError, match="there is no such file"):
            await DatabaseBackup(db).restore_database(tmp_path / name, confirm=True)


async def test_a_damaged_manifest_is_named(db: DatabaseManager, tmp_path: Path) -> None:
    path = await DatabaseBackup(db).backup_database(tmp_path)
    manifest = manifest_of_file(path)
    await asyncio.to_thread(manifest.write_text, "{}")
    with pytest.raises(BackupVerificationError, match=f"^{re.escape(str(manifest))}: "):
        await verify_backup(path)


async def test_no_place_for_temporary_files_is_named(
    db: DatabaseManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await DatabaseBackup(db).backup_database(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(BackupError, match="TMPDIR"):
        await verify_backup(path)
