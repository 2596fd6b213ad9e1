"""The servers that all tests of one pytest run share.

The controlling process owns them; its xdist workers ask it for a server over
a socket. A server starts when it is first asked for, so that a small run which
needs none starts none; a run on several workers starts all of them ahead.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from multiprocessing.connection import Client, Connection, Listener
from typing import TYPE_CHECKING, Final

from tests.servers.mariadb import MariaDBAdmin, MariaDBServer
from tests.servers.postgresql import PostgreSQLAdmin, PostgreSQLServer
from tests.servers.process import ServerProcess, ServerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.admin import Admin

ADMINS: Final[dict[str, type[Admin]]] = {"postgresql": PostgreSQLAdmin, "mariadb": MariaDBAdmin}
_START: Final[dict[str, Callable[[], ServerProcess]]] = {
    "postgresql": lambda: PostgreSQLServer(linguistic=True),
    "mariadb": MariaDBServer,
}
_OWN_URL: Final = {"postgresql": "HQT_TEST_POSTGRESQL_URL", "mariadb": "HQT_TEST_MYSQL_URL"}
# How a worker finds the controller: port, key of the socket, name of the run.
_RENDEZVOUS: Final = "HQT_TEST_RENDEZVOUS"


class SharedServers:
    """What the controller keeps: servers by backend, each started at most once."""

    def __init__(self) -> None:
        """Listen for workers; start nothing yet."""
        key = secrets.token_bytes(16)
        run = f"hqt_test_{secrets.token_hex(4)}"
        self._listener = Listener(("127.0.0.1", 0), authkey=key)
        self._servers: dict[str, ServerProcess] = {}
        self._answers: dict[str, str | Exception] = {}
        self._locks = {backend: threading.Lock() for backend in ADMINS}
        self._run = run
        os.environ[_RENDEZVOUS] = f"{self._listener.address[1]}:{key.hex()}:{run}"
        threading.Thread(target=self._accept, name="shared servers", daemon=True).start()

    def prepare(self) -> None:
        """Start every server now, beside whatever else goes on."""
        for backend in ADMINS:
            threading.Thread(target=self._answer, args=(backend,), daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        with connection:
            connection.send(self._answer(connection.recv()))

    def _answer(self, backend: str) -> str | Exception:
        """Return the server's URL, or the error that says why there is none."""
        with self._locks[backend]:
            if backend not in self._answers:
                try:
                    self._answers[backend] = self._start(backend)
                except (ServerUnavailableError, RuntimeError) as error:
                    self._answers[backend] = error
            return self._answers[backend]

    def _start(self, backend: str) -> str:
        own = os.environ.get(_OWN_URL[backend])
        if own:
            return own
        server = self._servers[backend] = _START[backend]()
        server.start()
        return server.admin.address.render_as_string(hide_password=False)

    def close(self) -> None:
        """End our servers; on servers of the user, drop what the tests left."""
        self._listener.close()
        os.environ.pop(_RENDEZVOUS, None)
        with contextlib.ExitStack() as started:
            for lock in self._locks.values():
                started.enter_context(lock)
            self._end()

    def _end(self) -> None:
        for backend, answer in self._answers.items():
            if isinstance(answer, str) and backend not in self._servers:
                _drop_all(ADMINS[backend](answer), self._run)
        for server in self._servers.values():
            server.close()


def _drop_all(admin: Admin, prefix: str) -> None:
    with contextlib.closing(admin):
        for database in admin.databases(prefix):
            admin.drop_database(database)


def connect(backend: str) -> Admin:
    """Return the administration of the shared server of a backend, started if need be.

    Raises:
        ServerUnavailableError: This machine cannot run it; says what it lacks.
        RuntimeError: It ought to run here, and did not start.
    """
    port, key, _ = os.environ[_RENDEZVOUS].split(":")
    with Client(("127.0.0.1", int(port)), authkey=bytes.fromhex(key)) as connection:
        connection.send(backend)
        answer = connection.recv()
    if isinstance(answer, Exception):
        raise answer
    return ADMINS[backend](answer)


def database_prefix() -> str:
    """Return what the names of this process's databases begin with, unique to the run."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    return f"{os.environ[_RENDEZVOUS].split(':')[2]}_{worker}"
