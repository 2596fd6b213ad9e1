"""Exports: what is in the files, and beside them."""

from __future__ import annotations

import asyncio
import csv
import functools
import gzip
import hashlib
import json
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
import zstandard

from hqt_async_db import (
    BackupError,
    Base,
    ConfigurationError,
    InvalidInputError,
    NotificationRepository,
    TradeRepository,
)
from hqt_async_db.backup import DatabaseBackup, Progress
from hqt_async_db.backup.manifest import Manifest
from tests.integration.test_repository.samples import (
    add_backtest,
    add_strategy,
    add_user,
    trade_row,
)

if TYPE_CHECKING:
    from pathlib import Path

    from hqt_async_db import Backtest, DatabaseManager
    from hqt_async_db.backup.export import FileFormat

FORMATS = ("json", "jsonl", "csv", "parquet")


async def fill(db: DatabaseManager, trades: int = 3) -> Backtest:
    """Store two users, one of them with a strategy, a backtest and its trades."""
    user = await add_user(db, full_name='Jane, "J"\nDoe')
    await add_user(db, "second")
    backtest = await add_backtest(db, await add_strategy(db, user))
    await TradeRepository(db).create_many([trade_row(backtest, n, n / 7) for n in range(trades)])
    return backtest


async def export(db: DatabaseManager, form: str, *arguments: Any, **keywords: Any) -> int:
    count: int = await getattr(DatabaseBackup(db), f"export_table_to_{form}")(
        *arguments, **keywords
    )
    return count


async def contents(path: Path) -> bytes:
    return await asyncio.to_thread(path.read_bytes)


def read(path: Path) -> list[dict[str, Any]]:
    """Read a file with what others use."""
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    text = path.read_bytes().decode()
    if path.suffix == ".csv":
        return list(csv.DictReader(text.splitlines(keepends=True)))
    return json.loads(text) if path.suffix == ".json" else [*map(json.loads, text.splitlines())]


async def listing(directory: Path) -> dict[str, bytes]:
    def look() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in directory.iterdir()}

    return await asyncio.to_thread(look)


@pytest.mark.parametrize("form", FORMATS)
async def test_other_programs_read_the_rows(db: DatabaseManager, tmp_path: Path, form: str) -> None:
    backtest = await fill(db)
    path = tmp_path / "deep" / "er" / f"trades.{form}"
    assert await export(db, form, "backtest_trades", str(path)) == 3
    rows = await asyncio.to_thread(read, path)
    assert [int(row["id"]) for row in rows] == [1, 2, 3]
    assert [float(row["profit"]) for row in rows] == [0.0, 1 / 7, 2 / 7]
    assert {int(row["backtest_id"]) for row in rows} == {backtest.id}
    assert {row["exit_time"] for row in rows} <= {None, ""}


@pytest.mark.parametrize("form", FORMATS)
async def test_filters_and_columns_choose(db: DatabaseManager, tmp_path: Path, form: str) -> None:
    await fill(db)
    path = tmp_path / f"users.{form}"
    found = await export(
        db, form, "users", path, columns=["username", "id"], username="second", full_name=None
    )
    assert found == 1
    assert [[*map(str, row.values())] for row in await asyncio.to_thread(read, path)] == [
        ["second", "2"]
    ]
    assert await export(db, form, "users", path, username="'; DROP TABLE users; --") == 0
    assert await export(db, form, "strategies", path, parameters=None) == 0


@pytest.mark.parametrize("form", FORMATS)
async def test_an_empty_table_is_a_file(db: DatabaseManager, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"users.{form}"
    assert await export(db, form, "users", path) == 0
    assert await asyncio.to_thread(read, path) == []
    if form == "json":
        assert await contents(path) == b"[\n]\n"


@pytest.mark.parametrize("rows", [1, 3])
async def test_a_last_row_that_fills_a_group_of_parquet_is_the_end(
    db: DatabaseManager, tmp_path: Path, rows: int
) -> None:
    user, message = await add_user(db), 'a "quoted",\n text, ' * 60_000
    for number in range(rows):
        await NotificationRepository(db).create(user_id=user.id, title=f"{number}", message=message)
    path = tmp_path / "notifications.parquet"
    assert await export(db, "parquet", "notifications", path) == rows
    read_back = await asyncio.to_thread(read, path)
    assert [row["message"] == message for row in read_back] == [True] * rows


async def test_json_is_json_lines_in_brackets(db: DatabaseManager, tmp_path: Path) -> None:
    await fill(db)
    await export(db, "json", "users", tmp_path / "a")
    await export(db, "jsonl", "users", tmp_path / "b")
    lines = await contents(tmp_path / "b")
    assert lines.startswith(b'{"id":1,"username":"trader","email"')
    assert await contents(tmp_path / "a") == b"[\n" + lines[:-1].replace(b"\n", b",\n") + b"\n]\n"


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
async def test_the_name_tells_how_to_compress(
    db: DatabaseManager, tmp_path: Path, form: str
) -> None:
    await fill(db)
    for suffix in ("", ".gz", ".zst"):
        await export(db, form, "users", tmp_path / f"users.{form}{suffix}")
    plain = await contents(tmp_path / f"users.{form}")
    assert gzip.decompress(await contents(tmp_path / f"users.{form}.gz")) == plain
    packed = await contents(tmp_path / f"users.{form}.zst")
    assert zstandard.ZstdDecompressor().decompressobj().decompress(packed) == plain
    with pytest.raises(InvalidInputError, match=r"leave \.gz out"):
        await export(db, "parquet", "users", tmp_path / "users.parquet.gz")


@pytest.mark.parametrize("form", FORMATS)
async def test_all_tables_share_a_manifest(
    db: DatabaseManager, tmp_path: Path, form: Any, backend: str
) -> None:
    await fill(db)
    await export(db, "csv", "users", tmp_path / f"users.{form}")  # whose manifest is then stale
    counts = await DatabaseBackup(db).export_all_tables(tmp_path, format=form)
    assert list(counts) == [table.name for table in Base.metadata.sorted_tables]
    assert {name: count for name, count in counts.items() if count} == {
        "users": 2, "strategies": 1, "backtests": 1, "backtest_trades": 3,
    }  # fmt: skip
    files = await listing(tmp_path)
    manifest = Manifest.parse(files.pop("manifest.json"))
    assert (manifest.kind, manifest.backend, manifest.revision) == (
        "export", backend.split("-", maxsplit=1)[0], "hqt_0001",
    )  # fmt: skip
    assert files.keys() == {f"{name}.{form}" for name in counts}
    assert {entry.file: entry.sha256 for entry in manifest.tables} == {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items()
    }
    assert {entry.table: entry.rows for entry in manifest.tables} == counts


async def test_a_file_has_its_manifest_beside_it(db: DatabaseManager, tmp_path: Path) -> None:
    await fill(db)
    await export(db, "csv", "users", tmp_path / "u.csv.gz")
    files = await listing(tmp_path)
    assert files.keys() == {"u.csv.gz", "u.csv.gz.manifest.json"}
    (entry,) = Manifest.parse(files["u.csv.gz.manifest.json"]).tables
    assert (entry.table, entry.rows, entry.file) == ("users", 2, "u.csv.gz")
    assert entry.sha256 == hashlib.sha256(files["u.csv.gz"]).hexdigest()


async def test_a_file_of_all_tables_is_not_exported_alone(
    db: DatabaseManager, tmp_path: Path
) -> None:
    await fill(db)
    await DatabaseBackup(db).export_all_tables(tmp_path, format="csv")
    before = await listing(tmp_path)
    for form in FORMATS:  # only the name counts
        with pytest.raises(InvalidInputError, match=r"users\.csv is part of .* manifest\.json"):
            await export(db, form, "users", tmp_path / "users.csv", username="second")
    assert await listing(tmp_path) == before
    assert (await DatabaseBackup(db).import_all_tables(tmp_path, replace=True))["users"] == 2
    assert await export(db, "csv", "users", tmp_path / "second.csv", username="second") == 1


@pytest.mark.parametrize("content", [b"{}", b'{"name": "an app"}', b"\xff", None])
async def test_a_manifest_of_something_else_is_no_obstacle(
    db: DatabaseManager, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "manifest.json"
    made = path.mkdir if content is None else functools.partial(path.write_bytes, content)
    await asyncio.to_thread(made)
    assert await export(db, "csv", "users", tmp_path / "users.csv") == 0


async def test_files_and_new_directories_are_private(db: DatabaseManager, tmp_path: Path) -> None:
    await DatabaseBackup(db).export_all_tables(tmp_path / "a" / "b", compression="gzip")

    def modes() -> set[tuple[bool, int]]:
        return {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.rglob("*")}

    assert await asyncio.to_thread(modes) == {(True, 0o700), (False, 0o600)}


async def test_progress_is_told(db: DatabaseManager, tmp_path: Path) -> None:
    await fill(db)
    told: list[Progress] = []
    await export(db, "csv", "users", tmp_path / "u", progress=told.append, username="second")
    assert told[-1] == Progress("users", 1, 1)
    told.clear()
    await DatabaseBackup(db).export_all_tables(tmp_path, progress=told.append)
    ends = {progress.table: progress for progress in told}
    assert len(ends) == 13
    assert all(progress.rows == progress.total for progress in ends.values())
    with pytest.raises(ZeroDivisionError):
        await export(db, "csv", "users", tmp_path / "u", progress=lambda _: 1 / 0)


@pytest.mark.parametrize("form", FORMATS)
async def test_a_row_too_long_to_be_read_back_is_not_written(
    db: DatabaseManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr("hqt_async_db.backup.snapshot.LONGEST_WRITTEN_BYTES", 10_000)
    user = await add_user(db, full_name="first")
    for number in range(20):  # short ones, which are longer together
        await add_strategy(db, user, f"{number}", description='short, "or" not\n' * 50)
    path = tmp_path / f"strategies.{form}"
    assert await export(db, form, "strategies", path) == 20
    before = await contents(path)
    await add_strategy(db, user, "long", description='long, "or" not\n' * 800)
    backup = DatabaseBackup(db)
    if form == "parquet":  # has no lines
        assert await export(db, form, "strategies", path) == 21
        return
    for options in ({}, {"formula_guard": True}) if form == "csv" else ({},):
        with pytest.raises(BackupError, match=r"strategies: a row takes 1\d{4} bytes as text"):
            await export(db, form, "strategies", path, **options)
    with pytest.raises(BackupError, match="strategies: a row takes"):
        await backup.backup_database(tmp_path / "b", format="archive")
    assert await contents(path) == before
    assert await asyncio.to_thread(os.listdir, tmp_path / "b") == []
    assert await export(db, form, "strategies", path, name="1") == 1


async def test_text_is_guarded_against_spreadsheets_on_request(
    db: DatabaseManager, tmp_path: Path
) -> None:
    await add_user(db, "=1+1", full_name="'quoted")
    columns = ["id", "username", "full_name"]
    await export(db, "csv", "users", tmp_path / "u", columns=columns, formula_guard=True)
    assert (await contents(tmp_path / "u")).splitlines()[1] == b"1,'=1+1,''quoted"
    await export(db, "csv", "users", tmp_path / "u", columns=columns)
    assert (await contents(tmp_path / "u")).splitlines()[1] == b"1,=1+1,'quoted"
    await DatabaseBackup(db).export_all_tables(tmp_path / "all", "csv", formula_guard=True)
    of_all = (await contents(tmp_path / "all" / "users.csv")).splitlines()[1]
    assert {b"'=1+1", b"''quoted"} <= set(of_all.split(b","))


@pytest.mark.parametrize(
    ("table", "keywords"),
    [
        ("nowhere", {}),
        ('users"; DROP TABLE users; --', {}),
        ("users\0", {}),
        ("x" * 10_000, {}),
        ("../users", {}),
        ("users", {"columns": ["id", "id'"]}),
        ("users", {"columns": ["x" * 10_000]}),
        ("users", {"columns": []}),
        ("users", {"columns": ["id", "id"]}),
        ("users", {"no_such": 1}),
        ("users", {"id; DROP TABLE users": 1}),
        ("users", {"id": "one"}),
        ("users", {"username": "a\0b"}),
        ("users", {"username": "\ud800"}),
        ("strategies", {"parameters": {}}),
        ("strategies", {"parameters": '{"fast": 5}'}),
    ],
)
async def test_what_is_no_name_or_value_is_refused(
    db: DatabaseManager, tmp_path: Path, table: str, keywords: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        await export(db, "csv", table, tmp_path / "x", **keywords)
    assert len(str(refusal.value)) < 1000
    assert await listing(tmp_path) == {}


async def test_options_that_make_no_sense_are_refused(db: DatabaseManager, tmp_path: Path) -> None:
    backup = DatabaseBackup(db)
    for options in ({"format": "xml"}, {"compression": "rar"}):
        with pytest.raises(InvalidInputError):
            await backup.export_all_tables(tmp_path, **options)  # type: ignore[arg-type]  # it is the point
    with pytest.raises(InvalidInputError):
        await backup.export_all_tables(tmp_path, format="parquet", compression="gzip")
    forms: tuple[FileFormat, ...] = ("json", "jsonl", "parquet")
    for form in forms:
        with pytest.raises(InvalidInputError, match="for CSV"):
            await backup.export_all_tables(tmp_path, form, formula_guard=True)
    with pytest.raises(InvalidInputError, match="NUL"):
        await backup.export_table_to_csv("users", f"{tmp_path}/a\0b")
    with pytest.raises(BackupError, match="name too long"):
        await backup.export_table_to_csv("users", tmp_path / ("x" * 10_000))
    assert await listing(tmp_path) == {}


async def test_a_directory_that_is_none_is_named(db: DatabaseManager, tmp_path: Path) -> None:
    await asyncio.to_thread((tmp_path / "file").touch)
    with pytest.raises(BackupError, match="file"):
        await DatabaseBackup(db).export_all_tables(tmp_path / "file")
    await asyncio.to_thread((tmp_path / "u.csv").mkdir)
    with pytest.raises(BackupError, match=r"u\.csv"):
        await export(db, "csv", "users", tmp_path / "u.csv")
    names = await asyncio.to_thread(lambda: sorted(path.name for path in tmp_path.iterdir()))
    assert names == ["file", "u.csv"]


@pytest.mark.backends("sqlite-file")
@pytest.mark.parametrize(("module", "extra"), [("pyarrow.csv", "parquet"), ("zstandard", "zstd")])
async def test_a_missing_extra_is_named(
    db: DatabaseManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    name = "u.zst" if extra == "zstd" else "u"
    with pytest.raises(ConfigurationError, match=rf"hqt-async-db\[{extra}\]"):
        await export(db, "csv" if extra == "zstd" else "parquet", "users", tmp_path / name)
    assert await listing(tmp_path) == {}
