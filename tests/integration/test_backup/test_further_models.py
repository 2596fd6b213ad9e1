"""Backups of databases that hold more, or less, than the models that are imported here."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from hqt_async_db import BackupError, DatabaseManager, UserRepository
from hqt_async_db.backup import DatabaseBackup
from tests.integration.test_repository.samples import add_user

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.backends("sqlite-file")
# An application with a model of its own, beside ours; models cannot be taken back.
APPLICATION = """
import asyncio, sys
from sqlalchemy.orm import Mapped, mapped_column
from hqt_async_db import Base, BaseRepository, DatabaseManager, UserRepository
from hqt_async_db.backup import DatabaseBackup

FORMATS = ("native", "archive")

async def first(db, directory):
    backup = DatabaseBackup(db)
    paths = [await backup.backup_database(directory + "/older", format=f) for f in FORMATS]
    class Fill(Base):
        __tablename__ = "fills"
        id: Mapped[int] = mapped_column(primary_key=True)
        venue: Mapped[str]
    return paths, BaseRepository[Fill]

async def main(url, directory):
    async with DatabaseManager(url) as db:
        await db.create_all()
        user = await UserRepository(db).create(username="a", email="a@b", password_hash="-")
        backup = DatabaseBackup(db)
        older, fills = await first(db, directory)
        await db.create_all()
        await fills(db).create_many([{"venue": "XETR"}])
        for format in FORMATS:  # the schema to compare with has grown
            path = await backup.backup_database(directory, format=format)
            assert (await backup.verify_backup(path)).rows["fills"] == 1
            print(path)
        for path in older:  # they came before the model
            assert (await backup.verify_backup(path)).rows["users"] == 1
            await backup.restore_database(path, confirm=True)
            await db.create_all()
            assert await fills(db).count() == 0

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def made(tmp_path: Path) -> list[Path]:
    """The backups of an application with a model more."""
    (tmp_path / "older").mkdir()
    program = [sys.executable, "-W", "error", "-c", APPLICATION]
    url = f"sqlite:///{tmp_path / 'app.db'}"
    ended = subprocess.run(
        [*program, url, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return [tmp_path / line.rpartition("/")[2] for line in ended.stdout.split()]


async def test_a_file_with_tables_that_are_not_known_is_taken_as_a_whole(
    db: DatabaseManager, made: list[Path]
) -> None:
    backup = DatabaseBackup(db)
    assert (await backup.verify_backup(made[0])).rows["fills"] == 1
    restored = await backup.restore_database(made[0], confirm=True)
    assert restored.rows["fills"] == 1
    async with db.session() as session:
        assert await session.scalar(text("SELECT venue FROM fills")) == "XETR"


async def test_rows_that_could_only_be_left_out_are_refused(
    db: DatabaseManager, made: list[Path]
) -> None:
    backup = DatabaseBackup(db)
    for call in (backup.verify_backup(made[1]), backup.restore_database(made[1], confirm=True)):
        with pytest.raises(BackupError, match="not imported here: fills"):
            await call
    async with DatabaseManager("sqlite:///:memory:") as memory:
        await memory.create_all()
        with pytest.raises(BackupError, match="not imported here: fills"):
            await DatabaseBackup(memory).restore_database(made[0], confirm=True)


async def test_tables_that_are_not_ours_are_backed_up_before_a_file_is_replaced(
    db: DatabaseManager, tmp_path: Path
) -> None:
    path = await DatabaseBackup(db).backup_database(tmp_path)
    async with db.session() as session:
        await session.execute(text("CREATE TABLE dashboards (name TEXT)"))
    restored = await DatabaseBackup(db).restore_database(path, confirm=True)
    assert restored.safety_backup is not None


async def test_an_archive_says_what_it_leaves_out(
    db: DatabaseManager, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with db.session() as session:
        await session.execute(text("CREATE TABLE dashboards (name TEXT)"))
    await DatabaseBackup(db).backup_database(tmp_path, format="archive")
    assert "leaves out what is of no model imported here: dashboards" in caplog.text


async def test_a_file_of_something_else_is_not_replaced(
    db: DatabaseManager, tmp_path: Path
) -> None:
    await add_user(db, "a")
    path = await DatabaseBackup(db).backup_database(tmp_path)
    async with DatabaseManager(f"sqlite:///{tmp_path / 'grafana.db'}") as other:
        async with other.session() as session:
            await session.execute(text("CREATE TABLE dashboards (name TEXT)"))
        with pytest.raises(BackupError, match="dashboards"):
            await DatabaseBackup(other).restore_database(path, confirm=True)
        async with other.session() as session:
            assert await session.scalar(text("SELECT count(*) FROM dashboards")) == 0
    assert await UserRepository(db).count() == 1
