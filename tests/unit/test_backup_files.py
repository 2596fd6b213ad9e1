"""Files appear whole or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import sys
import time
import zlib
from typing import TYPE_CHECKING

import pytest

from hqt_async_db import BackupError
from hqt_async_db.backup.files import NewFile, new_file

if TYPE_CHECKING:
    from pathlib import Path

    from hqt_async_db.backup.files import Compressor


async def write(
    target: Path,
    *blocks: bytes,
    error: type[BaseException] | None = None,
    overwrite: bool = True,
    compressor: Compressor | None = None,
) -> NewFile:
    async with new_file(target, overwrite=overwrite, compressor=compressor) as file:
        for block in blocks:
            await file.write(block)
        if error is not None:
            raise error
    return file


# The tests look at files, which on a running loop would be a blocking call.


def test_a_file_is_written_whole_and_private(tmp_path: Path) -> None:
    target = tmp_path / "rows.csv"
    file = asyncio.run(write(target, b"one\n", b"two\n"))
    assert target.read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert file.sha256 == hashlib.sha256(b"one\ntwo\n").hexdigest()
    assert list(tmp_path.iterdir()) == [target]


def test_a_compressor_sees_every_block(tmp_path: Path) -> None:
    file = asyncio.run(write(tmp_path / "z", b"one", b"two", compressor=zlib.compressobj()))
    assert zlib.decompress(file.path.read_bytes()) == b"onetwo"
    assert file.size == file.path.stat().st_size


def test_what_a_killed_process_left_goes_with_the_next_file_of_that_name(tmp_path: Path) -> None:
    kept = {
        name: tmp_path / name
        for name in (
            ".rows.csv.0123abcd.partial.txt",
            ".other.csv.0123abcd.partial",
            ".rows.csv.fedcba98.partial",
        )
    }
    dead = [tmp_path / f".rows[1].csv.0123abc{n}.partial" for n in range(2)]
    for path in (*kept.values(), *dead):
        path.write_bytes(b"left")
    long_ago = time.time() - 25 * 60 * 60
    for path in (*dead, *list(kept.values())[:2]):
        os.utime(path, (long_ago, long_ago))
    asyncio.run(write(tmp_path / "rows[1].csv", b"new"))
    asyncio.run(write(tmp_path / "rows.csv", b"new"))
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "rows[1].csv", "rows.csv"}


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "rows.csv"
    target.write_bytes(b"old")
    with pytest.raises(error):
        asyncio.run(write(target, b"new", error=error))
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_taken_name_is_refused_unless_it_may_be_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "rows.csv"
    target.write_bytes(b"old")
    with pytest.raises(BackupError, match="File exists"):
        asyncio.run(write(target, b"new", overwrite=False))
    assert target.read_bytes() == b"old"
    asyncio.run(write(target, b"new"))
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="nowhere"):
        asyncio.run(write(tmp_path / "nowhere" / "rows.csv"))


def test_a_cancelled_write_ends_before_the_file_is_closed(tmp_path: Path) -> None:
    async def cancelled() -> None:
        task = asyncio.create_task(write(tmp_path / "rows.csv", *[b"x" * 1_000_000] * 10_000))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="too long"):
        asyncio.run(write(tmp_path / ("x" * 1000)))
    (tmp_path / "file").touch()
    with pytest.raises(BackupError, match="Not a directory"):
        asyncio.run(write(tmp_path / "file" / "rows.csv"))


@pytest.mark.skipif(sys.platform != "linux", reason="done on Linux alone")
def test_what_is_written_is_on_its_way_to_the_disk_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[int, int]] = []
    advise = os.posix_fadvise

    def note(descriptor: int, start: int, size: int, advice: int) -> None:
        begun.append((start, size))
        advise(descriptor, start, size, advice)

    monkeypatch.setattr(os, "posix_fadvise", note)
    mib = bytes(1024 * 1024)
    file = asyncio.run(write(tmp_path / "rows.csv", *[mib] * 11))
    assert begun == [(0, 4 * len(mib)), (4 * len(mib), 4 * len(mib))]
    assert file.path.read_bytes() == mib * 11
