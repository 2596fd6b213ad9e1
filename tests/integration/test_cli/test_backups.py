"""backup, verify, restore and prune."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hqt_async_db import DatabaseManager
from tests.integration.test_backup.changing import back_up_first, first, model
from tests.integration.test_cli.conftest import invoke
from tests.integration.test_cli.test_figures import add_one_user

if TYPE_CHECKING:
    from tests.integration.test_cli.conftest import Run, RunJson

pytestmark = [
    pytest.mark.backends("sqlite-file", "postgresql", "mariadb"),
    pytest.mark.timeout(60),
]


@pytest.fixture
def archive(hqt_db: Run, database_url: str, tmp_path: Path) -> str:
    """A backup of a database with one user, as a portable archive."""
    hqt_db("init")
    asyncio.run(add_one_user(database_url))
    return hqt_db("backup", tmp_path / "backups", "--format", "archive").strip()


def test_a_backup_is_verified_and_restored(
    hqt_db: Run, hqt_db_json: RunJson, database_url: str, archive: str
) -> None:
    assert "is whole: 1 rows" in hqt_db("verify", archive)
    asyncio.run(add_one_user(database_url, "second"))
    assert "--yes" in hqt_db("restore", archive, code=2)
    assert hqt_db_json("stats")["total_rows"] == 2
    restored = hqt_db_json("restore", archive, "--yes")
    assert restored["tables"]["users"] == 1
    assert hqt_db_json("stats")["total_rows"] == 1
    (before,) = hqt_db_json("verify", restored["safety_backup"])["backups"]
    assert before["tables"]["users"] == 2


def test_a_damaged_backup_is_told_by_the_exit_code(
    hqt_db: Run, hqt_db_json: RunJson, archive: str
) -> None:
    content = bytearray(Path(archive).read_bytes())
    content[len(content) // 2] ^= 1
    Path(archive).write_bytes(content)
    for command in (("verify",), ("restore", "--yes")):
        assert "hqt-db: " in hqt_db(*command, archive, code=3)
    assert hqt_db_json("stats")["total_rows"] == 1


def test_several_backups_are_verified_at_once(
    hqt_db: Run, hqt_db_json: RunJson, database_url: str, archive: str, tmp_path: Path
) -> None:
    asyncio.run(add_one_user(database_url, "second"))
    newer = hqt_db("backup", tmp_path / "backups", "--format", "archive").strip()
    told = hqt_db("verify", archive, newer)
    assert f"{archive} is whole: 1 rows" in told
    assert f"{newer} is whole: 2 rows" in told
    found = hqt_db_json("verify", newer, archive)["backups"]
    assert [(one["path"], one["tables"]["users"]) for one in found] == [(newer, 2), (archive, 1)]


@pytest.mark.backends("sqlite-file")
def test_one_damaged_backup_does_not_hide_the_others(archive: str, tmp_path: Path) -> None:
    damaged, missing = tmp_path / "damaged.zip", tmp_path / "missing.zip"
    content = bytearray(Path(archive).read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    done = invoke("verify", missing, damaged, archive)
    assert done.exit_code == 3
    assert f"{archive} is whole: 1 rows" in done.stdout
    assert all(str(path) in done.stderr for path in (damaged, missing))
    assert archive not in done.stderr
    of_scripts = invoke("verify", missing, damaged, archive, "--json")
    assert (of_scripts.exit_code, of_scripts.stdout) == (3, "")
    told = json.loads(of_scripts.stderr)
    assert told["error"] == "BackupVerificationError"
    assert all(str(path) in told["message"] for path in (damaged, missing))


@pytest.mark.backends("sqlite-file")
def test_an_archive_is_verified_without_a_database(archive: str) -> None:
    for url in (None, "of-no-kind"):
        done = invoke("verify", archive, url=url)
        assert done.exit_code == 0, done.output


def test_old_backups_go(hqt_db: Run, hqt_db_json: RunJson, archive: str) -> None:
    directory = Path(archive).parent
    newer = [hqt_db("backup", directory, "--format", "archive").strip() for _ in range(2)]
    assert hqt_db_json("prune", directory, "--keep", "2") == {"deleted": [archive]}
    assert hqt_db("prune", directory) == "0 deleted\n"
    assert all(Path(path).exists() for path in newer)
    assert "at least 1" in hqt_db("prune", directory, "--keep", "0", code=2)


def test_what_is_no_backup_is_refused(hqt_db: Run, tmp_path: Path) -> None:
    hqt_db("init")
    (tmp_path / "notes.txt").write_text("no backup")
    complaint = hqt_db("restore", tmp_path / "notes.txt", "--yes", code=1)
    assert "notes.txt" in complaint
    assert "missing.zip" in hqt_db("verify", tmp_path / "missing.zip", code=1)


@pytest.mark.backends("sqlite-file")
@pytest.mark.parametrize("columns", [None, [], first()[1:]])
def test_a_backup_of_a_model_that_is_another_one_or_none_here_is_whole(
    hqt_db: Run, database_url: str, tmp_path: Path, columns: list[Any] | None
) -> None:
    async def back_up() -> Path:
        async with DatabaseManager(database_url) as db:
            return await back_up_first(db, tmp_path, "native")

    path = asyncio.run(back_up())
    with contextlib.nullcontext() if columns is None else model(*columns):
        assert "is whole: 2 rows" in hqt_db("verify", path)
