"""Exports of all tables into directories that hold something already."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hqt_async_db import BackupVerificationError, DatabaseManager, ImportDataError
from hqt_async_db.backup import DatabaseBackup
from hqt_async_db.backup.tables import all_tables
from hqt_async_db.errors import InvalidInputError
from tests.integration.test_backup.loads import load_rows, stored, user

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.backends("sqlite-file")


async def test_two_formats_share_a_manifest(db: DatabaseManager, tmp_path: Path) -> None:
    await load_rows(db, users=[user(1)])
    backup = DatabaseBackup(db)
    await backup.export_all_tables(tmp_path, "json")
    await backup.export_all_tables(tmp_path, "csv")
    for form in ("json", "csv", "json"):
        await backup.import_all_tables(tmp_path, form, replace=True, require_manifest=True)
    await asyncio.to_thread((tmp_path / "strategies.csv").unlink)
    assert (await backup.import_all_tables(tmp_path, "json", upsert=True))["users"] == 1
    with pytest.raises(BackupVerificationError, match=r"are missing: strategies\.csv"):
        await backup.import_all_tables(tmp_path, "csv", upsert=True)
    await asyncio.to_thread((tmp_path / "users.json").write_bytes, b"[]")
    with pytest.raises(BackupVerificationError, match=r"users\.json: it is not what"):
        await backup.import_table_from_json("users", tmp_path / "users.json", replace=True)


async def test_what_is_gone_is_no_longer_listed(db: DatabaseManager, tmp_path: Path) -> None:
    backup = DatabaseBackup(db)
    await backup.export_all_tables(tmp_path, "json")
    for table in all_tables():
        await asyncio.to_thread((tmp_path / f"{table.name}.json").unlink)
    await backup.export_all_tables(tmp_path, "jsonl")
    assert sum((await backup.import_all_tables(tmp_path)).values()) == 0


async def test_the_manifest_of_something_else_stays(db: DatabaseManager, tmp_path: Path) -> None:
    foreign, backup = tmp_path / "manifest.json", DatabaseBackup(db)
    await load_rows(db, users=[user(1)])
    await asyncio.to_thread(foreign.write_text, '{"name": "app", "version": 2}')
    with pytest.raises(InvalidInputError, match="is no manifest of ours, and would be replaced"):
        await backup.export_all_tables(tmp_path, "csv")
    assert await asyncio.to_thread(foreign.read_text) == '{"name": "app", "version": 2}'
    await backup.export_table_to_csv("users", tmp_path / "users.csv")
    await asyncio.to_thread((tmp_path / "users.csv.manifest.json").unlink)
    with pytest.raises(BackupVerificationError, match=r"manifest\.json is no manifest of ours"):
        await backup.import_table_from_csv("users", tmp_path / "users.csv", upsert=True)


@pytest.mark.parametrize("name", ["users.jsonl", "users.jsonl.gz"])
async def test_a_file_without_rows_deletes_none(
    db: DatabaseManager, tmp_path: Path, name: str
) -> None:
    path, backup = tmp_path / name, DatabaseBackup(db)
    assert await backup.export_table_to_jsonl("users", path) == 0
    await load_rows(db, users=[user(1)])
    manifest = tmp_path / f"{name}.manifest.json"
    await asyncio.to_thread(manifest.rename, tmp_path / "aside")
    with pytest.raises(ImportDataError, match="holds no row and has no manifest"):
        await backup.import_table_from_jsonl("users", path, replace=True)
    assert await stored(db, "users", "id") == [1]
    assert await backup.import_table_from_jsonl("users", path) == 0
    await asyncio.to_thread((tmp_path / "aside").rename, manifest)
    assert await backup.import_table_from_jsonl("users", path, replace=True) == 0
    assert await stored(db, "users", "id") == []
