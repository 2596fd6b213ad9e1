"""What is refused before SQLite opens a file, and what is left to it."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from hqt_async_db.connection.backends.sqlite.files import refuse_unusable
from hqt_async_db.errors import ConnectionFailedError, NotADatabaseError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file of the test is to be."""
    return tmp_path / "test.db"


def make(path: Path, page_size: int = 4096) -> bytes:
    """Make a file with two commits, of which a log holds the second; return the log."""
    copy = path.with_suffix(".log")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size={page_size}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (i)")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("INSERT INTO t VALUES (1)")
        shutil.copyfile(f"{path}-wal", copy)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM t")
    return copy.read_bytes()


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def refuse(path: Path) -> None:
    refuse_unusable(str(path))


def rows_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM t").fetchone()[0])


def test_nothing_and_a_file_alone_are_left_to_sqlite(path: Path) -> None:
    refuse(path)
    make(path)
    refuse(path)
    path.write_bytes(b"no database")
    refuse(path)


def test_what_is_no_file(path: Path) -> None:
    path.mkdir()
    with pytest.raises(ConnectionFailedError, match="is a directory") as caught:
        refuse(path)
    assert not caught.value.retryable
    assert str(path) in str(caught.value)


def test_a_pipe_and_a_socket(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(tmp_path / "socket"))
        for name in ("pipe", "socket"):
            with pytest.raises(ConnectionFailedError, match="no regular file"):
                refuse(tmp_path / name)


def test_a_log_that_is_in_order(path: Path) -> None:
    log_of(path).write_bytes(make(path))
    refuse(path)
    assert rows_of(path) == 1


@pytest.mark.parametrize("cut", [1, 100, 4000])
def test_a_log_whose_end_is_torn_is_taken_as_far_as_it_is_whole(path: Path, cut: int) -> None:
    """A crash or a power loss leaves such a log: no acknowledged commit is at its end."""
    log = make(path)
    log_of(path).write_bytes(log + log[32:][:-cut])
    refuse(path)
    assert rows_of(path) == 1


@pytest.mark.parametrize(
    "log", [b"", b"short", bytes(567), b"x" * 567, bytes(8000)], ids=lambda log: str(len(log))
)
def test_a_log_that_can_hold_no_commit_is_left_to_sqlite(path: Path, log: bytes) -> None:
    make(path)
    log_of(path).write_bytes(log)
    refuse(path)
    assert rows_of(path) == 0


@pytest.mark.parametrize("place", [0, 3, 8, 16, 24, 31])
def test_a_log_whose_header_is_damaged(path: Path, place: int) -> None:
    log = bytearray(make(path))
    log[place] ^= 1
    log_of(path).write_bytes(log)
    before = path.read_bytes()
    with pytest.raises(NotADatabaseError, match="is damaged or no log") as caught:
        refuse(path)
    assert f"{path}-wal" in str(caught.value)
    assert (path.read_bytes(), log_of(path).read_bytes()) == (before, bytes(log))


def test_a_log_that_is_something_else(path: Path) -> None:
    make(path)
    for content in (b"these are notes\n" * 100, secrets.token_bytes(8000), bytes(40) + b"x" * 600):
        log_of(path).write_bytes(content)
        with pytest.raises(NotADatabaseError):
            refuse(path)


def test_a_log_of_a_file_with_other_pages(tmp_path: Path, path: Path) -> None:
    """SQLite would read it into the file without a word."""
    log = make(tmp_path / "other.db", page_size=1024)
    make(path)
    log_of(path).write_bytes(log)
    with pytest.raises(NotADatabaseError, match="1024 bytes in place of 4096"):
        refuse(path)


@pytest.mark.parametrize("page_size", [512, 65536])
def test_the_smallest_and_the_largest_pages(path: Path, page_size: int) -> None:
    log_of(path).write_bytes(make(path, page_size))
    refuse(path)
    assert rows_of(path) == 1


def test_the_log_of_a_file_behind_a_link(tmp_path: Path, path: Path) -> None:
    make(path)
    log_of(path).write_bytes(b"these are notes\n" * 100)
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with pytest.raises(NotADatabaseError):
        refuse(link)


def test_a_file_in_use_is_never_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing it would drop the locks that this process has on it."""
    opened: list[str] = []
    open_file = os.open

    def record(name: str, flags: int) -> int:
        opened.append(name)
        return open_file(name, flags)

    log_of(path).write_bytes(make(path))
    monkeypatch.setattr(os, "open", record)
    refuse(path)
    assert opened == [f"{path}-wal", str(path)]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO t VALUES (2)")
        opened.clear()
        refuse(path)
    assert opened == [f"{path}-wal"]
