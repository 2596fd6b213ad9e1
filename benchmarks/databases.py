"""The databases that the suites use, on servers that start by themselves.

The servers are those of the tests, with durability switched on. Where the
environment names a server of the user's own, that one is used.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from sqlalchemy import make_url

from benchmarks.errors import BenchmarkError
from benchmarks.witness import Witness
from tests.servers.databases import FileDatabases, ServerDatabases
from tests.servers.mariadb import MariaDBAdmin, MariaDBServer
from tests.servers.postgresql import PostgreSQLAdmin, PostgreSQLServer
from tests.servers.process import ServerProcess, ServerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    import tests.servers.databases
    from tests.servers.admin import Admin

BACKENDS: Final = ("SQLite", "PostgreSQL", "MariaDB")
_ADMINS: Final[dict[str, type[Admin]]] = {
    "PostgreSQL": PostgreSQLAdmin,
    "MariaDB": MariaDBAdmin,
}
_OWN_URL: Final = {"PostgreSQL": "HQT_TEST_POSTGRESQL_URL", "MariaDB": "HQT_TEST_MYSQL_URL"}
_START: Final[dict[str, Callable[[], ServerProcess]]] = {
    "PostgreSQL": lambda: PostgreSQLServer(
        fsync="on", full_page_writes="on", synchronous_commit="on", max_wal_size="4GB"
    ),
    "MariaDB": lambda: MariaDBServer(debug_no_sync="0", innodb_flush_log_at_trx_commit="1"),
}
# What the figures are worth nothing without, read back from every connection.
DURABILITY: Final = {
    "SQLite": {"PRAGMA journal_mode": "wal", "PRAGMA synchronous": "2"},
    "PostgreSQL": {"SHOW synchronous_commit": "on", "SHOW fsync": "on"},
    "MariaDB": {"SELECT @@innodb_flush_log_at_trx_commit": "1"},
}


@dataclass(frozen=True, slots=True)
class Database:
    """One database with the table in it.

    Attributes:
        backend: One of ``BACKENDS``.
        url: As a user would paste it.
        pool_size: Connections that everybody may keep.
        max_overflow: Connections beyond that, for those whose pool knows such.
    """

    backend: str
    url: str
    pool_size: int
    max_overflow: int = 0

    def url_for(self, driver: str) -> str:
        """Return the URL with a driver, in SQLAlchemy's form."""
        name = f"{make_url(self.url).get_backend_name()}+{driver}"
        return make_url(self.url).set(drivername=name).render_as_string(hide_password=False)

    @property
    def path(self) -> str:
        """Return SQLite's file."""
        return str(make_url(self.url).database)


class Databases:
    """Makes databases; a context manager that takes everything along when it ends.

    Args:
        pool_size: Connections for each of those who use a database.
    """

    def __init__(self, pool_size: int) -> None:
        self._pool_size = pool_size
        self._cleaning = contextlib.ExitStack()
        directory = self._cleaning.enter_context(tempfile.TemporaryDirectory(prefix="hqt-bench-"))
        self._makers: dict[str, tests.servers.databases.Databases] = {
            "SQLite": FileDatabases(Path(directory), _create_no_schema)
        }
        self._admins: dict[str, Admin] = {}
        self._made: set[Database] = set()
        self.absent: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._cleaning:
            for database in tuple(self._made):
                self.drop(database)

    def has(self, backend: str) -> bool:
        """Tell whether there is such a database, starting its server if need be.

        If not, ``absent`` says why.
        """
        if backend not in self._makers and backend not in self.absent:
            try:
                self._admins[backend] = admin = self._connect(backend)
            except (ServerUnavailableError, RuntimeError) as error:
                self.absent[backend] = str(error).partition("\n")[0]
            else:
                prefix = f"hqt_bench_{os.getpid()}"
                self._makers[backend] = ServerDatabases(admin, prefix, _create_no_schema)
        return backend in self._makers

    def _connect(self, backend: str) -> Admin:
        own = os.environ.get(_OWN_URL[backend])
        if own:
            admin = _ADMINS[backend](own)
        else:
            admin = self._cleaning.enter_context(_START[backend]()).admin
        return self._cleaning.enter_context(contextlib.closing(admin))

    def create(self, backend: str) -> Database:
        """Create a database that has the table, empty.

        Raises:
            BenchmarkError: There is no such backend here.
        """
        if not self.has(backend):
            raise BenchmarkError(self.absent[backend])
        url = self._makers[backend].create(with_schema=False)
        database = Database(backend, url, self._pool_size)
        self._made.add(database)
        with Witness(backend, database.url) as witness:
            witness.create_table()
        return database

    def drop(self, database: Database) -> None:
        """Remove a database now, to make room."""
        self._made.discard(database)
        self._makers[database.backend].drop(database.url)

    def versions(self) -> dict[str, str]:
        """Return the versions of the servers that run."""
        return {
            backend: str(admin.execute("SELECT version()")[0][0])
            for backend, admin in self._admins.items()
        }


def _create_no_schema(url: str) -> None:
    """Leave a database empty: the witness makes the one table."""
    del url
