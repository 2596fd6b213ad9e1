"""Backups from before a model of the application's own got, or lost, columns."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import CheckConstraint, Column, text

from hqt_async_db import (
    BackupVerificationError,
    DatabaseBackup,
    DatabaseManager,
    ImportDataError,
    SchemaMismatchError,
)
from hqt_async_db.backup import copy_database
from hqt_async_db.backup.manifest import Manifest, manifest_of_file
from hqt_async_db.backup.prune import is_verified
from hqt_async_db.models.types import Double, ExactText, Int32, Money
from tests.integration.test_backup.archives import members_of, put_rows
from tests.integration.test_backup.changing import (
    FIRST_ROWS,
    back_up_first,
    first,
    held,
    migrate,
    model,
)
from tests.integration.test_backup.keeping import TOOLS, formats_of
from tests.integration.test_repository.samples import add_user

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixtures.managers import MakeDb

pytestmark = pytest.mark.timeout(60)
NOTED = [*FIRST_ROWS, {"venue": "XNAS", "size": 3, "note": "kept"}]


def more() -> list[Column[Any]]:
    """Return columns that can be added, in another order than a migration would add them."""
    return [
        Column("desk", ExactText(20)),
        Column("fee", Double(), nullable=False, default=lambda: 0.5),
        *first(),
        Column("tag", ExactText(20), nullable=False, server_default="new"),
    ]


def less() -> list[Column[Any]]:
    """Return all of the first columns but the last."""
    return first()[:-1]


async def test_columns_that_came_later_get_their_defaults(
    db: DatabaseManager, backend: str, tmp_path: Path
) -> None:
    backup = DatabaseBackup(db)
    for form in formats_of(backend):
        path = await back_up_first(db, tmp_path, form)
        with model(*more()) as table:
            await migrate(db, table)
            verified = await backup.verify_backup(path, tools_dir=TOOLS)
            assert (verified.rows["fills"], verified.restored_into is None) == (2, False)
            if (backend, form) == ("sqlite-file", "native"):
                continue  # which comes back as a whole
            restored = await backup.restore_database(path, confirm=True, tools_dir=TOOLS)
            assert restored.rows["fills"] == 2
            assert await held(db, "venue", "size", "note", "desk", "fee", "tag") == [
                ("XETR", 1.5, None, None, 0.5, "new"),
                ("", 2.0, None, None, 0.5, "new"),
            ]


@pytest.mark.backends("sqlite-file")
async def test_a_copy_of_the_file_comes_back_as_it_was_to_be_migrated_again(
    db: DatabaseManager, make_db: MakeDb, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = await back_up_first(db, tmp_path, "native", NOTED)
    with model(*less(), Column("desk", ExactText(20))) as table:
        await migrate(db, table)
        with caplog.at_level(logging.WARNING, "hqt_async_db"):
            await DatabaseBackup(db).restore_database(path, confirm=True)
        assert "have to be migrated again: fills.desk, fills.note" in caplog.text
        async with make_db().session() as session:  # as a program for migrations has
            await session.execute(text("ALTER TABLE fills ADD COLUMN desk TEXT"))
            assert await session.scalar(text("SELECT note FROM fills WHERE id = 3")) == "kept"
        assert await held(db, "venue", "desk") == [("XETR", None), ("", None), ("XNAS", None)]


@pytest.mark.backends("sqlite-memory", "postgresql", "mariadb")
async def test_a_sqlite_file_comes_back_into_any_other_database(
    db: DatabaseManager, tmp_path: Path
) -> None:
    async with DatabaseManager(f"sqlite:///{tmp_path}/older.db") as older:
        await older.create_all()
        path = await back_up_first(older, tmp_path, "native")
        lossy = await back_up_first(older, tmp_path, "native", NOTED)
    with model(*more()[:-2], Column("tag", Int32(), server_default="7")) as table:
        await migrate(db, table)
        await DatabaseBackup(db).restore_database(path, confirm=True)
        assert await held(db, "venue", "fee", "tag") == [("XETR", 0.5, 7), ("", 0.5, 7)]
        with pytest.raises(ImportDataError, match=r"no model here has: fills\.note; restore it"):
            await DatabaseBackup(db).restore_database(lossy, confirm=True)


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_a_column_without_values_may_be_gone(
    db: DatabaseManager, backend: str, tmp_path: Path
) -> None:
    backup = DatabaseBackup(db)
    path = await back_up_first(db, tmp_path, formats_of(backend)[-1])
    with model(*less()) as table:
        await migrate(db, table)
        verified = await backup.verify_backup(path, tools_dir=TOOLS)
        assert (verified.rows["fills"], verified.restored_into is None) == (2, False)
        await backup.restore_database(path, confirm=True, tools_dir=TOOLS)
        assert await held(db, "venue", "size") == [("XETR", 1.5), ("", 2.0)]


@pytest.mark.backends("postgresql", "mariadb")
async def test_values_that_would_be_lost_are_named_and_whole(
    db: DatabaseManager, backend: str, tmp_path: Path
) -> None:
    """What a pg_dump wrote comes back into scratch; an archive is read and no more."""
    backup, form = DatabaseBackup(db), formats_of(backend)[-1]
    path = await back_up_first(db, tmp_path, form, NOTED)
    with model(*less()) as table:
        await migrate(db, table)
        verified = await backup.verify_backup(path, tools_dir=TOOLS)
        assert verified.rows["fills"] == 3
        assert (verified.restored_into is None) == (form == "archive")
        assert await asyncio.to_thread(is_verified, path) == (form == "native")
        with pytest.raises(ImportDataError, match=r"fills.*note.* restore it with a version"):
            await backup.restore_database(path, confirm=True, tools_dir=TOOLS)
        assert await held(db, "venue") == []


@pytest.mark.backends("postgresql", "mariadb")
async def test_values_that_no_backup_would_keep_are_not_deleted(
    db: DatabaseManager, tmp_path: Path
) -> None:
    """Those of a column that the application has dropped from its model, but not yet here."""
    backup = DatabaseBackup(db)
    path = await back_up_first(db, tmp_path, "archive")
    with model(*first()):
        async with db.session() as session:
            await session.execute(text("UPDATE fills SET note = 'mine' WHERE venue = 'XETR'"))
    with model(*less()) as table:
        with pytest.raises(SchemaMismatchError, match=r"no model here has: fills\.note; they"):
            await backup.restore_database(path, confirm=True)
        async with db.session() as session:
            assert await session.scalar(text("SELECT note FROM fills ORDER BY id")) == "mine"
            await session.execute(text("UPDATE fills SET note = NULL"))
            await session.execute(table.delete())
        await backup.restore_database(path, confirm=True)
        assert await held(db, "venue") == [("XETR",), ("",)]


@pytest.mark.backends("sqlite-file")
async def test_values_that_the_copy_of_the_file_keeps_may_go(
    db: DatabaseManager, database_url: str, tmp_path: Path
) -> None:
    path = await back_up_first(db, tmp_path, "archive")
    async with db.session() as session:
        await session.execute(text("UPDATE fills SET note = 'mine'"))
    stock_url = database_url.replace("sqlite:", "sqlite+aiosqlite:")
    with model(*less()):
        async with DatabaseManager(stock_url) as stock:
            restored = await DatabaseBackup(stock).restore_database(path, confirm=True)
        assert await held(db, "venue") == [("XETR",), ("",)]
    kept = DatabaseManager(f"sqlite:///{restored.safety_backup}")
    async with kept, kept.session(read_only=True) as session:
        assert (await session.scalars(text("SELECT note FROM fills"))).all() == ["mine", "mine"]


@pytest.mark.backends("postgresql", "mariadb")
async def test_a_column_that_nothing_can_fill_is_named(
    db: DatabaseManager, backend: str, tmp_path: Path
) -> None:
    backup = DatabaseBackup(db)
    path = await back_up_first(db, tmp_path, formats_of(backend)[-1])
    with model(*first(), Column("desk", ExactText(20), nullable=False)) as table:
        await migrate(db, table)
        assert (await backup.verify_backup(path, tools_dir=TOOLS)).rows["fills"] == 2
        named = r"fills.*'desk' is missing, and fills has no default for it"
        with pytest.raises(ImportDataError, match=named):
            await backup.restore_database(path, confirm=True, tools_dir=TOOLS)
        assert await held(db, "venue") == []


@pytest.mark.backends("sqlite-memory")
async def test_where_there_are_no_rows_nothing_has_to_fill_a_column(
    db: DatabaseManager, tmp_path: Path
) -> None:
    path = await back_up_first(db, tmp_path, "archive", [])
    with model(*first(), Column("desk", ExactText(20), nullable=False)) as table:
        await migrate(db, table)
        await DatabaseBackup(db).verify_backup(path)
        assert (await DatabaseBackup(db).restore_database(path, confirm=True)).rows["fills"] == 0


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_columns_in_another_order_or_of_another_type_are_no_damage(
    db: DatabaseManager, backend: str, tmp_path: Path
) -> None:
    """Not even in the backup of a version whose manifests did not tell the columns."""
    backup, form = DatabaseBackup(db), formats_of(backend)[-1]
    path = await back_up_first(db, tmp_path, form)
    with model(Column("size", Money()), less()[0], Column("note", Int32())):
        verified = await backup.verify_backup(path, tools_dir=TOOLS)
        assert (verified.rows["fills"], verified.restored_into is None) == (2, False)
        if form == "native":
            await asyncio.to_thread(tell, path, columns=None)
            assert await backup.verify_backup(path, tools_dir=TOOLS) == verified


def tell(path: Path, **facts: Any) -> None:
    """Have the manifest tell something else of the table."""
    beside = manifest_of_file(path)
    told = Manifest.parse(beside.read_bytes())
    tables = tuple(
        replace(entry, **facts) if entry.table == "fills" else entry for entry in told.tables
    )
    beside.write_bytes(replace(told, tables=tables).to_bytes())


@pytest.mark.backends("postgresql")
async def test_rows_are_compared_where_columns_came_later(
    db: DatabaseManager, backend: str, tmp_path: Path
) -> None:
    """By the hash of those that were written, as the rows of our tables."""
    if "native" in formats_of(backend):
        path = await back_up_first(db, tmp_path, "native")
        await asyncio.to_thread(tell, path, sha256="0" * 64)
        changed = "the rows of fills are not those"
        with model(*more()), pytest.raises(BackupVerificationError, match=changed):
            await DatabaseBackup(db).verify_backup(path, tools_dir=TOOLS)


@pytest.mark.backends("sqlite-file")
@pytest.mark.parametrize("change", ["type", "check"])
async def test_rows_that_a_model_does_not_take_any_more_are_no_damage(
    db: DatabaseManager, tmp_path: Path, change: str
) -> None:
    path = await back_up_first(db, tmp_path, "archive")
    changed: dict[str, list[Any]] = {
        "type": [Column("venue", Int32()), *first()[1:]],
        "check": [*first(), CheckConstraint("size > 1.7", name="large")],
    }
    with model(*changed[change]):
        assert (await DatabaseBackup(db).verify_backup(path)).restored_into is None
        with pytest.raises(ImportDataError, match="do not fit a model that is imported here"):
            await DatabaseBackup(db).restore_database(path, confirm=True)


@pytest.mark.backends("sqlite-memory")
async def test_a_table_of_ours_has_no_column_more(db: DatabaseManager, tmp_path: Path) -> None:
    """Not even one without values: its revision tells what it has."""
    await add_user(db, "a")
    path = await DatabaseBackup(db).backup_database(tmp_path, format="archive")
    users = (await asyncio.to_thread(members_of, path))["users.jsonl"]
    await asyncio.to_thread(put_rows, path, "users", users.replace(b"}\n", b',"mine":null}\n'))
    with pytest.raises(BackupVerificationError, match="users has no such column"):
        await DatabaseBackup(db).verify_backup(path)


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_a_database_that_is_not_migrated_yet_is_backed_up(
    db: DatabaseManager, backend: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As before a migration; and copied, each with what both have."""
    form = formats_of(backend)[-1]
    await back_up_first(db, tmp_path, "archive", NOTED)
    with model(*less(), Column("desk", ExactText(20))):
        backup = DatabaseBackup(db)
        path = await backup.backup_database(tmp_path, format=form, tools_dir=TOOLS)
        left_out = "no model imported here: fills.note"
        assert caplog.text.count(left_out) == (form == "archive")
        assert (await backup.verify_backup(path, tools_dir=TOOLS)).rows["fills"] == 3
        copied = await copy_database(db, f"sqlite:///{tmp_path}/copy.db")
        assert (copied.tables["fills"], copied.left_out) == (3, ["fills.note"])
        async with DatabaseManager(f"sqlite:///{tmp_path}/copy.db") as copy:
            assert (await held(copy, "venue", "desk"))[-1] == ("XNAS", None)


@pytest.mark.backends("sqlite-memory", "postgresql", "mariadb")
async def test_a_database_is_migrated_before_a_restore(db: DatabaseManager, tmp_path: Path) -> None:
    path = await back_up_first(db, tmp_path, "archive")
    with model(*more()) as table:
        lacking = r"lacks what its models have: fills\.desk, fills\.fee, fills\.tag; migrate it"
        with pytest.raises(SchemaMismatchError, match=lacking):
            await DatabaseBackup(db).restore_database(path, confirm=True)
        async with db.engine.begin() as connection:
            await connection.run_sync(table.drop)
        with pytest.raises(SchemaMismatchError, match="its models have: fills; migrate it"):
            await DatabaseBackup(db).restore_database(path, confirm=True)
