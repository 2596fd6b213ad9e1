"""PostgreSQL's own dump, of the same snapshot as the figures in its manifest."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from hqt_async_db.backup.native.scratch import quoted, send
from hqt_async_db.connection.translation.translate import translated
from hqt_async_db.errors import (
    BackupError,
    BackupVerificationError,
    SchemaMismatchError,
    StatementFailedError,
)
from hqt_async_db.migrations.environment import VERSION_TABLE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hqt_async_db.backup.native.pg_tools import Tools
    from hqt_async_db.backup.snapshot import Snapshot
    from hqt_async_db.connection.manager import DatabaseManager

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
_PUBLIC: Final = "public"
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
        "--no-comments",
        "--no-security-labels",
        "--no-publications",
        "--no-subscriptions",
        "--no-password",
        "--no-sync",  # the caller does
        "--strict-names",
        *(f'--table={schema}."{name}"' for name in (*tables, VERSION_TABLE)),
        f"--file={partial}",
    )


async def schema_of(view: Snapshot) -> str | None:
    """Return the schema in which a session looks for tables first, None without any."""
    name = await view.session.scalar(text("SELECT current_schema()"))
    return None if name is None else str(name)


async def export_snapshot(view: Snapshot) -> tuple[str, str]:
    """Return the identifier of a snapshot for other sessions, and its schema, quoted."""
    statement = text("SELECT pg_export_snapshot(), quote_ident(current_schema())")
    identifier, schema = (await view.session.execute(statement)).one()
    return str(identifier), str(schema)


@dataclass(frozen=True, slots=True)
class Entries:
    """What is in a dump.

    Attributes:
        foreign: The first entry that is none of a table of the models.
        schemas: The schemas that its tables are in.
    """

    foreign: str | None
    schemas: frozenset[str]


async def entries_in(dump: Path, tools: Tools) -> Entries:
    """Look at what a dump holds.

    Views, functions, triggers and the like would run with the rights of
    whoever restores them.

    Raises:
        BackupError: It is no dump.
    """
    listing = (await tools.run("pg_restore", "--list", str(dump))).decode(errors="replace")
    lines = [line for line in listing.splitlines() if line and not line.startswith(";")]
    found = [_ENTRY.fullmatch(line) for line in lines]
    foreign = [line for line, entry in zip(lines, found, strict=True) if entry is None]
    schemas = frozenset(entry["schema"] for entry in found if entry is not None)
    return Entries(foreign[0][:120] if foreign else None, schemas)


async def refuse_foreign_entries(dump: Path, tools: Tools) -> None:
    """Refuse a new dump that no restore would take.

    Raises:
        SchemaMismatchError: It holds more than the tables of the models;
            names it, and says what to do.
    """
    foreign = (await entries_in(dump, tools)).foreign
    if foreign is not None:
        msg = (
            f"pg_dump also writes what no restore takes: {foreign}; drop it, or use the portable "
            'archive, which holds rows only: backup_database(..., format="archive")'
        )
        raise SchemaMismatchError(msg)


async def restore_dump(
    dump: Path, path: Path, tools: Tools, scratch: DatabaseManager, schema: str | None
) -> None:
    """Restore a dump into an empty database, all or nothing.

    The SQL that makes its tables is the dump's, and runs with the rights of
    the account.

    Args:
        dump: A copy, which nobody else can change.
        path: What to call it in an error.
        tools: The programs.
        scratch: The empty database.
        schema: Where its manager looks for tables, whatever schema they were
            dumped from.

    Raises:
        BackupVerificationError: It holds what no backup of ours does, or
            cannot be restored; says why.
    """
    try:
        entries = await entries_in(dump, tools)
        foreign = entries.foreign
        if foreign is None and len(entries.schemas) > 1:
            foreign = f"tables of {len(entries.schemas)} schemas"
        if foreign is None:
            for name in entries.schemas - {_PUBLIC}:
                await send(scratch, f"CREATE SCHEMA {quoted(name)}")
            await _restore(dump, tools, scratch)
            await _rename(scratch, entries.schemas, schema)
    except (BackupError, StatementFailedError) as error:
        msg = f"{path}: it cannot be restored: {str(error).replace(str(dump), str(path))}"
        raise BackupVerificationError(msg) from None
    if foreign is not None:
        msg = f"{path}: the dump holds what no backup of ours does: {foreign}"
        raise BackupVerificationError(msg)


async def _rename(scratch: DatabaseManager, found: frozenset[str], wanted: str | None) -> None:
    """Give the schema of the tables the name under which they are looked for."""
    if wanted is None or wanted in found:
        return
    if wanted == _PUBLIC:  # every database has one
        await send(scratch, f"DROP SCHEMA {_PUBLIC}")
    for name in found:
        await send(scratch, f"ALTER SCHEMA {quoted(name)} RENAME TO {quoted(wanted)}")


async def _restore(dump: Path, tools: Tools, scratch: DatabaseManager) -> None:
    database = str(scratch.url.database)
    await tools.run(
        "pg_restore",
        "--no-owner",
        "--no-privileges",
        "--no-password",
        "--exit-on-error",
        "--single-transaction",
        f"--dbname={database}",
        str(dump),
        database=database,
    )
