"""How commands end: exit codes, one line for a mistake, interruptions."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import signal
import sqlite3
import time
import tomllib
from typing import TYPE_CHECKING

import psutil
import pytest
import typer

from hqt_async_db import BackupError, cli
from hqt_async_db.cli.outcomes import explained
from tests.integration.test_cli.conftest import CHECKOUT, invoke, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_WITHOUT_TYPER = (
    "import sys; sys.modules['typer'] = None; from hqt_async_db.cli import main; main()"
)
# Ctrl-C, at the moment when the commands are being loaded.
_INTERRUPTED = """
import signal, sys

class Finder:
    def find_spec(name, *_):
        if name == "hqt_async_db.cli.app":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Finder)
from hqt_async_db.cli import main
main()
"""


def test_the_program_is_installed_under_its_name() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    module, _, name = project["scripts"]["hqt-db"].partition(":")
    assert getattr(importlib.import_module(module), name) is cli.main


def test_it_runs_and_prints_its_version() -> None:
    process = start("--version")
    assert process.communicate(timeout=15) == ("0.1.0\n", "")
    assert process.returncode == 0


def test_without_the_extra_it_names_the_extra() -> None:
    process = start(script=_WITHOUT_TYPER)
    printed, complained = process.communicate(timeout=15)
    assert process.returncode == 2
    assert printed == ""
    assert complained.count("\n") == 1
    assert "hqt-async-db[cli]" in complained


@pytest.mark.parametrize(
    ("url", "code", "names"),
    [
        (None, 2, "HQT_DATABASE_URL"),
        ("oracle://demo:planted@localhost/hqt", 2, "oracle"),
        ("no url at all", 2, "does not parse"),
        ("postgresql://demo:planted@127.0.0.1:1/hqt", 1, "server"),
        ("postgresql://demo@127.0.0.1:1/hqt?password=planted", 1, "server"),
        ("mysql://demo:planted@127.0.0.1:1/hqt", 1, "127.0.0.1"),
        ("sqlite:///{tmp_path}", 1, "{tmp_path}"),
        ("sqlite:///{tmp_path}/no.db", 2, "{tmp_path}/no.db"),
        ("sqlite:///file:{tmp_path}/no.db?uri=true", 2, "{tmp_path}/no.db"),
        ("sqlite:///file://{tmp_path}/no%2520.db?uri=true&mode=rwc", 2, "{tmp_path}/no .db"),
        ("sqlite+aiosqlite:///file:{tmp_path}/no.db?uri=true", 2, "{tmp_path}/no.db"),
    ],
)
def test_a_wrong_url_is_one_line_and_no_traceback(
    url: str | None, code: int, names: str, tmp_path: Path
) -> None:
    done = invoke("current", url=url and url.format(tmp_path=tmp_path))
    assert done.exit_code == code
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert names.format(tmp_path=tmp_path) in done.stderr
    assert "planted" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_error_is_a_document_for_scripts(tmp_path: Path) -> None:
    done = invoke("stats", "--json", "--url", f"sqlite:///{tmp_path}/no.db")
    assert done.exit_code == 2
    told = json.loads(done.stderr)
    assert told["error"] == "ConfigurationError"
    assert told["retryable"] is False


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        (("downgrade", "base"), "InvalidInputError", "--yes"),
        (("restore", "b.zip"), "InvalidInputError", "--yes"),
        (("export", "all", "--columns", "id"), "InvalidInputError", "--table"),
        (("export", "u.txt", "--table", "users"), "InvalidInputError", "--format"),
        (("import", "nosuch.csv"), "InvalidInputError", "no file or directory nosuch.csv"),
        (("import", "nosuch/"), "InvalidInputError", "no file or directory nosuch"),
        (("export", "all", "--format", "xml"), "UsageError", "xml"),
        (("prune", "backups", "--keep", "x"), "UsageError", "--keep"),
        (("prune",), "UsageError", "directory"),
        (("stats", "--nothing"), "UsageError", "--nothing"),
        (("nothing",), "UsageError", "nothing"),
    ],
)
def test_wrong_use_is_a_document_for_scripts_too(
    arguments: tuple[str, ...], error: str, names: str, tmp_path: Path
) -> None:
    done = invoke(*arguments, "--json", url=f"sqlite:///{tmp_path}/no.db")
    assert (done.exit_code, done.stdout) == (2, "")
    told = json.loads(done.stderr)
    assert (told["error"], told["retryable"]) == (error, False)
    assert names in told["message"].lower()


def test_what_is_refused_here_is_one_line_for_people(tmp_path: Path) -> None:
    done = invoke("downgrade", "base", url=f"sqlite:///{tmp_path}/no.db")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)


def test_notes_are_part_of_the_message_of_a_document(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = BackupError("the restore failed")
    error.add_note("what was there is in b.zip")
    with pytest.raises(typer.Exit), explained(as_json=True):
        raise error
    told = json.loads(capsys.readouterr().err)
    assert told["message"] == "the restore failed\nwhat was there is in b.zip"


def test_what_a_url_looks_like_is_shown_and_no_password() -> None:
    assert "postgresql://user:password@host:5432/name" in invoke("stats", url="hqt.db").stderr
    shown = invoke("stats", url="oracle://user:password@host:5432/nam").stderr
    shown += invoke("copy", "x://user:password@host/y", url="sqlite://").stderr
    assert "password@" not in shown


def test_an_unknown_option_is_wrong_use() -> None:
    done = invoke("stats", "--nothing")
    assert done.exit_code == 2
    assert "--nothing" in done.stderr


@pytest.mark.parametrize(
    ("sent", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)],
    ids=["Ctrl-C", "SIGTERM", "SIGHUP"],
)
def test_an_interruption_ends_the_work_first(
    sent: signal.Signals, code: int, tmp_path: Path
) -> None:
    path = tmp_path / "hqt.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("BEGIN IMMEDIATE")
        process = start("init", url=f"sqlite:///{path}")
        # It has opened the file, and waits for the other's lock.
        _wait_until(lambda: _has_open(process.pid, path))
        process.send_signal(sent)
        assert process.communicate(timeout=10) == ("", "")
        assert process.returncode == code
        other.execute("ROLLBACK")
        assert other.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)


@pytest.mark.parametrize("ended_by", [KeyboardInterrupt, asyncio.CancelledError])
def test_a_script_is_told_of_an_interruption(
    ended_by: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit), explained(as_json=True):
        raise ended_by
    assert json.loads(capsys.readouterr().err)["error"] == "Interrupted"


def test_it_goes_on_without_a_terminal_if_it_was_told_to(tmp_path: Path) -> None:
    """As nohup does, whose programs a signal that is ignored must not end."""
    path = tmp_path / "hqt.db"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("PRAGMA journal_mode=WAL")
            other.execute("BEGIN IMMEDIATE")
            process = start("init", url=f"sqlite:///{path}")
            _wait_until(lambda: _has_open(process.pid, path))
            process.send_signal(signal.SIGHUP)
            other.execute("ROLLBACK")
            process.communicate(timeout=15)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert process.returncode == 0


def test_an_interruption_while_it_loads_is_quiet() -> None:
    process = start(script=_INTERRUPTED)
    assert process.communicate(timeout=15) == ("", "")
    assert process.returncode == 130


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.01)


def _has_open(pid: int, path: Path) -> bool:
    return str(path) in {file.path for file in psutil.Process(pid).open_files()}
