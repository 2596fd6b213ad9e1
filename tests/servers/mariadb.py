"""MariaDB, from a ``mariadbd`` on the machine or a server of the user's own."""

from __future__ import annotations

import os
import shutil
import signal
from typing import TYPE_CHECKING, Any, ClassVar

import pymysql
from pymysql.constants import CLIENT
from sqlalchemy import URL

from tests.servers import accounts
from tests.servers.admin import Admin
from tests.servers.process import ServerProcess, ServerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Isolation, character set and SQL mode stay as MariaDB ships them: the library
# has to cope with those. Commits survive the end of the server, not that of the machine.
_SETTINGS = {
    "debug-no-sync": "1",
    "default-time-zone": "+05:30",  # far from UTC: who forgets a zone fails
    # Each test makes its tables: without files and statistics of their own in half the time.
    "innodb-adaptive-hash-index": "0",
    "innodb-buffer-pool-size": "128M",
    "innodb-file-per-table": "0",
    "innodb-log-file-size": "32M",
    "innodb-stats-persistent": "0",
    "max-connections": "300",
    "performance-schema": "0",
    "skip-name-resolve": "1",
}
# Where systems keep a daemon that is not on an ordinary user's search path.
_PLACES = ("/usr/sbin", "/usr/libexec", "/usr/local/sbin", "/opt/homebrew/bin")


class MariaDBAdmin(Admin):
    """Administration through PyMySQL."""

    _connection: pymysql.connections.Connection[Any] | None = None

    def __init__(self, url: str | URL) -> None:
        super().__init__(url)
        self._definitions: dict[str, str] = {}

    @property
    def default_port(self) -> int:
        return 3306

    def execute(
        self, statement: str, parameters: Sequence[object] = (), *, database: str | None = None
    ) -> list[tuple[Any, ...]]:
        if database is not None:
            with self._connect(database) as connection:
                return _rows(connection, statement, parameters)
        if self._connection is None or not self._connection.open:
            self._connection = self._connect(self.address.database)
        return _rows(self._connection, statement, parameters)

    def _connect(self, database: str | None) -> pymysql.connections.Connection[Any]:
        return pymysql.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            database=database,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=10,
            client_flag=CLIENT.MULTI_STATEMENTS,
            **self.address.query,
        )

    def answers(self) -> bool:
        try:
            self._connect(None).close()
        except pymysql.OperationalError:
            return False
        return True

    def close(self) -> None:
        if self._connection is not None and self._connection.open:
            self._connection.close()

    def databases(self, prefix: str) -> list[str]:
        names = self.execute(
            "SELECT schema_name FROM information_schema.schemata WHERE LEFT(schema_name, %s) = %s",
            (len(prefix), prefix),
        )
        return [name for (name,) in names]

    def create_database(self, database: str, *, like: str | None = None) -> None:
        statements = [f"CREATE DATABASE `{database}`"]
        if like is not None:
            if like not in self._definitions:
                self._definitions[like] = self._definition(like)
            statements += [f"USE `{database}`", self._definitions[like]]
        self.execute("; ".join(statements))

    def _definition(self, database: str) -> str:
        """Return the statements that build a copy: MariaDB has no template databases."""
        statements = ["SET foreign_key_checks = 0"]
        for (table,) in self.execute("SHOW TABLES", database=database):
            ((_, definition),) = self.execute(f"SHOW CREATE TABLE `{table}`", database=database)
            copy = f"INSERT INTO `{table}` SELECT * FROM `{database}`.`{table}`"  # noqa: S608 - ours
            statements += [definition, copy]
        return "; ".join([*statements, "SET foreign_key_checks = 1", "USE mysql"])

    def sessions(self, database: str) -> list[str]:
        rows = self.execute(
            "SELECT id, command, LEFT(info, 200) FROM information_schema.processlist WHERE db = %s",
            (database,),
        )
        return [f"connection {number}, {command}: {info}" for number, command, info in rows]

    def drop_database(self, database: str) -> None:
        for (number,) in self.execute(
            "SELECT id FROM information_schema.processlist WHERE db = %s", (database,)
        ):
            self.execute(f"KILL {number}")
        self.execute(f"DROP DATABASE IF EXISTS `{database}`")


class MariaDBServer(ServerProcess):
    """A MariaDB of our own; the password is asked for.

    Args:
        **settings: Server settings besides, and instead of, the fast ones,
            with underscores in their names.
    """

    name: ClassVar[str] = "MariaDB"
    graceful_signal: ClassVar[signal.Signals] = signal.SIGTERM
    immediate_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, **settings: str) -> None:
        """Create the system tables; it takes about half a second."""
        given = {name.replace("_", "-"): value for name, value in settings.items()}
        self._settings = _SETTINGS | given
        self._daemon = _find("mariadbd")
        super().__init__()
        self.admin = MariaDBAdmin(
            URL.create("mariadb", self.user, self.password, self.host, self.port)
        )

    def initialise(self) -> None:
        # One of its own: a server that starts deletes the temporary tables it finds.
        self._temporary.mkdir()
        accounts.give(self._temporary)
        accounts.run(
            [
                _find("mariadb-install-db"),
                "--no-defaults",
                f"--datadir={self._data}",
                f"--tmpdir={self._temporary}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ],
            directory=self.directory,
            environment=self.environment,
        )
        self._users.touch(mode=0o600)
        self._users.write_text(
            f"CREATE USER IF NOT EXISTS {self.user} IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON *.* TO {self.user} WITH GRANT OPTION;\n"
            "DROP USER IF EXISTS root@localhost, root@'127.0.0.1', root@'::1';\n"
        )
        accounts.give(self._users)

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _temporary(self) -> Path:
        return self.directory / "tmp"

    @property
    def _users(self) -> Path:
        return self.directory / "users.sql"

    def command(self) -> list[str]:
        return [
            self._daemon,
            "--no-defaults",
            f"--datadir={self._data}",
            f"--tmpdir={self._temporary}",
            f"--socket={self.directory / 'socket'}",
            f"--init-file={self._users}",
            f"--bind-address={self.host}",
            f"--port={self.port}",
            *(f"--{name}={value}" for name, value in self._settings.items()),
        ]


def _rows(
    connection: pymysql.connections.Connection[Any], statement: str, parameters: Sequence[object]
) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        rows = list(cursor.fetchall())
        while cursor.nextset():  # an error in a later statement is raised here
            rows += cursor.fetchall()
    return rows


def _find(program: str) -> str:
    """Return the path of a program of MariaDB."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_PLACES])
    found = shutil.which(program, path=path)
    if found is None:
        msg = (
            f"no MariaDB: {program} is not on this machine; install MariaDB's server, "
            "or name a server of your own in HQT_TEST_MYSQL_URL"
        )
        raise ServerUnavailableError(msg)
    return found
