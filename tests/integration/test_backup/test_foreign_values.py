"""Values in a SQLite file that another program stored, and that are none of their column's type."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url

from hqt_async_db import BackupVerificationError, DatabaseBackup, UserRepository

if TYPE_CHECKING:
    from pathlib import Path

    from hqt_async_db import DatabaseManager

pytestmark = pytest.mark.backends("sqlite-file")


def store(url: str, column: str, value: str) -> None:
    with closing(sqlite3.connect(str(make_url(url).database))) as connection:
        connection.execute(f"UPDATE users SET {column} = {value}")  # noqa: S608 - of the test
        connection.commit()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("is_active", "'true'"),
        ("is_active", "2"),
        ("created_at", "1700000000"),
        ("created_at", "'yesterday'"),
        ("full_name", "x'00ff'"),
    ],
)
async def test_the_column_is_named(
    db: DatabaseManager, database_url: str, tmp_path: Path, column: str, value: str
) -> None:
    await UserRepository(db).create(username="a", email="a@b", password_hash="-")
    await asyncio.to_thread(store, database_url, column, value)
    backup = DatabaseBackup(db)
    named = rf"users\.{column} is no value of its type"
    path = await backup.backup_database(tmp_path / "backups")
    with pytest.raises(BackupVerificationError, match=named):
        await backup.verify_backup(path)
    for export in (backup.export_table_to_csv, backup.export_table_to_jsonl):
        with pytest.raises(BackupVerificationError, match=named):
            await export("users", tmp_path / "users")
