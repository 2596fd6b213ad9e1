"""Places to restore into before it counts: gone without a trace afterwards."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from hqt_async_db.backup.names import Hold
from hqt_async_db.backup.threads import WorkThread
from hqt_async_db.connection import tasks
from hqt_async_db.connection.backends.backend import Mode
from hqt_async_db.connection.manager import DatabaseManager
from hqt_async_db.errors import BackupError, StatementFailedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SCRATCH_FILE: Final = "scratch.db"

_PREFIX: Final = "hqt_scratch_"
_INSUFFICIENT_PRIVILEGE: Final = "42501"
# So old a scratch database has long had its first connection, or never will.
_LEFTOVER_S: Final = 3600
_OF_THIS_ACCOUNT: Final = text(
    "SELECT datname FROM pg_database "
    "WHERE datname LIKE 'hqt\\_scratch\\_%' AND pg_get_userbyid(datdba) = current_user"
)


@dataclass(frozen=True, slots=True)
class _Lent:
    """A scratch directory, and the lock that tells others that it is in use."""

    directory: Path
    hold: Hold

    def close(self) -> None:
        """Delete it with what is in it."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.hold.release()


@asynccontextmanager
async def scratch_directory() -> AsyncIterator[Path]:
    """Lend an empty directory, mode 0700, where the system keeps temporary files.

    Those of processes that were killed are deleted before.

    Raises:
        BackupError: It keeps them nowhere.
    """
    async with WorkThread("scratch") as thread, thread.lending(_make_directory) as lent:
        yield lent.directory


def _make_directory() -> _Lent:
    try:
        place = Path(tempfile.gettempdir()).absolute()
        _delete_leftovers(place)
        lent = _free_name(place)
        try:
            lent.directory.mkdir(mode=0o700)
        except BaseException:
            lent.close()
            raise
    except OSError as error:
        msg = (
            "a backup is first restored into a temporary directory, and none can be made "
            f"({error.strerror}); set TMPDIR to a directory with enough room"
        )
        raise BackupError(msg) from error
    return lent


def _free_name(place: Path) -> _Lent:
    """Hold a name before there is anything of that name to be deleted."""
    while True:
        name = f"{_PREFIX}{secrets.token_hex(8)}"
        hold = Hold.take(place, name)  # None if another process took it for a leftover
        if hold is not None:
            return _Lent(place / name, hold)


def _delete_leftovers(place: Path) -> None:
    """Delete the scratch directories of this account whose processes were killed."""
    with contextlib.suppress(OSError):  # this is no reason not to restore
        for name in Hold.stems(place, _PREFIX):
            hold = Hold.take(place, name)
            if hold is not None:
                _Lent(place / name, hold).close()


@asynccontextmanager
async def scratch_file(directory: Path) -> AsyncIterator[DatabaseManager]:
    """Lend a manager of a SQLite file in a scratch directory, which is not synced."""
    url = f"sqlite:///{directory / SCRATCH_FILE}"
    async with DatabaseManager(url, sqlite_synchronous="NORMAL") as db:
        yield db


@asynccontextmanager
async def scratch_database(
    db: DatabaseManager, schema: str | None = None
) -> AsyncIterator[DatabaseManager]:
    """Lend a manager of an empty database on the server of another, PostgreSQL.

    Those of processes that were killed are dropped before.

    Args:
        db: The other.
        schema: Where its sessions look for tables, which may be a setting of
            that one database; nobody makes it here.

    Raises:
        BackupError: The account may not create databases.
    """
    await _drop_leftovers(db)
    name = f"{_PREFIX}{int(time.time())}_{secrets.token_hex(8)}"
    try:
        # A server that is at it goes on with it, whatever becomes of who asked.
        await tasks.finish(_create(db, name), name="hqt_async_db create scratch database")
        if schema is not None:
            await send(db, f'ALTER DATABASE "{name}" SET search_path TO {quoted(schema)}')
        async with in_use(db, name), db.beside(name) as scratch:
            yield scratch
    finally:
        drop = send(db, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await tasks.finish(drop, name="hqt_async_db drop scratch database")


@asynccontextmanager
async def in_use(db: DatabaseManager, name: str) -> AsyncIterator[None]:
    """Keep a connection to a scratch database, which keeps others from dropping it."""
    async with db.beside(name) as keeper, keeper.open(Mode.MAINTENANCE, "scratch") as session:
        await session.connection()
        yield


async def _drop_leftovers(db: DatabaseManager) -> None:
    """Drop the scratch databases that no living process of this account uses."""
    async with db.open(Mode.READ_ONLY, "scratch database") as session:
        names = (await session.scalars(_OF_THIS_ACCOUNT)).all()
    for name in names:
        made_at = name.removeprefix(_PREFIX).partition("_")[0]
        if made_at.isdecimal() and time.time() - int(made_at) > _LEFTOVER_S:
            with contextlib.suppress(StatementFailedError):  # in use
                await send(db, f"DROP DATABASE IF EXISTS {quoted(name)}")


async def _create(db: DatabaseManager, name: str) -> None:
    try:
        await send(db, f'CREATE DATABASE "{name}" TEMPLATE template0')
    except StatementFailedError as error:
        if getattr(error.orig, "sqlstate", None) != _INSUFFICIENT_PRIVILEGE:
            raise
        msg = (
            "the backup is first restored into a database of its own, which this account may not "
            "create; grant it CREATEDB, or use portable archives, which need none"
        )
        raise BackupError(msg) from error


def quoted(name: str) -> str:
    """Return a name as PostgreSQL's SQL has it."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


async def send(db: DatabaseManager, statement: str) -> None:
    """Send a statement that takes no transaction, or needs none."""
    async with db.open(Mode.MAINTENANCE, "scratch database") as session:
        await session.execute(text(statement))
