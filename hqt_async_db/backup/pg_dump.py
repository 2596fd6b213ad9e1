"""PostgreSQL's own dump, of the same snapshot as the figures in its manifest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from hqt_async_db.connection.translation.translate import translated
from hqt_async_db.errors import BackupVerificationError
from hqt_async_db.migrations.environment import VERSION_TABLE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hqt_async_db.backup.pg_tools import Tools
    from hqt_async_db.backup.snapshot import Snapshot

# What pg_dump writes for our tables; anything else in a dump is not ours.
_KINDS: Final = (
    "TABLE",
    "TABLE DATA",
    "SEQUENCE",
    "SEQUENCE OWNED BY",
    "SEQUENCE SET",
    "DEFAULT",
    "CONSTRAINT",
    "FK CONSTRAINT",
    "INDEX",
)
_ENTRY: Final = re.compile(
    rf"\d+; \d+ \d+ (?P<kind>{'|'.join(sorted(_KINDS, key=len, reverse=True))}) "
    r"(?P<schema>\S+) (?P<name>\S+) .*"
)


async def server_version(view: Snapshot) -> int:
    """Return the server's major version."""
    with translated():
        number = await view.session.scalar(text("SELECT current_setting('server_version_num')"))
    return int(str(number)) // 10_000


async def write_dump(
    schema: str, identifier: str, partial: Path, tables: Iterable[str], tools: Tools
) -> None:
    """Have pg_dump write some tables and the revision, as a snapshot sees them.

    Args:
        schema: The schema that the tables are in, quoted where need be.
        identifier: Of the snapshot, whose session stays open meanwhile.
        partial: An empty file that pg_dump fills.
        tables: Names of tables.
        tools: The programs.

    Raises:
        BackupError: It failed.
    """
    await tools.run(
        "pg_dump",
        "--format=custom",
        f"--snapshot={identifier}",
        "--no-owner",
        "--no-privileges",
        "--no-password",
        "--no-sync",  # the caller does
        "--strict-names",
        *(f'--table={schema}."{name}"' for name in (*tables, VERSION_TABLE)),
        f"--file={partial}",
    )


async def export_snapshot(view: Snapshot) -> tuple[str, str]:
    """Return the identifier of a snapshot for other sessions, and its schema, quoted."""
    statement = text("SELECT pg_export_snapshot(), quote_ident(current_schema())")
    identifier, schema = (await view.session.execute(statement)).one()
    return str(identifier), str(schema)


async def refuse_foreign_entries(path: Path, tools: Tools) -> None:
    """Refuse a dump that holds more than the tables of the models.

    Views, functions, triggers and the like would run with the rights of
    whoever restores them.

    Raises:
        BackupVerificationError: It holds something else; names it.
    """
    listing = (await tools.run("pg_restore", "--list", str(path))).decode(errors="replace")
    for line in listing.splitlines():
        if line and not line.startswith(";") and not _ENTRY.fullmatch(line):
            msg = f"{path}: the dump holds what no backup of ours does: {line[:120]}"
            raise BackupVerificationError(msg)


async def restore_dump(path: Path, tools: Tools, database: str) -> None:
    """Restore a dump into an empty database, all or nothing.

    Raises:
        BackupError: It failed.
    """
    await tools.run(
        "pg_restore",
        "--no-owner",
        "--no-privileges",
        "--no-password",
        "--exit-on-error",
        "--single-transaction",
        f"--dbname={database}",
        str(path),
        database=database,
    )
