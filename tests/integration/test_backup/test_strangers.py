"""Rows of tables that are of no model refer to ours, and nothing happens to them."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from hqt_async_db import (
    BackupError,
    DatabaseBackup,
    DatabaseManager,
    ImportDataError,
    SchemaMismatchError,
    StatementFailedError,
)
from tests.integration.test_backup.loads import load_rows, stored, user

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from tests.fixtures.managers import MakeDb

ACTIONS = ("CASCADE", "SET NULL", "NO ACTION")


async def send(db: DatabaseManager, *statements: str) -> None:
    """Run statements, the schema's or others."""
    async with db.session() as session:
        for statement in statements:
            await session.execute(text(statement))


async def refer(db: DatabaseManager, action: str = "CASCADE") -> None:
    """Add a table as an application does without a model; its row refers to the second user."""
    kind = "INTEGER" if db.dialect_name == "sqlite" else "BIGINT"
    await load_rows(db, users=[user(1), user(2)])
    await send(
        db,
        f"CREATE TABLE own_fills (id INTEGER PRIMARY KEY, user_key {kind}, "
        f"FOREIGN KEY (user_key) REFERENCES users (id) ON DELETE {action})",
        "INSERT INTO own_fills VALUES (7, 2)",
        "INSERT INTO own_fills VALUES (8, NULL)",
    )


async def fills(db: DatabaseManager) -> Sequence[Any]:
    """Return the rows that refer."""
    async with db.session() as session:
        found = await session.execute(
            text("SELECT id, user_key IS NULL FROM own_fills ORDER BY id")
        )
        return [(row[0], bool(row[1])) for row in found]


@pytest.mark.parametrize("action", ACTIONS)
async def test_what_they_refer_to_is_not_replaced(db: DatabaseManager, action: str) -> None:
    await refer(db, action)
    with pytest.raises(ImportDataError) as caught:
        await load_rows(db, "replace", users=[user(1, email="changed")])
    assert str(caught.value) == (
        "users.jsonl: rows of users that it lacks are still referenced, by 1 of "
        "own_fills.user_key; replace or delete those first, or upsert"
    )
    with pytest.raises(BackupError, match=r"replaces: 1 of own_fills\.user_key to users;"):
        await load_rows(db, "restore", users=[user(1), user(2)])
    assert await stored(db, "users", "email") == ["u1@x", "u2@x"]
    assert await fills(db) == [(7, False), (8, True)]


async def test_what_they_do_not_refer_to_is_replaced(db: DatabaseManager) -> None:
    await refer(db)
    await load_rows(db, "replace", users=[user(2, email="changed"), user(3)])
    assert await stored(db, "users", "id", "email") == [(2, "changed"), (3, "u3@x")]
    assert await fills(db) == [(7, False), (8, True)]
    await send(db, "DELETE FROM own_fills WHERE id = 7")
    await load_rows(db, "restore", users=[user(9)])
    assert await stored(db, "users", "id") == [9]
    assert await fills(db) == [(8, True)]


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_they_may_refer_to_another_key(db: DatabaseManager) -> None:
    is_mysql = db.dialect_name in {"mysql", "mariadb"}
    kind = "CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin" if is_mysql else ""
    await load_rows(db, users=[user(1), user(2)])
    await send(
        db,
        f"CREATE TABLE own_names (name VARCHAR(150) {kind}, "
        "FOREIGN KEY (name) REFERENCES users (username) ON DELETE CASCADE)",
        "INSERT INTO own_names VALUES ('u1')",
    )
    with pytest.raises(ImportDataError, match=r"by 1 of own_names\.name;"):
        await load_rows(db, "replace", users=[user(2)])
    assert await stored(db, "users", "id") == [1, 2]


@pytest.mark.backends("postgresql")
async def test_they_may_be_in_another_schema(db: DatabaseManager) -> None:
    await load_rows(db, users=[user(1)])
    await send(
        db,
        "CREATE SCHEMA own",
        "CREATE TABLE own.users (user_id BIGINT REFERENCES public.users ON DELETE CASCADE) "
        "PARTITION BY HASH (user_id)",
        "CREATE TABLE own.part PARTITION OF own.users FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        "INSERT INTO own.users VALUES (1)",
    )
    with pytest.raises(ImportDataError, match=r"by 1 of users\.user_id;"):
        await load_rows(db, "replace", users=[user(2)])
    with pytest.raises(BackupError, match=r"1 of users\.user_id to users;"):
        await load_rows(db, "restore", users=[user(2)])
    assert await stored(db, "users", "id") == [1]


@pytest.mark.backends("postgresql")
async def test_what_is_looked_at_in_the_end_only_is_the_databases(db: DatabaseManager) -> None:
    await load_rows(db, users=[user(1)])
    await send(
        db,
        "CREATE TABLE own_fills (user_id BIGINT REFERENCES users DEFERRABLE INITIALLY DEFERRED)",
        "INSERT INTO own_fills VALUES (1)",
    )
    await load_rows(db, "restore", users=[user(1, email="changed"), user(2)])
    assert await stored(db, "users", "email") == ["changed", "u2@x"]


@pytest.mark.backends("sqlite-file")
async def test_a_file_is_replaced_as_a_whole_and_the_log_says_where_they_are(
    db: DatabaseManager, make_db: MakeDb, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backup = DatabaseBackup(db)
    path = await backup.backup_database(tmp_path, format="archive")
    await refer(db)
    restored = await backup.restore_database(path, confirm=True)
    assert f"are in {restored.safety_backup} alone by now: own_fills" in caplog.text
    with pytest.raises(StatementFailedError, match="own_fills: the table does not exist"):
        await fills(db)
    assert restored.safety_backup is not None
    caplog.clear()
    await DatabaseBackup(make_db()).restore_database(restored.safety_backup, confirm=True)
    assert await fills(db) == [(7, False), (8, True)]
    assert "alone" not in caplog.text


async def test_a_table_of_ours_that_is_gone_is_named_by_an_archive(
    db: DatabaseManager, tmp_path: Path
) -> None:
    await send(db, "DROP TABLE user_settings")
    lacking = "lacks tables that its revision has: user_settings"
    with pytest.raises(SchemaMismatchError, match=lacking):
        await DatabaseBackup(db).backup_database(tmp_path, format="archive")
    assert await asyncio.to_thread(os.listdir, tmp_path) == []
