"""A model of the application's own that changes, and a database that is migrated with it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Table, insert, select, text

from hqt_async_db import Base
from hqt_async_db.backup import DatabaseBackup
from hqt_async_db.models.types import Double, ExactText, RowId
from tests.integration.test_backup.keeping import TOOLS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hqt_async_db import DatabaseManager
    from hqt_async_db.backup.backups import BackupFormat

FIRST_ROWS = [{"venue": "XETR", "size": 1.5, "note": None}, {"venue": "", "size": 2, "note": None}]


@contextmanager
def model(*columns: Any) -> Iterator[Table]:
    """Have a model with these columns beside its key."""
    table = Table("fills", Base.metadata, Column("id", RowId(), primary_key=True), *columns)
    try:
        yield table
    finally:
        Base.metadata.remove(table)


def first() -> list[Column[Any]]:
    """Return the columns that the model had when the backup was written."""
    return [
        Column("venue", ExactText(20), nullable=False),
        Column("size", Double(), nullable=False),
        Column("note", ExactText(20)),
    ]


async def migrate(db: DatabaseManager, table: Table) -> None:
    """Give the database the table of the model; its rows are no matter."""
    async with db.engine.begin() as connection:
        await connection.execute(text(f"DROP TABLE IF EXISTS {table.name}"))
        await connection.run_sync(table.create)


async def back_up_first(
    db: DatabaseManager,
    directory: Path,
    form: BackupFormat,
    rows: list[dict[str, Any]] = FIRST_ROWS,
) -> Path:
    """Return a backup of the first model and its rows, which the database then has, too."""
    with model(*first()) as table:
        await migrate(db, table)
        async with db.session() as session:
            for row in rows:
                await session.execute(insert(table).values(row))
        return await DatabaseBackup(db).backup_database(directory, format=form, tools_dir=TOOLS)


async def held(db: DatabaseManager, *names: str) -> list[tuple[Any, ...]]:
    """Return what the table holds, whatever its model has."""
    columns = Table("fills", Base.metadata).columns
    async with db.session(read_only=True) as session:
        found = await session.execute(select(*[columns[name] for name in names]).order_by("id"))
        return [tuple(row) for row in found]
