"""Archives that cannot be restored into SQLite: for its limits, or for what they hold."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import literal_column, select, text

from hqt_async_db import BackupVerificationError, DatabaseManager, ImportDataError
from hqt_async_db.backup import DatabaseBackup, verify_backup
from hqt_async_db.backup.prune import is_verified
from hqt_async_db.backup.reading.query import TableQuery
from hqt_async_db.backup.snapshot import snapshot
from hqt_async_db.backup.tables import stored_columns
from hqt_async_db.models import AccountSnapshot, Base
from tests.integration.test_backup.archives import put_rows
from tests.integration.test_backup.keeping import everything, fill

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.backends("sqlite-memory")

TABLE = "backtest_trades"


async def archive_with(  # noqa: PLR0913 - what is replaced by what, and where
    db: DatabaseManager,
    directory: Path,
    pattern: str,
    value: str,
    table: str = TABLE,
    *,
    backend: str = "sqlite",
) -> Path:
    """Return an archive in whose last row of a table something was replaced; its figures fit."""
    await fill(db)
    async with db.session() as session:
        session.add(AccountSnapshot(account_id="a", balance=1, equity=1))
    path = await DatabaseBackup(db).backup_database(directory, format="archive")
    *rows, last = (await everything(db))[table].decode().splitlines(keepends=True)
    changed, count = re.subn(pattern, value, last)
    assert count == 1, last
    content = "".join([*rows, changed]).encode()
    await asyncio.to_thread(put_rows, path, table, content, backend=backend)
    return path


of_values_beyond_sqlite = pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        (TABLE, "profit", "NaN"),
        (TABLE, "profit", "-Infinity"),
        ("account_snapshots", "equity", "1234567890.12345678"),
    ],
)


@of_values_beyond_sqlite
async def test_values_that_sqlite_cannot_hold_are_compared_and_no_more(
    db: DatabaseManager, tmp_path: Path, table: str, column: str, value: str
) -> None:
    """It was restored into no database, so nothing counts on it."""
    pattern, replacement = rf'"{column}":[^,]+', f'"{column}":"{value}"'
    path = await archive_with(db, tmp_path, pattern, replacement, table, backend="postgresql")
    verified = await verify_backup(path)
    assert verified.restored_into is None
    assert verified.rows[TABLE] == 20
    assert not await asyncio.to_thread(is_verified, path)


@of_values_beyond_sqlite
async def test_values_that_its_own_backend_cannot_take_back_are_no_backup(
    db: DatabaseManager, tmp_path: Path, table: str, column: str, value: str
) -> None:
    pattern, replacement = rf'"{column}":[^,]+', f'"{column}":"{value}"'
    path = await archive_with(db, tmp_path, pattern, replacement, table)
    with pytest.raises(BackupVerificationError, match=f"into SQLite: .*{table}.*{column}"):
        await verify_backup(path)


STORED = {
    "account_snapshots.balance": [
        "1e20", "-1e30", "1e300", "9e999", "1000000000000001", "-9223372036854775807", "'much'",
        "x'31'",
    ],
    "account_snapshots.account_id": ["printf('%0200d', 1)", "'a' || char(0)", "x'61'"],
    "backtest_trades.profit": ["9e999", "-9e999", "'much'", "x'31'"],
    "backtest_trades.backtest_id": ["'much'"],
    "backtest_trades.direction": ["'up'"],
    "backtests.total_trades": ["2147483648", "-2147483649", "1.5"],
    "strategies.is_active": ["2", "'yes'"],
    "strategies.parameters": ["'[1]'", "'{'"],
}  # fmt: skip


async def test_what_could_never_be_restored_is_refused_when_the_archive_is_made(
    db: DatabaseManager, tmp_path: Path
) -> None:
    await fill(db)
    async with db.session() as session:
        await session.execute(text("PRAGMA foreign_keys=0"))
        await session.execute(text("PRAGMA ignore_check_constraints=1"))
        session.add(
            AccountSnapshot(account_id="a", balance=123456789012345000, equity="0.00000001")
        )
    archives = tmp_path / "archives"
    await DatabaseBackup(db).backup_database(archives, format="archive")
    for field, values in STORED.items():
        table, _, column = field.partition(".")
        stored = Base.metadata.tables[table]
        query = TableQuery(stored, stored_columns(stored))
        async with db.session() as session:
            old = await session.scalar(select(literal_column(column)).select_from(text(table)))
        for sql in values:
            async with db.session() as session:
                await session.execute(text(f"UPDATE {table} SET {column} = {sql}"))  # noqa: S608 - ours
            with pytest.raises(BackupVerificationError, match=f"values of {field} could not be"):
                async with snapshot(db) as view:
                    await view.count_restorable(query)
        if "'much'" in values:
            with pytest.raises(BackupVerificationError, match=f"values of {field} could not be"):
                await DatabaseBackup(db).backup_database(archives, format="archive")
        async with db.session() as session:
            changed = text(f"UPDATE {table} SET {column} = :old")  # noqa: S608 - as above
            await session.execute(changed, {"old": old})
    assert len(await asyncio.to_thread(lambda: list(archives.glob("*.zip")))) == 1


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
