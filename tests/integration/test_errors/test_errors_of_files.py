"""SQLite files that cannot be used: one narrow error each, and nothing touched."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import text

from hqt_async_db import (
    ConnectionFailedError,
    DatabaseManager,
    HqtDbError,
    NotADatabaseError,
    StorageFullError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY: Final = 65534
MIB: Final = 1024 * 1024
INSERT: Final = text("INSERT INTO t VALUES (zeroblob(100000))")
COUNT: Final = text("SELECT count(*) FROM t")


def make(path: Path, *, journal_mode: str = "wal", page_size: int = 4096) -> None:
    """Make a file with one table of one row, as SQLite alone would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size={page_size}")
        connection.execute(f"PRAGMA journal_mode={journal_mode}")
        connection.execute("CREATE TABLE t (content)")
        connection.execute("INSERT INTO t VALUES (1)")


def add_foreign_log(path: Path) -> None:
    """Put the log of a file with other pages beside a file."""
    other = path.with_name("other.db")
    make(other, page_size=1024)
    with closing(sqlite3.connect(other, isolation_level=None)) as connection:
        connection.execute("INSERT INTO t VALUES (2)")
        log = Path(f"{other}-wal").read_bytes()
    other.unlink()
    Path(f"{path}-wal").write_bytes(log)


def directory(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def nothing_in_no_directory(path: Path) -> None:
    path.parent.rmdir()


def text_file(path: Path) -> None:
    path.write_text("these are notes, not pages\n" * 100)


def five_bytes(path: Path) -> None:
    path.write_text("notes")


def encrypted(path: Path) -> None:
    path.write_bytes(secrets.token_bytes(5 * 4096))


def damaged_after_its_header(path: Path) -> None:
    make(path)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * (path.stat().st_size - 100))


def beside_a_log_of_noise(path: Path) -> None:
    make(path)
    Path(f"{path}-wal").write_bytes(secrets.token_bytes(9000))


def beside_the_log_of_another_file(path: Path) -> None:
    make(path)
    add_foreign_log(path)


CASES: Final = [
    (directory, ConnectionFailedError, "is a directory"),
    (pipe, ConnectionFailedError, "no regular file"),
    (nothing_in_no_directory, ConnectionFailedError, "directory exists"),
    (text_file, NotADatabaseError, "no SQLite database, or it is encrypted"),
    (five_bytes, NotADatabaseError, "no SQLite database, or it is encrypted"),
    (encrypted, NotADatabaseError, "no SQLite database, or it is encrypted"),
    (damaged_after_its_header, NotADatabaseError, "damaged.*restore a backup"),
    (beside_a_log_of_noise, NotADatabaseError, "damaged or no log of SQLite"),
    (beside_the_log_of_another_file, NotADatabaseError, "belongs to another one"),
]


def content_of(place: Path) -> dict[str, bytes | None]:
    """Return every file and what it holds, None for what is none."""
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in sorted(place.rglob("*"))
    }


@pytest.mark.parametrize("options", [{}, {"read_only": True}, {"write": True}], ids=str)
@pytest.mark.parametrize(("spoil", "kind", "message"), CASES)
async def test_a_file_that_cannot_be_used(
    tmp_path: Path, spoil: object, kind: type[HqtDbError], message: str, options: dict[str, bool]
) -> None:
    path = tmp_path / "place" / "test.db"
    await asyncio.to_thread(path.parent.mkdir)
    assert callable(spoil)
    await asyncio.to_thread(spoil, path)
    before = await asyncio.to_thread(content_of, tmp_path)
    async with DatabaseManager(f"sqlite:///{path}") as db:
        for _ in range(2):
            with pytest.raises(kind, match=message) as caught:
                async with db.session(**options) as session:
                    await session.execute(text("SELECT * FROM t"))
            assert type(caught.value) is kind
            assert str(path) in str(caught.value)
            assert not caught.value.retryable
        with pytest.raises(kind):
            await db.create_all()
    assert await asyncio.to_thread(content_of, tmp_path) == before


@pytest.mark.parametrize("cut", [0, 1, 2000], ids=["whole", "torn", "half a page"])
async def test_a_log_that_a_crash_left_is_taken(tmp_path: Path, cut: int) -> None:
    """Its last frame may be torn: it was not acknowledged, and is no reason to refuse."""
    path = tmp_path / "test.db"
    committed = await asyncio.to_thread(crash, path, cut)
    async with DatabaseManager(f"sqlite:///{path}") as db:
        async with db.session() as session:
            assert await session.scalar(COUNT) == committed
            await session.execute(INSERT)
        async with db.session(read_only=True) as session:
            assert await session.scalar(COUNT) == committed + 1


def crash(path: Path, cut: int) -> int:
    """Leave a file with three rows, two in the log, of whose last frame bytes are missing."""
    saved = path.with_name("saved")
    make(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for number in (2, 3):
            connection.execute("INSERT INTO t VALUES (?)", (number,))
        shutil.copyfile(f"{path}-wal", saved)
        shutil.copyfile(path, f"{saved}.db")
    shutil.copyfile(f"{saved}.db", path)
    log = saved.read_bytes()
    Path(f"{path}-wal").write_bytes(log[: len(log) - cut])
    return 2 if cut else 3


# Root may do everything, so another user tries, in a process of its own.
UNPRIVILEGED: Final = """
import asyncio, os, sys

from sqlalchemy import text

from hqt_async_db import DatabaseManager, HqtDbError

async def attempt(path, **options):
    try:
        async with DatabaseManager(f"sqlite:///{path}") as db, db.session(**options) as session:
            if not options:
                await session.execute(text("INSERT INTO t VALUES (2)"))
            return str(await session.scalar(text("SELECT count(*) FROM t")))
    except HqtDbError as error:
        return f"{type(error).__name__} {error}"

# What is imported on first use; later it might not be readable any more.
asyncio.run(attempt(":memory:"))
if os.geteuid() == 0:
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
print(asyncio.run(attempt(sys.argv[1])))
print(asyncio.run(attempt(sys.argv[1], read_only=True)))
"""


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that every user may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        yield place
        place.chmod(0o755)


def attempt(path: Path) -> list[str]:
    """Return what became of a write and of a read by a user without rights."""
    done = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED, str(path), str(NOBODY)],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_file_without_the_right_to_write(open_place: Path) -> None:
    path = open_place / "test.db"
    make(path, journal_mode="delete")
    path.chmod(0o444)
    open_place.chmod(0o777)
    before = content_of(open_place)
    written, read = attempt(path)
    assert written.startswith("ReadOnlyViolationError")
    assert "check the file's permissions" in written
    assert read == "1"
    assert content_of(open_place) == before


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_directory_without_the_right_to_write(open_place: Path, mode: str) -> None:
    path = open_place / "test.db"
    make(path, journal_mode=mode)
    path.chmod(0o444)
    open_place.chmod(0o555)
    before = content_of(open_place)
    written, read = attempt(path)
    assert written.startswith("ReadOnlyViolationError")
    if mode == "wal":  # SQLite cannot even read such a file without an index of its log
        assert "may not write to that directory" in written
        assert read == written
    else:
        assert read == "1"
    assert content_of(open_place) == before


def test_a_file_without_the_right_to_read(open_place: Path) -> None:
    path = open_place / "test.db"
    make(path)
    path.chmod(0)
    before = content_of(open_place) if os.geteuid() == 0 else {}
    for said in attempt(path):
        assert said.startswith(f"ConnectionFailedError {path}: ")
        assert "may write to both" in said
    if before:
        assert content_of(open_place) == before


async def test_a_url_that_says_read_only(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    await asyncio.to_thread(make, path, journal_mode="delete")
    before = await asyncio.to_thread(content_of, tmp_path)
    async with DatabaseManager(f"sqlite:///file:{path}?mode=ro&uri=true") as db:
        with pytest.raises(HqtDbError, match="asked to write"):
            async with db.session() as session:
                await session.execute(INSERT)
        async with db.session(read_only=True) as session:
            assert await session.scalar(COUNT) == 1
    assert await asyncio.to_thread(content_of, tmp_path) == before


class Disk:
    """A small disk; ``path`` is where it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not self._run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs"):
            pytest.skip("this user may not mount a small disk")

    def grow(self) -> None:
        assert self._run("mount", "-o", "remount,size=8m")

    def close(self) -> None:
        assert self._run("umount", "--lazy")

    def _run(self, name: str, *arguments: str) -> bool:
        program = shutil.which(name)
        command = [program or "", *arguments, str(self.path)]
        return program is not None and not subprocess.run(command, check=False).returncode


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of two megabytes."""
    with closing(Disk(tmp_path)) as disk:
        yield disk


async def test_a_disk_that_fills_up(disk: Disk) -> None:
    """No commit that was acknowledged is lost, and none that was refused is there."""
    async with DatabaseManager(f"sqlite:///{disk.path}/test.db") as db:
        async with db.session() as session:
            await session.execute(text("CREATE TABLE t (content)"))
        committed = 0
        for _ in range(3):
            error: HqtDbError | None = None
            while error is None:
                session = db.session()
                try:
                    async with session:
                        await session.execute(INSERT)
                except HqtDbError as caught:
                    error = caught
                else:
                    committed += 1
            assert type(error) is StorageFullError
            assert "test.db: the disk" in str(error)
            assert session.outcome == "rolled_back"
            async with db.session(read_only=True) as reader:
                assert await reader.scalar(COUNT) == committed
        assert committed > 5
        await asyncio.to_thread(disk.grow)
        async with db.session() as session:
            await session.execute(INSERT)
        async with db.session(read_only=True) as reader:
            assert await reader.scalar(COUNT) == committed + 1
            assert await reader.scalar(text("PRAGMA integrity_check")) == "ok"


async def test_a_disk_without_room_for_a_new_file(disk: Disk) -> None:
    filler = disk.path / "filler"
    await asyncio.to_thread(filler.write_bytes, bytes(2 * MIB - 4096))
    async with DatabaseManager(f"sqlite:///{disk.path}/test.db") as db:
        with pytest.raises(StorageFullError):
            await db.create_all()
        await asyncio.to_thread(filler.unlink)
        await db.create_all()
