"""A database server of our own: start, stop, kill, freeze and restart it."""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import psutil

from tests.servers import accounts

if TYPE_CHECKING:
    from types import TracebackType

    from tests.servers.admin import Admin

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
# Below the range from which systems take the ports of outgoing connections:
# none of those can occupy the port while the server is down for a restart.
_PORTS = range(10_000, 30_000)
_READY_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 15.0


class ServerUnavailableError(Exception):
    """This machine cannot run the server; the message says what it lacks."""


class ServerProcess(ABC):
    """One server with a directory, a port and a password of its own.

    A context manager: leaving the block ends the server and removes its files.

    Attributes:
        host: Address the server listens on.
        port: Port it listens on, the same after a restart.
        user: Name of the account that may do everything.
        password: Password of that account.
        admin: Runs statements outside of what is tested, over connections of its own.
    """

    name: ClassVar[str]
    graceful_signal: ClassVar[signal.Signals]
    immediate_signal: ClassVar[signal.Signals]
    host: ClassVar[str] = "127.0.0.1"
    user: ClassVar[str] = "hqt"
    admin: Admin

    def __init__(self) -> None:
        """Prepare the files of a server that is not yet running."""
        self.port = free_port()
        self.password = secrets.token_hex(8)
        self.directory = accounts.make_directory(self.name)
        self.environment: dict[str, str] = {}
        self._supervisor: subprocess.Popen[str] | None = None
        self._pid = 0
        try:
            self.initialise()
        except BaseException:
            shutil.rmtree(self.directory)
            raise

    @abstractmethod
    def initialise(self) -> None:
        """Create the files of the server."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line that runs the server in the foreground."""

    @property
    def log(self) -> Path:
        """Return the file that the server writes its messages to."""
        return self.directory / "server.log"

    @property
    def pid(self) -> int:
        """Return the id of the server's main process; 0 when it is down."""
        return self._pid if self.is_running else 0

    @property
    def is_running(self) -> bool:
        """Tell whether the server's process exists."""
        return self._supervisor is not None and self._supervisor.poll() is None

    def url(self, database: str) -> str:
        """Return the plain URL of a database, password included."""
        return self.admin.url(database)

    def start(self) -> None:
        """Start the server and wait until it accepts the password.

        Raises:
            RuntimeError: It ended, or was not ready in time; the message
                ends with the last lines of its log.
        """
        specification = {
            "command": self.command(),
            "directory": str(self.directory),
            "log": str(self.log),
            "environment": self.environment,
            "identity": accounts.identity(),
            "end_signal": int(self.immediate_signal),
        }
        self._supervisor = subprocess.Popen(
            [sys.executable, "-S", "-E", str(_SUPERVISOR), json.dumps(specification)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C is for the tests; the server must outlive their tidying up.
            start_new_session=True,
        )
        assert self._supervisor.stdout is not None
        self._pid = int(self._supervisor.stdout.readline())
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while not self.admin.answers():
            if not self.is_running or time.monotonic() > deadline:
                last_lines = self.log.read_text(errors="replace")[-2000:]
                msg = f"{self.name} did not start:\n{last_lines}"
                raise RuntimeError(msg)
            time.sleep(0.02)

    def stop(self, *, immediate: bool = False) -> None:
        """Shut the server down, keeping its files for another start.

        Args:
            immediate: Break off, as a crash would; recovery runs at the next start.
        """
        self._signal(self.immediate_signal if immediate else self.graceful_signal)
        self._wait_until_ended()

    def kill(self) -> None:
        """End the server by SIGKILL, keeping its files for another start."""
        self._signal(signal.SIGKILL)
        self._wait_until_ended()

    def restart(self, *, immediate: bool = False) -> None:
        """Stop the server and start it again on the same port."""
        self.stop(immediate=immediate)
        self.start()

    def freeze(self) -> None:
        """Suspend every process of the server: connections stay open and silent."""
        psutil.Process(self._pid).suspend()  # first, so that it starts no further ones
        for process in self._processes():
            process.suspend()
            # One that was just ending stays a zombie until the first is thawed.
            while process.status() not in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}:
                time.sleep(0.001)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        for process in reversed(self._processes()):  # the first, which buries others, last
            process.resume()

    def close(self) -> None:
        """End the server, running or not, and remove its files."""
        self.admin.close()
        if self._supervisor is not None:
            assert self._supervisor.stdin is not None
            self._supervisor.stdin.close()
            self._wait_until_ended()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _signal(self, number: signal.Signals) -> None:
        self.admin.close()
        psutil.Process(self._pid).send_signal(number)

    def _wait_until_ended(self) -> None:
        assert self._supervisor is not None
        with self._supervisor:  # closes the pipes
            self._supervisor.wait(_STOP_TIMEOUT_S)
        self._supervisor = None

    def _processes(self) -> list[psutil.Process]:
        main = psutil.Process(self._pid)
        return [main, *main.children(recursive=True)]


def free_port() -> int:
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
