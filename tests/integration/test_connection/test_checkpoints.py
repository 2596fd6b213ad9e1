"""The write-ahead log of a SQLite file stays short, whoever reads."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import make_url, text

from hqt_async_db import DatabaseManager
from hqt_async_db.connection.backends.sqlite import checkpoints
from hqt_async_db.connection.backends.sqlite.checkpoints import LogKeeper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.fixtures.managers import MakeDb

pytestmark = pytest.mark.backends("sqlite-file")

MIB: Final = 1024 * 1024
LIMIT_MIB: Final = 2
PATIENCE_S: Final = 15.0
COUNT: Final = text("SELECT count(*) FROM blobs")


@pytest.fixture
async def db(make_db: MakeDb) -> DatabaseManager:
    """A manager with little room for the log, and a table for large rows."""
    db = make_db(sqlite_wal_limit_mb=LIMIT_MIB)
    async with db.session() as session:
        await session.execute(text("CREATE TABLE blobs (content)"))
    return db


@pytest.fixture
def path(database_url: str) -> str:
    """Where the file is."""
    return str(make_url(database_url).database)


def test_the_log_is_looked_at_once_in_a_moment(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper, log = LogKeeper(MIB, lambda: None), Path(path).with_suffix(".log")
    log.write_bytes(b"12345")
    monkeypatch.setattr(checkpoints, "_MOMENT_S", 3600.0)
    found = [keeper.measure()]  # there is no path yet
    keeper.path = str(log)
    found += [keeper.measure(), keeper.measure()]
    monkeypatch.setattr(checkpoints, "_MOMENT_S", 0.0)
    log.write_bytes(b"123456")
    assert [*found, keeper.measure()] == [0, 5, 0, 6]


async def write_a_mib(db: DatabaseManager) -> None:
    async with db.session() as session:
        await session.execute(text("INSERT INTO blobs VALUES (zeroblob(1048576))"))


async def log_bytes(path: str) -> int:
    log = await asyncio.to_thread(Path(f"{path}-wal").stat)
    return log.st_size


async def write_until(db: DatabaseManager, path: str, enough: Callable[[int], bool]) -> int:
    """Write until the log's size is enough; return how many rows it took."""
    deadline = time.monotonic() + PATIENCE_S
    for count in range(1, 100_000):
        await write_a_mib(db)
        if enough(await log_bytes(path)):
            return count
        assert time.monotonic() < deadline, await log_bytes(path)
        await asyncio.sleep(0.02)
    raise AssertionError


def is_long(size: int) -> bool:
    return size > LIMIT_MIB * MIB


def is_short(size: int) -> bool:
    return size <= LIMIT_MIB * MIB


def checkpoint_of() -> asyncio.Task[object] | None:
    """Return the task that empties the log, if it runs."""
    tasks = asyncio.all_tasks()
    return next((task for task in tasks if task.get_name() == "hqt_async_db checkpoint"), None)


@asynccontextmanager
async def overlapping_readers(db: DatabaseManager) -> AsyncIterator[None]:
    """Have one reader or more in the middle of a snapshot at any moment."""

    async def read() -> None:
        while not is_enough.is_set():
            async with db.session(snapshot=True) as session:
                await session.scalar(COUNT)
                await asyncio.sleep(0.03)

    is_enough = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(read())
            await asyncio.sleep(0.008)
        yield
        is_enough.set()


@asynccontextmanager
async def reader_of_another_program(path: str) -> AsyncIterator[None]:
    connection = await asyncio.to_thread(
        sqlite3.connect, path, isolation_level=None, check_same_thread=False
    )
    with closing(connection):
        await asyncio.to_thread(connection.execute, "BEGIN")
        await asyncio.to_thread(connection.execute, "SELECT count(*) FROM blobs")
        yield


async def test_readers_that_overlap_do_not_let_it_grow(db: DatabaseManager, path: str) -> None:
    """SQLite's own checkpoint begins the log anew only at a moment without readers."""
    rows = 0
    async with overlapping_readers(db):
        for _ in range(3):
            rows += await write_until(db, path, is_long)
            rows += await write_until(db, path, is_short)
    async with db.session(read_only=True) as session:
        assert await session.scalar(COUNT) == rows


async def test_a_long_reader_is_named_once_and_writers_go_on(
    db: DatabaseManager, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    def warnings() -> list[str]:
        return [r.getMessage() for r in caplog.records if "write-ahead log" in r.getMessage()]

    async with db.session(snapshot=True) as reader:
        before = await reader.scalar(COUNT)
        rows = await write_until(db, path, lambda _: bool(warnings()))
        assert await reader.scalar(COUNT) == before
        health = await db.health()
        assert health["wal_bytes"] > LIMIT_MIB * MIB
        (told,) = (said for said in health["warnings"] if "write-ahead log" in said)
    for said in (told, *warnings()):
        for part in (f"{path}-wal", " MiB", "session of task", f"{__file__}:", " s old"):
            assert part in said
    rows += await write_until(db, path, is_short)
    assert len(warnings()) == 1
    async with db.session(read_only=True) as session:
        assert await session.scalar(COUNT) == rows
    assert not any("write-ahead log" in said for said in (await db.health())["warnings"])


async def test_a_reader_of_another_program_is_hinted_at(
    db: DatabaseManager, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with reader_of_another_program(path):
        await write_until(db, path, lambda _: "another process" in caplog.text)
    await write_until(db, path, is_short)


WRITER = """
    import asyncio, sys
    from sqlalchemy import text
    from hqt_async_db import DatabaseManager

    async def main(url):
        async with DatabaseManager(url, sqlite_wal_limit_mb=1) as db:
            for _ in range(40):
                async with db.session() as session:
                    await session.execute(text("INSERT INTO blobs VALUES (zeroblob(200000))"))

    asyncio.run(main(sys.argv[1]))
"""


async def test_several_processes_empty_it(
    db: DatabaseManager, database_url: str, path: str
) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", textwrap.dedent(WRITER), database_url, stderr=subprocess.PIPE
        )
        for _ in range(3)
    ]
    async with overlapping_readers(db):
        for process in processes:
            _, errors = await process.communicate()
            assert process.returncode == 0, errors.decode()
        await write_until(db, path, is_short)
    async with db.session(read_only=True) as session:
        assert (await session.scalar(COUNT) or 0) > 3 * 40
        assert await session.scalar(text("PRAGMA integrity_check")) == "ok"


async def test_it_ends_with_the_manager(db: DatabaseManager, path: str) -> None:
    async with reader_of_another_program(path):
        await write_until(db, path, lambda _: checkpoint_of() is not None)
        await db.dispose()
        assert checkpoint_of() is None


async def test_whoever_is_cancelled_does_not_cancel_it(db: DatabaseManager, path: str) -> None:
    async def write() -> None:
        await write_until(db, path, lambda _: checkpoint_of() is not None)
        is_written.set()
        await asyncio.Event().wait()

    is_written = asyncio.Event()
    async with reader_of_another_program(path):
        writing = asyncio.create_task(write())
        await is_written.wait()
        checkpoint = checkpoint_of()
        assert checkpoint is not None
        writing.cancel()
        await asyncio.wait([writing, checkpoint])
        assert not checkpoint.cancelled()


async def test_the_log_of_a_file_behind_a_link(
    db: DatabaseManager, path: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    del db  # which made the table
    link = tmp_path / "link.db"
    await asyncio.to_thread(link.symlink_to, path)
    linked = DatabaseManager(f"sqlite:///{link}", sqlite_wal_limit_mb=LIMIT_MIB)
    async with linked, reader_of_another_program(path):
        await write_until(linked, path, lambda _: f"{path}-wal has grown" in caplog.text)
