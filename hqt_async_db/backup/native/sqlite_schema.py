"""The newest schema in a scratch file: made, or compared with, without the event loop.

Compiling it takes a while of pure Python, so it is done once, in pieces, in a thread.
"""

from __future__ import annotations

import functools
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement

from hqt_async_db.backup.tables import all_tables, is_own
from hqt_async_db.errors import BackupVerificationError
from hqt_async_db.migrations.environment import VERSION_TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sqlalchemy import Table

# So that the event loop gets the GIL in between.
_PAUSE_S: Final = 0.0001
_COLLATIONS: Final = {"BINARY", "NOCASE", "RTRIM"}
_VERSION: Final = (
    f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL, "
    f"CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num))"
)


def _script() -> str:
    return _script_of(all_tables())  # there may be more of them than the last time


@functools.lru_cache(maxsize=1)
def _script_of(tables: tuple[Table, ...]) -> str:
    dialect, statements = sqlite.dialect(), [_VERSION]
    for table in tables:
        elements: list[DDLElement] = [CreateTable(table), *map(CreateIndex, table.indexes)]
        for element in elements:
            statements.append(str(element.compile(dialect=dialect)))
            time.sleep(_PAUSE_S)
    return ";\n".join(statements)


def make_schema(path: Path, revision: str) -> None:
    """Make a file with the newest schema, stamped with ``revision``, and no rows."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # As in every file that this library makes; it can be chosen only now.
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL").close()
        connection.executescript(f"BEGIN;\n{_script()};\nCOMMIT").close()
        connection.execute(f"INSERT INTO {VERSION_TABLE} VALUES (?)", (revision,)).close()  # noqa: S608 - a constant


def refuse_other_schema(path: Path, source: Path) -> None:
    """Refuse a file at the newest revision whose tables of ours are not those of the models.

    Raises:
        BackupVerificationError: They differ; names the first such table.
    """
    with closing(sqlite3.connect(path)) as found:
        table = unlike_ours(found)
    if table is not None:
        msg = f"{source}: the table {table} is not the one of its revision"
        raise BackupVerificationError(msg)


def unlike_ours(found: sqlite3.Connection) -> str | None:
    """Return the first table of ours at the newest revision that is not that of its model.

    Columns with their types, keys, foreign keys and indexes are compared. A
    plain index more, which refuses no row and computes nothing, is fine.
    """
    with closing(sqlite3.connect(":memory:")) as wanted:
        wanted.executescript(_script()).close()
        for table in all_tables():
            if is_own(table):
                continue
            columns, keys, indexes = _shape(found, table.name)
            ours = _shape(wanted, table.name)
            further = {name for name in indexes if name not in ours[2] and _is_plain(indexes[name])}
            kept = {name: indexes[name] for name in indexes if name not in further}
            if (columns, keys, kept) != ours:
                return table.name
    return None


def _is_plain(index: Sequence[tuple[Any, ...]]) -> bool:
    """Tell whether an index is neither unique nor partial, and of mere columns."""
    (_, is_unique, _, is_partial), *columns = index
    are_known = all(
        column >= -1 and collation in _COLLATIONS for column, _, _, collation, _ in columns
    )
    return not is_unique and not is_partial and are_known


def _shape(
    connection: sqlite3.Connection, table: str
) -> tuple[list[Any], list[str], dict[str, list[tuple[Any, ...]]]]:
    """Return what SQLite knows of a table, in an order that does not depend on its history.

    That is its columns, its foreign keys, and its indexes by name.
    """

    def rows(pragma: str, name: str) -> list[tuple[Any, ...]]:
        return connection.execute(f"SELECT * FROM pragma_{pragma}(?)", (name,)).fetchall()  # noqa: S608 - a constant

    indexes = {
        str(row[1]): [row[1:], *(column[1:] for column in rows("index_xinfo", str(row[1])))]
        for row in rows("index_list", table)
        if row[3] == "c"  # made by name; the others are of the table's constraints
    }
    keys = sorted(str(row[2:]) for row in rows("foreign_key_list", table))
    return rows("table_xinfo", table), keys, indexes
