"""Restores: old or new, whole, whoever works on the database meanwhile."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url, text

from hqt_async_db import (
    BackupError,
    BackupVerificationError,
    DatabaseLockedError,
    DatabaseManager,
    UserRepository,
)
from hqt_async_db.backup import DatabaseBackup
from hqt_async_db.backup.manifest import Manifest, manifest_of_file
from hqt_async_db.backup.native.sqlite_files import contents_of
from hqt_async_db.backup.native.sqlite_snapshot import hash_file
from hqt_async_db.backup.prune import is_verified
from hqt_async_db.backup.threads import Stop
from hqt_async_db.connection.backends.sqlite.gate import gate_of
from tests.integration.test_backup.keeping import everything, fill, usernames
from tests.integration.test_repository.samples import user_row

if TYPE_CHECKING:
    from pathlib import Path

    from hqt_async_db.backup.backups import BackupFormat

KILLS = 12
RESTORING = """
import asyncio, sys
from hqt_async_db import DatabaseManager
from hqt_async_db.backup import DatabaseBackup
async def main():
    async with DatabaseManager(sys.argv[1]) as db:
        backup = DatabaseBackup(db)
        await db.ping()
        print("ready", flush=True)
        while True:
            for path in sys.argv[2:]:
                await backup.restore_database(path, confirm=True)
asyncio.run(main())
"""

pytestmark = pytest.mark.timeout(60)


async def two_states(db: DatabaseManager, directory: Path, form: BackupFormat) -> list[Path]:
    """Back a small and a larger state up; the database holds the larger one."""
    backup = DatabaseBackup(db)
    await fill(db)
    small = await backup.backup_database(directory, format=form)
    await UserRepository(db).create_many([user_row(f"u{number}") for number in range(2000)])
    return [small, await backup.backup_database(directory, format=form)]


def connect(path: str) -> sqlite3.Connection:
    """Open a file as another program does."""
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


async def run(connection: sqlite3.Connection, statement: str) -> list[tuple[object, ...]]:
    """Run a statement off the loop."""
    return await asyncio.to_thread(lambda: connection.execute(statement).fetchall())


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_open_sessions_finish_and_see_the_restored_data(
    db: DatabaseManager, tmp_path: Path
) -> None:
    backup = DatabaseBackup(db)
    await fill(db)
    path = await backup.backup_database(tmp_path, format="archive")
    await UserRepository(db).create(**user_row("later"))
    async with db.session(snapshot=True) as reader:
        assert len(await UserRepository(reader).get_all()) == 2
        if db.dialect_name == "sqlite":
            await backup.restore_database(path, confirm=True)
            assert len(await UserRepository(reader).get_all()) == 2  # its own moment
    await backup.restore_database(path, confirm=True)
    assert await usernames(db) == ["keeper"]
    async with db.session() as session:
        await UserRepository(session).create(**user_row("after"))
    assert await usernames(db) == ["keeper", "after"]


@pytest.mark.backends("sqlite-file")
async def test_a_writer_is_waited_for(
    db: DatabaseManager, database_url: str, tmp_path: Path
) -> None:
    backup = DatabaseBackup(db)
    await fill(db)
    path = await backup.backup_database(tmp_path)
    gate = gate_of(str(make_url(database_url).database))
    async with db.session() as session:
        await UserRepository(session).create(**user_row("writing"))
        task = asyncio.create_task(backup.restore_database(path, confirm=True, timeout_s=0.1))
        with pytest.raises(DatabaseLockedError, match="waited"):
            await task
        task = asyncio.create_task(backup.restore_database(path, confirm=True))
        await asyncio.sleep(0.3)
        assert not task.done(), task
    restored = await task
    assert gate.holder is None
    assert await usernames(db) == ["keeper"]
    assert restored.safety_backup is not None


async def write_beside_a_restore(db: DatabaseManager, path: Path) -> tuple[list[str], set[str]]:
    """Return the users that were acknowledged meanwhile, and those in the safety backup."""
    restoring = asyncio.create_task(DatabaseBackup(db).restore_database(path, confirm=True))
    written: list[str] = []
    while not restoring.done():
        user = await UserRepository(db).create(**user_row(f"w{len(written)}"))
        written.append(user.username)
    restored = await restoring
    with closing(connect(str(restored.safety_backup))) as safety:
        return written, {str(name) for (name,) in await run(safety, "SELECT username FROM users")}


@pytest.mark.backends("sqlite-file")
async def test_what_is_written_meanwhile_is_in_the_safety_backup_or_in_the_database(
    db: DatabaseManager, tmp_path: Path
) -> None:
    await fill(db)
    path = await DatabaseBackup(db).backup_database(tmp_path)
    written, before = await write_beside_a_restore(db, path)
    assert len(written) > 10
    assert set(written) <= before | set(await usernames(db))


@pytest.mark.parametrize(
    "what", ["aiosqlite:///{}/x.db", "aiosqlite:///:memory:", "hqt:///:memory:"]
)
async def test_nor_is_any_write_lost_where_rows_are_replaced(tmp_path: Path, what: str) -> None:
    async with DatabaseManager(f"sqlite+{what.format(tmp_path)}", pool_size=2) as db:
        await db.create_all()
        path = (await two_states(db, tmp_path, "archive"))[1]
        written, before = await write_beside_a_restore(db, path)
        assert {"keeper", "w0"} <= before
        assert set(written) <= before | set(await usernames(db))


@pytest.mark.parametrize("where", ["/x.db", ":memory:"])
async def test_the_stock_driver_needs_one_connection_for_a_restore(
    tmp_path: Path, where: str
) -> None:
    name = where if where == ":memory:" else f"{tmp_path}{where}"
    async with DatabaseManager(
        f"sqlite+aiosqlite:///{name}", pool_size=1, max_overflow=0, pool_timeout=1
    ) as db:
        await db.create_all()
        small, _ = await two_states(db, tmp_path, "archive")
        restored = await DatabaseBackup(db).restore_database(small, confirm=True)
        assert await usernames(db) == ["keeper"]
        assert restored.safety_backup is not None
        await DatabaseBackup(db).restore_database(restored.safety_backup, confirm=True)
        assert len(await usernames(db)) == 2001


@pytest.mark.backends("sqlite-file")
async def test_another_process_that_writes_is_waited_for_and_named(
    db: DatabaseManager, database_url: str, tmp_path: Path
) -> None:
    path = await DatabaseBackup(db).backup_database(tmp_path)
    await fill(db)
    live = str(make_url(database_url).database)
    with closing(connect(live)) as other:
        await run(other, "BEGIN IMMEDIATE")
        with pytest.raises(DatabaseLockedError):
            await DatabaseBackup(db).restore_database(path, confirm=True, timeout_s=0.3)
        await run(other, "ROLLBACK")
    assert await usernames(db) == ["keeper"]


@pytest.mark.backends("sqlite-file")
async def test_other_connections_see_a_restore_and_their_log_brings_nothing_back(
    db: DatabaseManager, database_url: str, tmp_path: Path
) -> None:
    backup = DatabaseBackup(db)
    await fill(db)
    path = await backup.backup_database(tmp_path)
    live = str(make_url(database_url).database)
    with closing(connect(live)) as other:
        await run(other, "PRAGMA wal_autocheckpoint=0")
        await run(other, "UPDATE users SET username = 'in the log'")
        await backup.restore_database(path, confirm=True)
        assert await run(other, "SELECT username FROM users") == [("keeper",)]
        assert await run(other, "PRAGMA journal_mode") == [("wal",)]
    await db.dispose()
    with closing(connect(live)) as alone:
        assert await run(alone, "SELECT username FROM users") == [("keeper",)]
        assert await run(alone, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.backends("sqlite-file")
async def test_a_file_with_pages_of_another_size_can_be_restored(
    db: DatabaseManager, tmp_path: Path
) -> None:
    await fill(db)
    path = await DatabaseBackup(db).backup_database(tmp_path)
    live = tmp_path / "other.db"
    with closing(connect(str(live))) as other:
        await run(other, "PRAGMA page_size=1024")
        await run(other, "VACUUM")
    async with DatabaseManager(f"sqlite:///{live}") as there:
        await DatabaseBackup(there).restore_database(path, confirm=True)
        assert await everything(there) == await everything(db)


@pytest.mark.backends("sqlite-file")
async def test_a_restore_into_a_file_that_is_not_there_makes_it(
    db: DatabaseManager, tmp_path: Path
) -> None:
    await fill(db)
    path = await DatabaseBackup(db).backup_database(tmp_path)
    async with DatabaseManager(f"sqlite:///{tmp_path}/new.db") as new:
        restored = await DatabaseBackup(new).restore_database(path, confirm=True)
        assert restored.safety_backup is None
        assert await everything(new) == await everything(db)


async def test_a_restore_that_is_cancelled_leaves_the_old_or_the_new(
    db: DatabaseManager, tmp_path: Path
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - to repeat a failure
    random.seed(seed)
    paths = await two_states(db, tmp_path, "archive")
    old, new = await everything(db), None
    for _ in range(12):
        task = asyncio.create_task(DatabaseBackup(db).restore_database(paths[0], confirm=True))
        await asyncio.sleep(random.random() * 0.5)
        task.cancel()
        done = (await asyncio.gather(task, return_exceptions=True))[0]
        found = await everything(db)
        if found != old:
            new = found
            assert len(await usernames(db)) == 1
            break
        assert isinstance(done, asyncio.CancelledError)
    await DatabaseBackup(db).restore_database(paths[0], confirm=True)
    assert new in (None, await everything(db))
    names = await asyncio.to_thread(os.listdir, tmp_path)
    assert not [name for name in names if name.startswith(".")]


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
def test_a_process_killed_in_a_restore_leaves_the_old_or_the_new(
    database_url: str, db_states: list[Path]
) -> None:
    """Killed at any moment, while this process has the database open."""
    command = [sys.executable, "-c", RESTORING, database_url, *map(str, db_states)]
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - to repeat a failure
    random.seed(seed)
    counts = asyncio.run(_killed(database_url, command))
    assert set(counts) <= {1, 2001}, counts


async def _killed(url: str, command: list[str]) -> list[int]:
    counts = []
    async with DatabaseManager(url) as db:
        await db.ping()
        for _ in range(KILLS if db.dialect_name == "sqlite" else 5):
            process = await asyncio.create_subprocess_exec(
                *command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            assert process.stdout is not None
            await process.stdout.readline()
            await asyncio.sleep(random.random() * 0.6)
            process.send_signal(signal.SIGKILL)
            await process.wait()
            counts.append(len(await usernames(db)))
        await UserRepository(db).create(**user_row(f"next{time.time()}"))
    return counts


@pytest.fixture
def db_states(database_url: str, tmp_path: Path) -> list[Path]:
    """Archives of a small and of a larger state."""

    async def make() -> list[Path]:
        async with DatabaseManager(database_url) as db:
            await db.create_all()
            form: BackupFormat = "native" if db.dialect_name == "sqlite" else "archive"
            return await two_states(db, tmp_path, form)

    return asyncio.run(make())


async def test_what_is_no_backup_is_refused(db: DatabaseManager, tmp_path: Path) -> None:
    await fill(db)
    before = await everything(db)
    archive = await DatabaseBackup(db).backup_database(tmp_path, format="archive")
    link, pipe, text = tmp_path / "link.zip", tmp_path / "pipe.zip", tmp_path / "x.db"
    await asyncio.to_thread(link.symlink_to, archive)
    await asyncio.to_thread(os.mkfifo, pipe)
    await asyncio.to_thread(text.write_text, "no database")
    for path in (link, pipe, text, tmp_path, tmp_path / "missing.zip", tmp_path / "missing.db"):
        with pytest.raises(BackupError):
            await DatabaseBackup(db).restore_database(path, confirm=True)
    assert await everything(db) == before


@pytest.mark.backends("sqlite-file")
async def test_a_database_in_use_is_no_backup(db: DatabaseManager, database_url: str) -> None:
    await fill(db)
    live = str(make_url(database_url).database)
    with pytest.raises(BackupError, match="database in use"):
        await DatabaseBackup(db).restore_database(live, confirm=True)


HOSTILE = {
    "trigger": "CREATE TRIGGER t AFTER INSERT ON users BEGIN DELETE FROM backtests; END",
    "view": "CREATE VIEW v AS SELECT * FROM users",
    "virtual table": "CREATE VIRTUAL TABLE f USING fts5(x)",
    "column": "ALTER TABLE users ADD COLUMN more TEXT",
    "unique index": "CREATE UNIQUE INDEX mine ON users (full_name)",
    "partial index": "CREATE INDEX mine ON users (full_name) WHERE full_name = ''",
    "computed index": "CREATE INDEX mine ON users (abs(id))",
    "other index": "DROP INDEX ix_users_is_active",
    "newer revision": "UPDATE alembic_version SET version_num = 'hqt_9999'",
    "no revision": "DROP TABLE alembic_version",
    "missing table": "DROP TABLE notifications",
    "orphan": "UPDATE backtest_trades SET backtest_id = 999999",
}


@pytest.mark.backends("sqlite-file")
@pytest.mark.parametrize("what", HOSTILE)
async def test_a_hostile_file_is_refused(db: DatabaseManager, tmp_path: Path, what: str) -> None:
    """Its manifest fits it, as whoever can write the one can write the other."""
    await fill(db)
    before = await everything(db)
    path = await DatabaseBackup(db).backup_database(tmp_path)
    await asyncio.to_thread(tamper, path, HOSTILE[what])
    with pytest.raises(BackupVerificationError):
        await DatabaseBackup(db).verify_backup(path)
    assert not await asyncio.to_thread(is_verified, path)
    with pytest.raises(BackupVerificationError):
        await DatabaseBackup(db).restore_database(path, confirm=True)
    assert await everything(db) == before


@pytest.mark.backends("sqlite-file")
async def test_a_plain_index_of_the_users_own_is_no_other_schema(
    db: DatabaseManager, tmp_path: Path
) -> None:
    await fill(db)
    async with db.session() as session:
        await session.execute(text("CREATE INDEX mine ON users (full_name COLLATE NOCASE DESC)"))
    path = await DatabaseBackup(db).backup_database(tmp_path)
    await DatabaseBackup(db).verify_backup(path)
    await DatabaseBackup(db).restore_database(path, confirm=True)
    async with db.session() as session:
        count = "SELECT count(*) FROM sqlite_schema WHERE name = 'mine'"
        assert await session.scalar(text(count)) == 1


def tamper(path: Path, statement: str) -> None:
    """Change a backup, and its manifest with it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)
        contents = contents_of(connection)
    manifest = Manifest(
        kind="sqlite",
        backend="sqlite",
        revision=contents.revision,
        tables=contents.tables,
        file=path.name,
        sha256=hash_file(path, Stop()),
    )
    manifest_of_file(path).write_bytes(manifest.to_bytes())
