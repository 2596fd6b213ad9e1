"""Mistakes about paths and files end with a sentence, and with everything as it was."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.test_cli.conftest import Run

pytestmark = pytest.mark.backends("sqlite-file")
TABLE = ("--table", "users", "--format", "csv")
LONG = "x" * 300


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        (("verify", "."), 2, "name a file"),
        (("restore", ".", "--yes"), 2, "name a file"),
        (("export", ".", *TABLE), 2, "name a file"),
        (("import", f"{LONG}.csv"), 1, "name too long"),
        (("verify", f"{LONG}.db"), 1, "name too long"),
    ],
)
def test_a_path_that_cannot_be(hqt_db: Run, command: tuple[str, ...], code: int, told: str) -> None:
    hqt_db("init")
    assert told in hqt_db(*command, code=code).lower()


def test_an_export_replaces_regular_files_alone(hqt_db: Run, tmp_path: Path) -> None:
    hqt_db("init")
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(tmp_path / "elsewhere")
    for path in (pipe, link):
        assert "no regular file" in hqt_db("export", path, *TABLE, code=2)
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert link.is_symlink()
    assert {path.name for path in tmp_path.iterdir() if "manifest" in path.name} == set()


def run(*arguments: str | bytes, stdout: str = os.devnull) -> tuple[int, str]:
    """Run the command in a process of its own, which takes any bytes."""
    command = [sys.executable, "-m", "hqt_async_db.cli", *arguments]
    with open(stdout, "wb") as output:  # noqa: PTH123 - a device
        ended = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, check=False)
    return ended.returncode, ended.stderr.decode()


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes there")
def test_names_that_are_no_utf_8(hqt_db: Run, database_url: str, tmp_path: Path) -> None:
    hqt_db("init")
    path = os.fsencode(tmp_path) + b"/\xff.csv"
    code, told = run("export", path, *TABLE, "--url", database_url)
    assert (code, "choose another path" in told) == (2, True)
    assert not os.path.lexists(path)
    code, told = run("stats", "--json", "--url", b"sqlite:///" + path)
    assert (code, json.loads(told)["error"]) == (2, "UsageError")


@pytest.mark.skipif(sys.platform != "linux", reason="the device is Linux's")
def test_an_output_that_is_full(hqt_db: Run, database_url: str) -> None:
    hqt_db("init")
    code, told = run("stats", "--url", database_url, stdout="/dev/full")
    assert (code, told) == (1, "hqt-db: No space left on device\n")


URL = "postgresql://u:s3cret@h/d"


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    "command",
    [
        ("init", URL),
        ("downgrade", URL, "--yes"),
        ("upgrade", URL),
        ("backup", URL),
        ("verify", "a.db", URL),
        ("restore", URL, "--yes"),
        ("prune", URL),
        ("export", URL),
        ("import", URL),
        ("copy", "sqlite:///copy.db", URL),
        ("copy", "postgresql://u:s3cret@h:port/d"),
        ("stats", "postgresql://h/d?user=u&password=s3cret"),
        ("init", "--url", "nosuch://u:s3cret@h/d"),
    ],
)
def test_no_password_is_printed(
    hqt_db: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    told = hqt_db(*command, *(["--json"] if as_json else []), code=2)
    assert "s3cret" not in told
    if command[-1] == URL or URL in command:
        assert "--url" in told
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".db"] == []


def test_every_command_takes_a_url(hqt_db: Run, tmp_path: Path) -> None:
    assert "0 deleted" in hqt_db("prune", tmp_path, "--url", "sqlite:///any.db")
