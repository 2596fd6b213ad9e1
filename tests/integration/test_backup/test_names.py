"""The names of backups, and which of them go."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from hqt_async_db import InvalidInputError
from hqt_async_db.backup import prune_backups
from hqt_async_db.backup.archives.archive import SEAL
from hqt_async_db.backup.manifest import manifest_of_file
from hqt_async_db.backup.names import BackupName, Hold, record_beside, reserve
from hqt_async_db.backup.prune import record_of

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2024, 1, 1, 12, tzinfo=UTC)
# Reserves and publishes as fast as it can.
RESERVING = """
import sys, pathlib, datetime
from hqt_async_db.backup.names import reserve
directory = pathlib.Path(sys.argv[1])
for _ in range(50):
    reservation = reserve(directory, "db", datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC))
    reservation.path.touch(exist_ok=False)
    reservation.close()
"""


def put(directory: Path, age: int, *, verified: bool = False, extension: str = "db") -> Path:
    """Make a backup that is so many seconds old."""
    path = directory / f"hqt_backup_{NOW - timedelta(seconds=age):%Y%m%d_%H%M%S}.{extension}"
    if extension == "zip":
        path.write_bytes(SEAL + b"0" * 64)
    else:
        path.touch()
        manifest_of_file(path).touch()
    if verified:
        record_beside(path).write_bytes(record_of(path, "now"))
    return path


def pruned(directory: Path, keep: int) -> list[str]:
    """Prune; return what is left."""
    asyncio.run(prune_backups(directory, keep))
    return sorted(path.name for path in directory.iterdir())


def test_a_name_is_given_once(tmp_path: Path) -> None:
    first, second = reserve(tmp_path, "db", NOW), reserve(tmp_path, "zip", NOW)
    assert first.path.name == "hqt_backup_20240101_120000.db"
    assert second.path.name == "hqt_backup_20240101_120000_1.zip"
    first.path.touch()
    first.close()
    second.close()
    third = reserve(tmp_path, "dump", NOW)
    assert third.path.name == "hqt_backup_20240101_120000_1.dump"
    third.close()
    assert [path.name for path in tmp_path.iterdir()] == ["hqt_backup_20240101_120000.db"]


def test_processes_never_have_the_same_name(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RESERVING, str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len(list(tmp_path.iterdir())) == 150


def test_names_are_sorted_by_number() -> None:
    parsed = [BackupName.parse(f"hqt_backup_20240101_120000{end}.db") for end in ("_10", "_9", "")]
    orders = [name.order for name in parsed if name is not None]
    assert len(orders) == 3
    assert sorted(orders) == orders[::-1]
    assert BackupName.parse("hqt_backup_20240101_120000.db.bak") is None


def test_the_newest_stay(tmp_path: Path) -> None:
    paths = [put(tmp_path, age, extension=("db", "zip")[age % 2]) for age in range(5)]
    left = pruned(tmp_path, 2)
    assert left == sorted([paths[0].name, f"{paths[0].name}.manifest.json", paths[1].name])


def test_the_newest_verified_one_stays(tmp_path: Path) -> None:
    paths = [put(tmp_path, age, verified=age in (3, 4)) for age in range(5)]
    left = [name for name in pruned(tmp_path, 1) if name.endswith(".db")]
    assert left == [paths[3].name, paths[0].name]


def test_a_backup_that_was_changed_since_counts_as_not_verified(tmp_path: Path) -> None:
    paths = [put(tmp_path, age, verified=age in (3, 4)) for age in range(5)]
    paths[3].write_bytes(b"changed")
    left = [name for name in pruned(tmp_path, 1) if name.endswith(".db")]
    assert left == [paths[4].name, paths[0].name]


def test_what_is_not_ours_is_not_touched(tmp_path: Path) -> None:
    newest = put(tmp_path, 0)
    theirs = {"notes.txt", "hqt_backup_20200101_000000.db", "hqt_backup_20200101_000000.zip"}
    for name in theirs:
        (tmp_path / name).write_text("mine")
    (tmp_path / "hqt_backup_20200102_000000.db").symlink_to(tmp_path / "notes.txt")
    (tmp_path / "hqt_backup_20200103_000000.db").mkdir()
    left = set(pruned(tmp_path, 1))
    assert left - {newest.name, f"{newest.name}.manifest.json"} == theirs | {
        "hqt_backup_20200102_000000.db",
        "hqt_backup_20200103_000000.db",
    }


def test_what_killed_processes_left_goes_and_what_is_worked_on_stays(tmp_path: Path) -> None:
    stem = "hqt_backup_20240101_110000"
    for name in (f".{stem}.db.aaaa.partial", f".{stem}.db.aaaa.partial-journal"):
        (tmp_path / name).touch()
    (tmp_path / f".{stem}.hold.partial").touch()
    (tmp_path / "hqt_backup_20240101_100000.dump.manifest.json").touch()
    hold = Hold.take(tmp_path, "hqt_backup_20240101_090000")
    assert hold is not None
    busy = tmp_path / ".hqt_backup_20240101_090000.db.bbbb.partial"
    busy.touch()
    assert pruned(tmp_path, 1) == [busy.name, ".hqt_backup_20240101_090000.hold.partial"]
    hold.release()
    assert pruned(tmp_path, 1) == []


@pytest.mark.parametrize("keep", [0, -1, True])
def test_at_least_one_is_kept(tmp_path: Path, keep: int) -> None:
    with pytest.raises(InvalidInputError, match="at least 1"):
        asyncio.run(prune_backups(tmp_path, keep))
