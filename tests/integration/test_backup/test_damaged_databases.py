"""Databases that are damaged or hold what no backup brings back, and how one gets out of it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from sqlalchemy import text

from hqt_async_db import (
    BackupError,
    BackupVerificationError,
    DatabaseManager,
    ImportDataError,
    SchemaMismatchError,
)
from hqt_async_db.backup import DatabaseBackup
from tests.integration.test_backup.archives import put_rows
from tests.integration.test_backup.keeping import everything, fill, postgresql_tools, usernames

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


FOREIGN = {
    "trigger 'mine'": "CREATE TRIGGER mine AFTER INSERT ON users BEGIN DELETE FROM backtests; END",
    "view 'mine'": "CREATE VIEW mine AS SELECT * FROM users",
    "virtual table 'mine'": "create\nvirtual  table mine USING fts5(x)",
    "table 'users' that is not the one of its revision": "ALTER TABLE users ADD COLUMN mine TEXT",
}


async def execute(db: DatabaseManager, *statements: str) -> None:
    """Do what an operator may have done, without foreign keys."""
    async with db.engine.connect() as connection:
        await connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        for statement in statements:
            await connection.exec_driver_sql(statement)
        await connection.commit()
        await connection.exec_driver_sql("PRAGMA foreign_keys=ON")


@pytest.mark.backends("sqlite-file", "sqlite-memory")
@pytest.mark.parametrize("what", FOREIGN)
async def test_a_file_that_could_not_come_back_is_not_written(
    db: DatabaseManager, tmp_path: Path, what: str
) -> None:
    await fill(db)
    await execute(db, FOREIGN[what])
    with pytest.raises(SchemaMismatchError, match=rf"has a {what}, .*archive"):
        await DatabaseBackup(db).backup_database(tmp_path)
    assert await asyncio.to_thread(os.listdir, tmp_path) == []
    path = await DatabaseBackup(db).backup_database(tmp_path, format="archive")
    await DatabaseBackup(db).verify_backup(path)


@pytest.mark.backends("sqlite-file", "sqlite-memory", "postgresql")
async def test_tables_without_a_revision_are_told_of_when_the_backup_is_made(
    db: DatabaseManager, tmp_path: Path
) -> None:
    await fill(db)
    async with db.session() as session:
        await session.execute(text("DROP TABLE alembic_version"))
    with pytest.raises(SchemaMismatchError, match=r"but no revision: .*stamp it"):
        await DatabaseBackup(db).backup_database(tmp_path, tools_dir=postgresql_tools())
    assert await asyncio.to_thread(os.listdir, tmp_path) == []


@pytest.mark.backends("sqlite-file", "sqlite-memory")
async def test_a_row_without_its_parent_is_told_of_when_the_backup_is_made(
    db: DatabaseManager, tmp_path: Path
) -> None:
    await fill(db)
    await execute(db, "UPDATE backtest_trades SET backtest_id = 999999")
    with pytest.raises(BackupVerificationError, match="backtest_trades refers to one of backtests"):
        await DatabaseBackup(db).backup_database(tmp_path)
    assert await asyncio.to_thread(os.listdir, tmp_path) == []


@pytest.mark.backends("sqlite-file")
async def test_a_table_with_a_generated_column_comes_back(
    db: DatabaseManager, tmp_path: Path
) -> None:
    await fill(db)
    own = "CREATE TABLE mine (a INTEGER, b INTEGER GENERATED ALWAYS AS (a + 1) VIRTUAL)"
    await execute(db, own, "INSERT INTO mine (a) VALUES (1)")
    path = await DatabaseBackup(db).backup_database(tmp_path)
    await DatabaseBackup(db).verify_backup(path)
    await DatabaseBackup(db).restore_database(path, confirm=True)
    async with db.engine.connect() as connection:
        rows = await connection.exec_driver_sql("SELECT b FROM mine")
        assert rows.scalar_one() == 2
