"""PostgreSQL's own programs: where they are, what they may know, and that they end."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hqt_async_db.backup.threads import give_way
from hqt_async_db.connection import tasks
from hqt_async_db.errors import BackupError, ConfigurationError, StorageFullError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import URL

    from hqt_async_db.backup.export import AnyPath
    from hqt_async_db.connection.manager import DatabaseManager

TOOLS_VARIABLE: Final = "HQT_PG_BIN"

_VERSION: Final = re.compile(rb"\) (\d+)")
_SHOWN_LETTERS: Final = 600
_QUOTING: Final = re.compile(r"^(?:DETAIL|CONTEXT):.*?(?=^pg_\w+: |\Z)", re.DOTALL | re.MULTILINE)
# The programs are told to speak English.
_FULL: Final = b"No space left on device"
# What asyncpg's URLs and libpq's environment have in common, by the URL's name.
_FROM_QUERY: Final = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "database": "PGDATABASE",
    "dbname": "PGDATABASE",
    "sslmode": "PGSSLMODE",
    "ssl": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "options": "PGOPTIONS",
    "connect_timeout": "PGCONNECT_TIMEOUT",
}
# Arguments of asyncpg and psycopg that change neither the server nor who one is there.
_NOT_NEEDED: Final = {
    *("timeout", "command_timeout", "connection_class", "record_class", "loop"),
    *("statement_cache_size", "max_cached_statement_lifetime", "max_cacheable_statement_size"),
    *("prepared_statement_cache_size", "prepared_statement_name_func", "target_session_attrs"),
    *("application_name", "prepare_threshold", "keepalives", "keepalives_idle"),
    *("keepalives_interval", "keepalives_count", "tcp_user_timeout"),
}


@dataclass(frozen=True, slots=True)
class Tools:
    """Programs that fit a server.

    Attributes:
        directory: Where they are.
        environment: What tells them how to reach the server. The password is
            in it, where only this account and root can read it, and never in
            the arguments, which everybody can; nor is it ever on the disk.
    """

    directory: Path
    environment: Mapping[str, str]

    async def run(self, name: str, *arguments: str, database: str | None = None) -> bytes:
        """Run a program to its end and return what it printed.

        A cancelled caller has it killed, and waits until it has ended.

        Args:
            name: Of the program.
            arguments: Nothing secret.
            database: Another database than the URL's.

        Raises:
            BackupError: It failed; says what it said.
            StorageFullError: There was no space left for what it writes.
        """
        environment = dict(self.environment)
        if database is not None:
            environment["PGDATABASE"] = database
        status, printed, said = await _run(self.directory / name, arguments, environment)
        if status != 0:
            # What comes first is the cause. Details and contexts quote rows.
            shown = _QUOTING.sub("", said.decode(errors="replace"))[:_SHOWN_LETTERS].strip()
            if _FULL in said:
                msg = f"no space left for {name}: {shown}"
                raise StorageFullError(msg)
            msg = f"{name} ended with status {status}: {shown}"
            raise BackupError(msg)
        return printed


async def find_tools(db: DatabaseManager, server_version: int, tools_dir: AnyPath | None) -> Tools:
    """Return the programs for a server.

    Args:
        db: A database on it.
        server_version: The server's major version.
        tools_dir: Where they are; None looks in ``HQT_PG_BIN``, then on PATH.

    Raises:
        ConfigurationError: There is none, it is older than the server, or it
            cannot be told what ``connect_args`` tell the driver.
    """
    environment = environment_of(db.url, db.options.connect_args)
    directory = await asyncio.to_thread(_directory, tools_dir)
    instead = (
        f"name the directory of newer ones in tools_dir or {TOOLS_VARIABLE}, or write the "
        'portable archive, which needs none: backup_database(..., format="archive")'
    )
    if directory is None:
        place = tools_dir or os.environ.get(TOOLS_VARIABLE) or "PATH"
        msg = f"pg_dump and pg_restore are not in {place}; {instead}"
        raise ConfigurationError(msg)
    _, printed, _ = await _run(directory / "pg_dump", ("--version",), {})
    found = _VERSION.search(printed)
    version = int(found[1]) if found else 0
    if version < server_version:
        msg = f"pg_dump in {directory} is of version {version}, the server {server_version}; "
        raise ConfigurationError(msg + instead)
    return Tools(directory, environment)


def _directory(given: AnyPath | None) -> Path | None:
    place = given or os.environ.get(TOOLS_VARIABLE)
    found = [
        shutil.which(name, path=place and os.fspath(place)) for name in ("pg_dump", "pg_restore")
    ]
    return None if None in found else Path(str(found[0])).parent


def environment_of(url: URL, connect_args: Mapping[str, Any]) -> dict[str, str]:
    """Return libpq's environment variables for a URL and the arguments of the driver.

    Raises:
        ConfigurationError: An argument matters, and there is no variable for it.
    """
    parts = {
        "PGHOST": url.host,
        "PGPORT": url.port,
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
    }
    query = {
        _FROM_QUERY[name]: value
        for name, value in url.query.items()
        if name in _FROM_QUERY and isinstance(value, str)
    }
    named = {name: str(value) for name, value in parts.items() if value is not None} | query
    return {"PGAPPNAME": "hqt_async_db backup", **named, **dict(_variables(connect_args))}


def _variables(connect_args: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the variables that tell libpq what the driver is told."""
    for name, value in connect_args.items():
        if name in _NOT_NEEDED:
            continue
        if name == "server_settings":
            yield "PGOPTIONS", " ".join(f"-c {key}={_escaped(of)}" for key, of in value.items())
        elif name in _FROM_QUERY and type(value) in {str, int}:
            yield _FROM_QUERY[name], str(value)
        else:
            msg = (
                f"pg_dump and pg_restore cannot be told connect_args[{name!r}]; put it into the "
                'URL, or use the portable archive: backup_database(..., format="archive")'
            )
            raise ConfigurationError(msg)


def _escaped(value: object) -> str:
    return str(value).replace("\\", "\\\\").replace(" ", "\\ ")


async def _run(
    program: Path, arguments: Sequence[str], environment: Mapping[str, str]
) -> tuple[int, bytes, bytes]:
    """Run a program; it has ended when this returns, cancelled or not."""
    child = _Child()
    running = tasks.start(
        child.run(program, arguments, environment), name=f"hqt_async_db {program.name}"
    )
    cancelled = await tasks.wait(running, None, child.kill)
    if cancelled is not None:
        tasks.retrieve(running)
        raise cancelled
    return running.result()


class _Child:
    """A program that can be ended at any time, also before it has started."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._is_unwanted = False

    async def run(
        self, program: Path, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> tuple[int, bytes, bytes]:
        """Run it to its end, the loop going first; return its status, what it printed and said."""
        try:
            self._process = await asyncio.create_subprocess_exec(
                program,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, "LC_ALL": "C", **environment},
                umask=0o077,
            )
        except OSError as error:
            msg = f"{program} cannot be run: {error.strerror}"
            raise ConfigurationError(msg) from error
        give_way(self._process.pid)
        if self._is_unwanted:
            self.kill()
        printed, said = await self._process.communicate()
        return int(self._process.returncode or 0), printed, said

    def kill(self) -> None:
        """End it, now or once it has started."""
        self._is_unwanted = True
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
