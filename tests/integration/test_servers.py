"""The servers of the tests: they obey, keep their rows, and never outlive a run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.fixtures.backends import lack
from tests.servers.postgresql import PostgreSQLServer
from tests.servers.process import ServerUnavailableError

if TYPE_CHECKING:
    from tests.servers.admin import Admin
    from tests.servers.process import ServerProcess

CHECKOUT = Path(__file__).resolve().parents[2]
ENDS_WITHIN_S = 10.0
_START_AND_WAIT = """
import signal, sys, time
from tests.servers.postgresql import PostgreSQLServer
# A shell has what it starts in the background ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
with PostgreSQLServer() as server:
    print(server.pid, server.directory, flush=True)
    time.sleep(60)
"""

on_servers = pytest.mark.backends("postgresql", "mariadb")


@on_servers
def test_a_wrong_password_is_refused(server: Admin) -> None:
    assert server.answers()
    assert not type(server)(server.address.set(password="wrong")).answers()


@on_servers
def test_rows_and_port_survive_every_kind_of_end(private_server: ServerProcess) -> None:
    server = private_server
    server.admin.create_database("kept")
    server.admin.execute("CREATE TABLE t (id INTEGER)", database="kept")
    url = server.url("kept")
    rows: list[tuple[int]] = []
    for end in (server.stop, partial(server.stop, immediate=True), server.kill):
        rows.append((len(rows),))
        server.admin.execute("INSERT INTO t VALUES (%s)", rows[-1], database="kept")
        pid = server.pid
        end()
        assert server.pid == 0
        assert not server.admin.answers()
        server.start()
        assert server.pid not in {0, pid}
        assert server.url("kept") == url
        assert server.admin.execute("SELECT id FROM t ORDER BY id", database="kept") == rows


@on_servers
def test_a_frozen_server_is_silent_until_it_is_thawed(private_server: ServerProcess) -> None:
    private_server.freeze()
    states = {process.status() for process in _family(private_server.pid)}
    assert states <= {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}
    private_server.thaw()
    assert private_server.admin.answers()


@on_servers
def test_a_copied_database_holds_the_same(server: Admin, database_url: str) -> None:
    original = database_url.rpartition("/")[2]
    server.execute("CREATE TABLE t (id INTEGER)", database=original)
    server.execute("INSERT INTO t VALUES (7)", database=original)
    server.create_database(f"{original}_copy", like=original)
    try:
        assert server.execute("SELECT id FROM t", database=f"{original}_copy") == [(7,)]
    finally:
        server.drop_database(f"{original}_copy")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("sign", ["kill", "terminate", "send_signal"])
def test_a_server_ends_with_the_process_that_started_it(sign: str) -> None:
    arguments = (2,) if sign == "send_signal" else ()
    with subprocess.Popen(
        [sys.executable, "-c", _START_AND_WAIT],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid, _, directory = parent.stdout.readline().strip().partition(" ")
        if not pid:
            lack("PostgreSQL did not start")
        family = _family(int(pid))
        getattr(parent, sign)(*arguments)
    _, alive = psutil.wait_procs(family, timeout=ENDS_WITHIN_S)
    assert alive == []
    deadline = time.monotonic() + ENDS_WITHIN_S
    while Path(directory).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(directory).exists()


def test_a_setting_that_cannot_work_is_reported_with_the_log() -> None:
    try:
        server = PostgreSQLServer(shared_buffers="nonsense")
    except ServerUnavailableError as error:
        lack(str(error))
    with pytest.raises(RuntimeError, match="nonsense"):
        server.__enter__()
    assert not server.directory.exists()


def test_a_missing_server_is_a_skip_and_on_ci_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="none here"):
        lack("none here")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="none here"):
        lack("none here")


_LEAKS = {
    "tasks outlived the test": """
async def test_it():
    global task
    task = asyncio.create_task(asyncio.sleep(60))
""",
    "threads outlived the test": """
def test_it():
    threading.Thread(target=time.sleep, args=(3,), daemon=True).start()
""",
    "errors that nobody saw": """
async def test_it():
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)
""",
}


@pytest.mark.parametrize("complaint", _LEAKS)
def test_a_leak_fails_the_test_that_made_it(tmp_path: Path, complaint: str) -> None:
    test_file = tmp_path / "test_leak.py"
    test_file.write_text(f"import asyncio, threading, time\n{_LEAKS[complaint]}")
    options = ["-q", "-p", "no:cacheprovider", "-p", "tests.fixtures.leaks", "-o", "addopts="]
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-c", "pyproject.toml", test_file],
        check=False,
        capture_output=True,
        cwd=CHECKOUT,
        env={name: value for name, value in os.environ.items() if "PYTEST" not in name},
        text=True,
    )
    assert complaint in finished.stdout
    assert "1 passed, 1 error" in finished.stdout


def _family(pid: int) -> list[psutil.Process]:
    main = psutil.Process(pid)
    return [main, *main.children(recursive=True)]
