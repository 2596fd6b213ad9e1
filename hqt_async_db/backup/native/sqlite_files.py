"""SQLite files as such: what is in them, whether they are whole, what may lie beside them."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from hqt_async_db.backup.manifest import TableEntry
from hqt_async_db.backup.tables import all_tables, stored_columns, text_of
from hqt_async_db.connection.backends.sqlite.files import refuse_unusable
from hqt_async_db.connection.backends.sqlite.locations import path_of
from hqt_async_db.errors import BackupVerificationError
from hqt_async_db.migrations.environment import VERSION_TABLE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sqlalchemy import Table

    from hqt_async_db.backup.threads import Stop
    from hqt_async_db.connection.manager import DatabaseManager

_BUSY_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Contents:
    """What a snapshot of a database holds, in figures.

    Attributes:
        revision: The revision of its schema, None where none is recorded.
        tables: The tables of the models that there are, with their rows.
    """

    revision: str | None
    tables: tuple[TableEntry, ...]


def file_of(db: DatabaseManager) -> str | None:
    """Return the absolute path of a manager's SQLite file, None if there is no file."""
    if db.dialect_name != "sqlite":
        return None
    return path_of(str(db.engine.url.database or ""))


def open_live(path: str) -> sqlite3.Connection:
    """Open a file that others use, for reading.

    SQLite opens it a second time without harm; any other way of opening and
    closing it would drop the locks that this process has on it.
    """
    refuse_unusable(path)
    connection = sqlite3.connect(
        f"file:{quote(path)}?mode=ro",
        uri=True,
        timeout=_BUSY_S,
        isolation_level=None,
        check_same_thread=False,  # another thread interrupts it
    )
    # Each page is read once; few of them stay in the processor's own cache.
    for pragma in ("mmap_size=0", "cache_size=100"):
        connection.execute(f"PRAGMA {pragma}").close()
    return connection


def contents_of(connection: sqlite3.Connection, further: Iterable[str] = ()) -> Contents:
    """Count the rows of every table, by the smallest of its indexes.

    Args:
        connection: To the file.
        further: Names of tables that are counted, too, if they are there.
    """
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    names = {str(name) for (name,) in found}
    known: dict[str, Table | None] = {table.name: table for table in all_tables()}
    tables = [name for name in dict.fromkeys([*known, *further]) if name in names]
    return Contents(
        revision=_revision(connection) if VERSION_TABLE in names else None,
        tables=tuple([_entry(connection, name, known.get(name)) for name in tables]),
    )


def _entry(connection: sqlite3.Connection, name: str, table: Table | None) -> TableEntry:
    rows, columns = _count(connection, name), None
    if table is not None:
        found = connection.execute("SELECT name FROM pragma_table_info(?)", (name,))
        columns = text_of(table, stored_columns(table, [str(column) for (column,) in found]))
    return TableEntry(table=name, rows=rows, columns=columns)


def _revision(connection: sqlite3.Connection) -> str | None:
    row = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608 - a constant
    return None if row is None else str(row[0])


def _count(connection: sqlite3.Connection, name: str) -> int:
    quoted = name.replace('"', '""')
    (count,) = connection.execute(f'SELECT count(*) FROM "{quoted}"').fetchone()  # noqa: S608 - a table of the models, quoted
    return int(count)


def refuse_damaged(connection: sqlite3.Connection, name: str, *, fully: bool) -> None:
    """Have SQLite look through every page.

    Args:
        connection: To the file.
        name: What to call it in the error.
        fully: Also compare each row with the entries of its indexes, which
            takes three times as long.

    Raises:
        BackupVerificationError: It is damaged.
    """
    try:
        verdict = _check(connection, "integrity_check" if fully else "quick_check")
    except sqlite3.OperationalError:
        raise  # interrupted, or not readable: nothing is known of its pages
    except sqlite3.DatabaseError as error:
        verdict = type(error).__name__
    if verdict != "ok":
        msg = f"{name}: the database is damaged; SQLite says: {verdict}"
        raise BackupVerificationError(msg)


def _check(connection: sqlite3.Connection, pragma: str) -> str:
    (verdict,) = connection.execute(f"PRAGMA {pragma}(1)").fetchone()
    return str(verdict).splitlines()[-1]


def check_live(path: str, stop: Stop) -> None:
    """Look through the pages of a file that others use."""
    with closing(open_live(path)) as connection, stop.interrupting(connection):
        refuse_damaged(connection, path, fully=False)


def remove_file(path: Path) -> None:
    """Remove a SQLite file that nobody uses, and what SQLite keeps beside it."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)


def is_in_use(path: Path) -> bool:
    """Tell whether SQLite has a file open, or had when its process was killed."""
    return any(os.path.lexists(f"{path}{suffix}") for suffix in ("-wal", "-shm", "-journal"))
