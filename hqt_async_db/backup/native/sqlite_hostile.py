"""A SQLite file that comes from outside: looked at before anything uses it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

from hqt_async_db.backup.archives.contents import compare
from hqt_async_db.backup.native import sqlite_files
from hqt_async_db.errors import BackupVerificationError

if TYPE_CHECKING:
    from pathlib import Path

    from hqt_async_db.backup.manifest import Manifest
    from hqt_async_db.backup.threads import Stop

# Views and triggers run when somebody reads or writes, and so do virtual tables. SQLite notes
# every other table as CREATE TABLE with one space, however it was written.
_FOREIGN: Final = (
    "SELECT CASE WHEN type = 'table' THEN 'virtual table' ELSE type END, name FROM sqlite_schema "
    "WHERE type NOT IN ('table', 'index') OR (type = 'table' AND sql NOT LIKE 'create table %') "
    "OR rootpage IS NULL OR rootpage = 0 LIMIT 1"
)


def refuse_unfit(scratch: Path, source: Path, manifest: Manifest, stop: Stop) -> None:
    """Refuse a copy that is damaged, does harm, or is not what its manifest says.

    Args:
        scratch: The copy, which nobody else can change.
        source: What to call it in an error.
        manifest: What it promises to hold.
        stop: Ends it early.

    Raises:
        BackupVerificationError: Says why.
    """
    with closing(_open(scratch)) as connection, stop.interrupting(connection):
        try:
            _look(connection, source, manifest)
        except sqlite3.OperationalError:
            stop.check()
            raise
        except sqlite3.DatabaseError as error:
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            msg = f"{source}: no database of SQLite, or a damaged one ({name})"
            raise BackupVerificationError(msg) from error


def foreign_in(connection: sqlite3.Connection) -> str | None:
    """Return kind and name of something that is neither table nor index, None without any."""
    found = connection.execute(_FOREIGN).fetchone()
    if found is None:
        return None
    kind, name = (str(part)[:80] for part in found)
    return f"{kind} {name!r}"


def refuse_orphans(connection: sqlite3.Connection, source: str) -> None:
    """Refuse rows whose parents are gone, as happens where foreign keys are not enforced.

    Raises:
        BackupVerificationError: There is one; names its table.
    """
    orphan = connection.execute("PRAGMA foreign_key_check").fetchone()
    if orphan is not None:
        child, _, parent, _ = (str(part)[:80] for part in orphan)
        msg = f"{source}: a row of {child} refers to one of {parent} that does not exist"
        raise BackupVerificationError(msg)


def _open(scratch: Path) -> sqlite3.Connection:
    uri = f"{scratch.absolute().as_uri()}?mode=ro&immutable=1"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "query_only=ON", "mmap_size=0"):
        connection.execute(f"PRAGMA {pragma}").close()
    return connection


def _look(connection: sqlite3.Connection, source: Path, manifest: Manifest) -> None:
    if (foreign := foreign_in(connection)) is not None:
        msg = f"{source}: it has a {foreign}, which no schema of ours has"
        raise BackupVerificationError(msg)
    sqlite_files.refuse_damaged(connection, str(source), fully=True)
    refuse_orphans(connection, str(source))
    promised = [entry.table for entry in manifest.tables]
    contents = sqlite_files.contents_of(connection, promised)
    if contents.revision != manifest.revision:
        msg = f"{source}: the schema is not at the revision of the manifest"
        raise BackupVerificationError(msg)
    compare(contents.tables, manifest.tables, str(source))
