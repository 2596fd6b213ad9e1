"""Run ``hqt-db`` as a shell would, in this process or in one of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from typer.testing import CliRunner

from hqt_async_db.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typer.testing import Result

CHECKOUT = Path(__file__).resolve().parents[3]
URL_VARIABLE = "HQT_DATABASE_URL"


@pytest.fixture(autouse=True, scope="session")
def ctrl_c() -> None:
    """Let children heed Ctrl-C, which programs ignore that a shell runs in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Run(Protocol):
    """Run one command on the test's database."""

    def __call__(self, *arguments: object, code: int = 0) -> str:
        """Return what it printed: on stderr if it had to end with another code than 0."""


class RunJson(Protocol):
    """Run one command with ``--json`` on the test's database."""

    def __call__(self, *arguments: object) -> Any:
        """Return the document that it printed."""


def invoke(*arguments: object, url: str | None = None) -> Result:
    """Run a command in this process; the URL is in its environment."""
    return CliRunner(env={URL_VARIABLE: url}).invoke(app, [str(part) for part in arguments])


def start(
    *arguments: object, url: str | None = None, script: str | None = None
) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    environment: Mapping[str, str] = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    if url is not None:
        environment = {**environment, URL_VARIABLE: url}
    program = ["-m", "hqt_async_db.cli"] if script is None else ["-c", script]
    return subprocess.Popen(
        [sys.executable, "-W", "error", *program, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def hqt_db(database_url: str) -> Run:
    """The program, in this process."""

    def run(*arguments: object, code: int = 0) -> str:
        done = invoke(*arguments, url=database_url)
        assert done.exit_code == code, done.output
        assert done.exception is None or isinstance(done.exception, SystemExit)
        assert (done.stdout if code else done.stderr) == ""
        return done.stderr if code else done.stdout

    return run


@pytest.fixture
def hqt_db_json(hqt_db: Run) -> RunJson:
    """The program with ``--json``."""
    return lambda *arguments: json.loads(hqt_db(*arguments, "--json"))
