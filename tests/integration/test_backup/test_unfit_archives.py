"""Archives that cannot be restored into SQLite: for its limits, or for what they hold."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from hqt_async_db import BackupVerificationError, DatabaseManager, ImportDataError
from hqt_async_db.backup import DatabaseBackup, verify_backup
from hqt_async_db.backup.prune import is_verified
from hqt_async_db.models import AccountSnapshot
from tests.integration.test_backup.archives import put_rows
from tests.integration.test_backup.keeping import everything, fill

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.backends("sqlite-memory")

TABLE = "backtest_trades"


async def archive_with(
    db: DatabaseManager, directory: Path, pattern: str, value: str, table: str = TABLE
) -> Path:
    """Return an archive in whose last row of a table something was replaced; its figures fit."""
    await fill(db)
    async with db.session() as session:
        session.add(AccountSnapshot(account_id="a", balance=1, equity=1))
    path = await DatabaseBackup(db).backup_database(directory, format="archive")
    *rows, last = (await everything(db))[table].decode().splitlines(keepends=True)
    changed, count = re.subn(pattern, value, last)
    assert count == 1, last
    await asyncio.to_thread(put_rows, path, table, "".join([*rows, changed]).encode())
    return path


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        (TABLE, "profit", "NaN"),
        (TABLE, "profit", "-Infinity"),
        ("account_snapshots", "equity", "1234567890.12345678"),
    ],
)
async def test_values_that_sqlite_cannot_hold_are_compared_and_no_more(
    db: DatabaseManager, tmp_path: Path, table: str, column: str, value: str
) -> None:
    """It was restored into no database, so nothing counts on it."""
    pattern, replacement = rf'"{column}":[^,]+', f'"{column}":"{value}"'
    path = await archive_with(db, tmp_path, pattern, replacement, table)
    verified = await verify_backup(path)
    assert verified.restored_into is None
    assert verified.rows[TABLE] == 20
    assert not await asyncio.to_thread(is_verified, path)


UNFIT = {
    "key": (r'"id":\d+', '"id":1'),
    "reference": (r'"backtest_id":\d+', '"backtest_id":999'),
    "word": (r'"direction":"\w+"', '"direction":"sideways"'),
    "number": (r'"profit":[^,]+', '"profit":"much"'),
    "missing": (r'"symbol":"\w+"', '"symbol":null'),
}


@pytest.mark.parametrize("what", UNFIT)
async def test_rows_that_no_database_takes_are_no_backup(
    db: DatabaseManager, tmp_path: Path, what: str
) -> None:
    path = await archive_with(db, tmp_path, *UNFIT[what])
    with pytest.raises(BackupVerificationError, match=f"cannot be restored: .*{TABLE}"):
        await verify_backup(path)
    assert not await asyncio.to_thread(is_verified, path)


@pytest.mark.parametrize("driver", ["hqt", "aiosqlite"])
async def test_a_restore_that_fails_leaves_a_database_in_memory_as_it_was(
    db: DatabaseManager, tmp_path: Path, driver: str
) -> None:
    path = await archive_with(db, tmp_path, r'"profit":[^,]+', '"profit":"NaN"')
    async with DatabaseManager(f"sqlite+{driver}:///:memory:") as target:
        await target.create_all()
        await fill(target)
        before = await everything(target)
        for _ in range(2):
            with pytest.raises(ImportDataError) as refused:
                await DatabaseBackup(target).restore_database(path, confirm=True)
            assert "the backup of what the database holds" in refused.value.__notes__[0]
            assert await everything(target) == before
        async with target.session() as session:
            assert not await session.scalar(text("SELECT count(*) FROM sqlite_temp_schema"))
