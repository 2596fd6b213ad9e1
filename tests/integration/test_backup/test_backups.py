"""Backups of every backend: whole, private, of one moment, and restorable."""

from __future__ import annotations

import asyncio
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import make_url

from hqt_async_db import (
    BackupError,
    ConfigurationError,
    DatabaseManager,
    InvalidInputError,
    NotificationRepository,
    SchemaMismatchError,
    StrategyRepository,
    TradeRepository,
    UserRepository,
)
from hqt_async_db.backup import DatabaseBackup, create_backup, verify_backup
from hqt_async_db.backup.archives.archive_reader import open_archive
from hqt_async_db.backup.prune import is_verified
from tests.integration.test_backup.keeping import (
    everything,
    fill,
    postgresql_tools,
    usernames,
)
from tests.integration.test_repository.samples import add_backtest, trade_row, user_row

if TYPE_CHECKING:
    from pathlib import Path

    from hqt_async_db.backup.backups import BackupFormat
    from hqt_async_db.backup.progress import Progress
    from tests.fixtures.managers import MakeDb

TOOLS = postgresql_tools()
WRITERS = 16

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=[None, "archive"], ids=["usual", "archive"])
def form(request: pytest.FixtureRequest) -> BackupFormat | None:
    """The format that suits the backend, and the one that every backend has."""
    return "archive" if request.param else None


def listing(directory: Path) -> dict[str, int]:
    """Return the names in a directory with their modes."""
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


async def test_a_backup_comes_back_as_it_went(
    db: DatabaseManager, form: BackupFormat | None, tmp_path: Path
) -> None:
    await fill(db)
    before = await everything(db)
    backup = DatabaseBackup(db)
    path = await backup.backup_database(tmp_path / "new", format=form, tools_dir=TOOLS)
    verified = await backup.verify_backup(path, tools_dir=TOOLS)
    assert verified.rows["backtest_trades"] == 20
    assert verified.restored_into in ("sqlite", "postgresql")
    await UserRepository(db).create(**user_row("later"))
    restored = await backup.restore_database(path, confirm=True, tools_dir=TOOLS)
    assert await everything(db) == before
    assert restored.rows["users"] == 1
    assert restored.safety_backup is not None
    await UserRepository(db).create(**user_row("next"))  # the keys go on
    again = await backup.restore_database(restored.safety_backup, confirm=True, tools_dir=TOOLS)
    assert again.rows["users"] == 2
    assert await usernames(db) == ["keeper", "later"]


async def test_files_are_private_and_nothing_else_is_left(
    db: DatabaseManager, form: BackupFormat | None, tmp_path: Path
) -> None:
    directory = tmp_path / "new"
    path = await DatabaseBackup(db).backup_database(directory, format=form, tools_dir=TOOLS)
    found = await asyncio.to_thread(listing, directory)
    manifest = set() if path.suffix == ".zip" else {f"{path.name}.manifest.json"}
    assert found == dict.fromkeys({path.name, *manifest}, 0o600)
    mode = (await asyncio.to_thread(directory.stat)).st_mode
    assert stat.S_IMODE(mode) == 0o700


async def test_backups_while_sixteen_tasks_write_are_of_one_moment(
    db: DatabaseManager, form: BackupFormat | None, tmp_path: Path
) -> None:
    """A backtest and its three trades are one transaction; no backup sees half of it."""
    await fill(db, trades=0)
    backup, is_over = DatabaseBackup(db), False

    async def write() -> None:
        while not is_over:
            async with db.session() as session:
                (strategy,) = await StrategyRepository(session).get_all()
                backtest = await add_backtest(session, strategy)
                rows = [trade_row(backtest, hour, 1.0) for hour in range(3)]
                await TradeRepository(session).create_many(rows)

    writers = [asyncio.create_task(write()) for _ in range(WRITERS)]
    await asyncio.sleep(0.05)
    paths = [await backup.backup_database(tmp_path, format=form, tools_dir=TOOLS) for _ in range(2)]
    is_over = True
    await asyncio.gather(*writers)
    counts = []
    for path in paths:
        rows = (await backup.verify_backup(path, tools_dir=TOOLS)).rows
        assert rows["backtest_trades"] == 3 * (rows["backtests"] - 1)
        counts.append(rows["backtests"])
    assert counts == sorted(counts)


async def test_a_cancelled_backup_leaves_no_file(
    db: DatabaseManager, form: BackupFormat | None, tmp_path: Path
) -> None:
    """Cancelled at one point after the other, until it is through before."""
    await fill(db)
    backup = DatabaseBackup(db)
    for delay_ms in range(0, 200, 7):
        task = asyncio.create_task(backup.backup_database(tmp_path, format=form, tools_dir=TOOLS))
        await asyncio.sleep(delay_ms / 1000)
        task.cancel()
        done = (await asyncio.gather(task, return_exceptions=True))[0]
        names = set(await asyncio.to_thread(os.listdir, tmp_path))
        if not isinstance(done, asyncio.CancelledError):
            assert task.result().name in names
            break
        # At the very end it may be complete; it is never half there.
        assert names == set() or any(name.endswith((".db", ".dump", ".zip")) for name in names)
        assert not [name for name in names if name.startswith(".")]
        for name in names:
            await asyncio.to_thread((tmp_path / name).unlink)
    assert await usernames(db) == ["keeper"]


async def test_what_was_verified_is_written_down_until_the_file_changes(
    db: DatabaseManager, form: BackupFormat | None, tmp_path: Path
) -> None:
    backup = DatabaseBackup(db)
    path = await backup.backup_database(tmp_path, format=form, tools_dir=TOOLS)
    assert not await asyncio.to_thread(is_verified, path)
    await backup.verify_backup(path, tools_dir=TOOLS)
    assert await asyncio.to_thread(is_verified, path)
    await asyncio.to_thread(os.utime, path, (0, 0))
    assert not await asyncio.to_thread(is_verified, path)


async def test_an_archive_can_be_restored_into_another_database(
    db: DatabaseManager, tmp_path: Path
) -> None:
    await fill(db)
    path = await DatabaseBackup(db).backup_database(tmp_path, format="archive")
    async with DatabaseManager(f"sqlite:///{tmp_path}/other.db") as other:
        restored = await DatabaseBackup(other).restore_database(path, confirm=True)
        assert restored.safety_backup is None
        assert await everything(other) == await everything(db)
        await UserRepository(other).create(**user_row("next"))


async def test_an_archive_holds_the_hashes_of_its_rows(db: DatabaseManager, tmp_path: Path) -> None:
    await fill(db)
    path = await DatabaseBackup(db).backup_database(tmp_path, format="archive")
    async with open_archive(path) as archive:
        assert all(entry.sha256 for entry in archive.manifest.tables)
        assert archive.manifest.revision is not None
        assert archive.manifest.backend == db.dialect_name


async def test_a_restore_must_be_meant(db: DatabaseManager, tmp_path: Path) -> None:
    path = await DatabaseBackup(db).backup_database(tmp_path, format="archive")
    with pytest.raises(InvalidInputError, match="confirm=True"):
        await DatabaseBackup(db).restore_database(path)


async def test_an_unknown_format_is_refused(db: DatabaseManager, tmp_path: Path) -> None:
    options: dict[str, Any] = {"format": "tar"}
    with pytest.raises(InvalidInputError, match="native, archive"):
        await DatabaseBackup(db).backup_database(tmp_path, **options)


@pytest.mark.backends("mariadb")
async def test_mariadb_has_no_native_backup(db: DatabaseManager, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="portable archive"):
        await DatabaseBackup(db).backup_database(tmp_path, format="native")
    path = await DatabaseBackup(db).backup_database(tmp_path)
    assert path.suffix == ".zip"


@pytest.mark.backends("sqlite-memory", "postgresql", "mariadb")
async def test_an_archive_needs_the_schema(make_db: MakeDb, tmp_path: Path) -> None:
    with pytest.raises(SchemaMismatchError, match="at revision base"):
        await DatabaseBackup(make_db()).backup_database(tmp_path, format="archive")
    assert await asyncio.to_thread(os.listdir, tmp_path) == []


@pytest.mark.backends("sqlite-file", "mariadb")
async def test_a_url_is_backed_up_at_once(
    db: DatabaseManager, database_url: str, tmp_path: Path
) -> None:
    await fill(db)
    path = await create_backup(database_url, tmp_path)
    assert (await verify_backup(path)).rows["users"] == 1


async def test_a_directory_that_is_a_file_is_refused(db: DatabaseManager, tmp_path: Path) -> None:
    place = tmp_path / "file"
    await asyncio.to_thread(place.touch)
    with pytest.raises(BackupError, match="file"):
        await DatabaseBackup(db).backup_database(place, format="archive")


@pytest.mark.backends("postgresql")
async def test_tools_that_do_not_fit_are_named_with_the_way_out(
    db: DatabaseManager, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r'are not in .*format="archive"'):
        await DatabaseBackup(db).backup_database(tmp_path, tools_dir=tmp_path)
    for name in ("pg_dump", "pg_restore"):
        old = tmp_path / name
        await asyncio.to_thread(old.write_text, "#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.1'\n")
        await asyncio.to_thread(old.chmod, 0o755)
    with pytest.raises(ConfigurationError, match=r"of version 9, the server \d+"):
        await DatabaseBackup(db).backup_database(tmp_path / "b", tools_dir=tmp_path)


async def test_it_tells_how_far_it_has_come(
    db: DatabaseManager, form: BackupFormat | None, tmp_path: Path
) -> None:
    await fill(db)
    told: list[Progress] = []
    loop = asyncio.get_running_loop()

    def tell(progress: Progress) -> None:
        assert asyncio.get_running_loop() is loop
        told.append(progress)

    backup = DatabaseBackup(db)
    path = await backup.backup_database(tmp_path, format=form, tools_dir=TOOLS, progress=tell)
    users = [progress for progress in told if progress.table == "users"]
    if path.suffix == ".db":
        size = (await asyncio.to_thread(path.stat)).st_size
        assert told[-1].unit == "pages"
        assert told[-1].rows == told[-1].total == size // 4096
        assert told[-1].table in {"test.db", ":memory:"}
    else:
        assert (users[-1].unit, users[-1].rows) == ("rows", await UserRepository(db).count())
    with pytest.raises(ZeroDivisionError):
        await backup.backup_database(
            tmp_path / "b", format=form, tools_dir=TOOLS, progress=lambda _: 1 / 0
        )
    assert await asyncio.to_thread(os.listdir, tmp_path / "b") == []


@pytest.mark.backends("sqlite-file")
async def test_a_restore_tells_how_far_the_file_is_overwritten(
    db: DatabaseManager, tmp_path: Path
) -> None:
    await fill(db)
    long = {"user_id": 1, "title": "long", "message": "x" * 4_000_000}
    await NotificationRepository(db).create_many([long] * 3)  # 2000 pages are copied at a stretch
    backup, users = DatabaseBackup(db), UserRepository(db)
    path = await backup.backup_database(tmp_path)
    await users.create(username="late", email="l@x", password_hash="-")
    now = await usernames(db)
    told: list[Progress] = []

    def refuse_pages(progress: Progress) -> None:
        told.append(progress)
        if progress.unit == "pages":
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await backup.restore_database(path, confirm=True, progress=refuse_pages)
    assert await usernames(db) == now
    await backup.restore_database(path, confirm=True, progress=told.append)
    assert await usernames(db) == [name for name in now if name != "late"]
    pages = (await asyncio.to_thread(path.stat)).st_size // 4096
    last = told[-1]
    assert (last.table, last.rows, last.total, last.unit) == ("test.db", 2000, pages, "pages")


@pytest.mark.backends("postgresql")
async def test_a_password_is_in_no_argument_and_no_error(
    db: DatabaseManager, database_url: str, tmp_path: Path
) -> None:
    """A pg_dump of our own writes down how it was called, and fails."""
    calls = tmp_path / "calls"
    script = '#!/bin/sh\n[ "$1" = --version ] && echo "pg_dump (PostgreSQL) 99.1" && exit 0\n'
    script += f'echo "$@" > {calls}; echo broken >&2; exit 3\n'
    for name in ("pg_dump", "pg_restore"):
        program = tmp_path / name
        await asyncio.to_thread(program.write_text, script)
        await asyncio.to_thread(program.chmod, 0o755)
    with pytest.raises(BackupError, match="pg_dump ended with status 3: broken") as raised:
        await DatabaseBackup(db).backup_database(tmp_path / "b", tools_dir=tmp_path)
    arguments = await asyncio.to_thread(calls.read_text)
    password = str(make_url(database_url).password)
    assert "--snapshot=" in arguments
    assert password not in arguments
    assert password not in str(raised.value)
    assert await asyncio.to_thread(os.listdir, tmp_path / "b") == []
