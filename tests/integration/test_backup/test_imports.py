"""What was exported comes back as it was, from any format, all of it or nothing."""

from __future__ import annotations

import asyncio
import gzip
import os
from typing import TYPE_CHECKING, Any

import pytest

from hqt_async_db import (
    BackupVerificationError,
    DatabaseManager,
    ImportDataError,
    UserRepository,
)
from hqt_async_db.backup import DatabaseBackup
from hqt_async_db.backup.manifest import manifest_of_file
from hqt_async_db.errors import InvalidInputError
from tests.integration.test_backup.contents import clear, everything, fill
from tests.integration.test_backup.loads import stored
from tests.integration.test_repository.samples import add_user

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hqt_async_db.backup.progress import Progress

FORMATS: list[tuple[Any, str | None]] = [
    ("json", None),
    ("json", "gzip"),
    ("jsonl", "zstd"),
    ("csv", None),
    ("csv", "gzip"),
    ("parquet", None),
]
ONE_BACKEND = pytest.mark.backends("sqlite-file")
USERS = "id,username,email,password_hash\n"


@pytest.fixture
def backup(db: DatabaseManager) -> DatabaseBackup:
    return DatabaseBackup(db)


async def write(path: Path, content: str | bytes) -> Path:
    encoded = content if isinstance(content, bytes) else content.encode()
    await asyncio.to_thread(path.write_bytes, encoded)
    return path


@pytest.mark.parametrize(("form", "compression"), FORMATS)
async def test_every_row_of_every_table_comes_back(
    db: DatabaseManager, backup: DatabaseBackup, tmp_path: Path, form: Any, compression: str | None
) -> None:
    await fill(db)
    before = await everything(db)
    counts = await backup.export_all_tables(tmp_path, form, compression=compression)
    await clear(db)
    assert not any((await everything(db)).values())
    assert await backup.import_all_tables(tmp_path, require_manifest=True) == counts
    assert await everything(db) == before
    # Once more, over the same rows, with one of them changed and one added.
    await add_user(db, "extra")
    async with db.session() as session:
        user = await UserRepository(session).get_one(id=1)
        user.email = "changed"
    await backup.import_all_tables(tmp_path, form, replace=True)
    assert await everything(db) == before
    await backup.import_all_tables(tmp_path, form, upsert=True)
    assert await everything(db) == before


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "parquet"])
async def test_one_table_goes_out_and_in(
    db: DatabaseManager, backup: DatabaseBackup, tmp_path: Path, form: str
) -> None:
    for name in ("a", "b", "c"):
        await add_user(db, name)
    before = await everything(db)
    path = tmp_path / f"users.{form}"
    told: list[Progress] = []
    await getattr(backup, f"export_table_to_{form}")("users", path)
    importing = getattr(backup, f"import_table_from_{form}")
    await clear(db)
    assert await importing("users", path, progress=told.append) == 3
    assert (told[-1].table, told[-1].rows) == ("users", 3)
    assert await everything(db) == before
    assert await importing("users", str(path), replace=True, require_manifest=True) == 3
    assert await importing("users", path, upsert=True) == 3
    assert await everything(db) == before


async def test_a_file_without_all_columns_is_taken(
    db: DatabaseManager, backup: DatabaseBackup, tmp_path: Path
) -> None:
    path = await write(tmp_path / "users.csv", "username,email,password_hash\na,a@x,h\nb,b@x,h\n")
    assert await backup.import_table_from_csv("users", path) == 2
    assert await stored(db, "users", "id", "is_active") == [(1, True), (2, True)]
    wanted: list[dict[str, Any]] = [{"upsert": True}, {"replace": True}]
    for options in wanted:
        with pytest.raises(ImportDataError) as caught:
            await backup.import_table_from_csv("users", path, **options)
        assert caught.value.column == "id"
    path = await write(tmp_path / "lack.csv", "id,username\n1,a\n")
    with pytest.raises(ImportDataError) as caught:
        await backup.import_table_from_csv("users", path)
    assert caught.value.column == "email"


async def test_the_mark_against_formulas_goes_on_and_comes_off(
    db: DatabaseManager, backup: DatabaseBackup, tmp_path: Path
) -> None:
    names = ["=1+1", "'=1", "'", "''", "+1", "-1", "@a", "plain", "", None]
    for number, name in enumerate(names):
        await add_user(db, f"u{number}", full_name=name)
    path = tmp_path / "users.csv"
    await backup.export_table_to_csv("users", path, formula_guard=True)
    assert b",'=1+1," in await read(path)
    await clear(db)
    await backup.import_table_from_csv("users", path, formula_guard=True)
    assert await stored(db, "users", "full_name") == names


async def test_a_manifest_tells_of_the_mark_against_formulas(
    db: DatabaseManager, backup: DatabaseBackup, tmp_path: Path
) -> None:
    names = ["=1+1", "'=1", "plain"]
    for number, name in enumerate(names):
        await add_user(db, f"u{number}", full_name=name)
    await backup.export_all_tables(tmp_path / "all", "csv", formula_guard=True)
    await backup.import_all_tables(tmp_path / "all", replace=True)
    assert await stored(db, "users", "full_name") == names
    plain = tmp_path / "plain.csv"
    await backup.export_table_to_csv("users", plain)
    with pytest.raises(InvalidInputError, match="without formula_guard"):
        await backup.import_table_from_csv("users", plain, replace=True, formula_guard=True)
    await backup.import_table_from_csv("users", plain, replace=True)
    assert await stored(db, "users", "full_name") == names
    # Without a manifest it is the caller who knows.
    await asyncio.to_thread(manifest_of_file(plain).unlink)
    await backup.import_table_from_csv("users", plain, replace=True, formula_guard=True)
    assert await stored(db, "users", "full_name") == ["=1+1", "=1", "plain"]


async def test_the_last_row_decides_about_all(
    db: DatabaseManager, backup: DatabaseBackup, tmp_path: Path
) -> None:
    await add_user(db, "there")
    rows = "".join(f"{n},u{n},u{n}@x,h\n" for n in range(2, 3000))
    path = await write(tmp_path / "users.csv", USERS + rows + "x,y,z,h\n")
    wanted: list[dict[str, Any]] = [{}, {"upsert": True}, {"replace": True}]
    for options in wanted:
        with pytest.raises(ImportDataError) as caught:
            await backup.import_table_from_csv("users", path, **options)
        assert (caught.value.row, caught.value.column) == (2999, "id")
        assert str(caught.value).startswith("users.csv, row 2999, column 'id': ")
        assert await stored(db, "users", "username") == ["there"]
    assert (await add_user(db, "next")).username == "next"


async def test_a_file_that_was_changed_is_refused(
    db: DatabaseManager, backup: DatabaseBackup, tmp_path: Path
) -> None:
    await add_user(db)
    path = tmp_path / "users.csv"
    await backup.export_table_to_csv("users", path)
    content = await asyncio.to_thread(path.read_bytes)
    await clear(db)
    for position in range(0, len(content), 7):
        flipped = bytearray(content)
        flipped[position] ^= 1
        await write(path, bytes(flipped))
        with pytest.raises(BackupVerificationError):
            await backup.import_table_from_csv("users", path)
    await write(path, content[:-1])
    with pytest.raises(BackupVerificationError):
        await backup.import_table_from_csv("users", path)
    assert await UserRepository(db).count() == 0


@ONE_BACKEND
async def test_manifests_are_asked_for_and_must_fit(
    db: DatabaseManager, backup: DatabaseBackup, tmp_path: Path
) -> None:
    path = await write(tmp_path / "users.csv", USERS + "1,a,b,h\n")
    with pytest.raises(BackupVerificationError, match="no manifest"):
        await backup.import_table_from_csv("users", path, require_manifest=True)
    await fill(db)
    await backup.export_all_tables(tmp_path / "all", "csv")
    directory = tmp_path / "all"

    async def swap() -> None:
        await write(directory / "users.csv", await read(directory / "strategies.csv"))

    async def drop() -> None:
        await asyncio.to_thread((directory / "users.csv").unlink)

    async def change() -> None:
        manifest = await read(directory / "manifest.json")
        await write(directory / "manifest.json", manifest.replace(b"users", b"Users"))

    for spoil, message in ((swap, "not what its manifest"), (drop, "missing"), (change, "damaged")):
        await backup.export_all_tables(directory, "csv")
        await spoil()
        with pytest.raises(BackupVerificationError, match=message):
            await backup.import_all_tables(directory, upsert=True)


@pytest.mark.parametrize("with_own", [False, True])
async def test_one_file_left_of_many_is_no_whole_directory(
    db: DatabaseManager, backup: DatabaseBackup, tmp_path: Path, *, with_own: bool
) -> None:
    await fill(db)
    await backup.export_all_tables(tmp_path, "csv")
    if with_own:
        await backup.export_table_to_csv("users", tmp_path / "own" / "users.csv")

    def leave_one() -> None:
        for path in tmp_path.glob("own/*"):
            path.replace(tmp_path / path.name)
        for path in tmp_path.glob("*.csv"):
            if path.name != "users.csv":
                path.unlink()

    await asyncio.to_thread(leave_one)
    with pytest.raises(BackupVerificationError, match=r"are missing: .*strategies.csv"):
        await backup.import_all_tables(tmp_path, require_manifest=True, upsert=True)
    imported = await backup.import_table_from_csv("users", tmp_path / "users.csv", upsert=True)
    assert imported == await UserRepository(db).count()


async def read(path: Path) -> bytes:
    return await asyncio.to_thread(path.read_bytes)


@ONE_BACKEND
async def test_what_is_no_file_is_refused_at_once(
    db: DatabaseManager, backup: DatabaseBackup, tmp_path: Path
) -> None:
    outside = await write(tmp_path / "outside.csv", USERS + "1,a,b,h\n")

    def prepare() -> None:
        os.mkfifo(tmp_path / "fifo.csv")
        (tmp_path / "directory").mkdir()
        (tmp_path / "directory" / "users.csv").symlink_to(outside)

    await asyncio.to_thread(prepare)
    for name in ("fifo.csv", "missing.csv", "directory"):
        with pytest.raises(ImportDataError):
            await backup.import_table_from_csv("users", tmp_path / name)
    with pytest.raises(ImportDataError):
        await backup.import_all_tables(tmp_path / "directory")
    with pytest.raises(ImportDataError, match="no file of any table"):
        await backup.import_all_tables(tmp_path)
    with pytest.raises(InvalidInputError):
        await backup.import_table_from_csv("users", "a\0b")
    assert await UserRepository(db).count() == 0
    # Where the user names a link, it is followed.
    assert await backup.import_table_from_csv("users", tmp_path / "directory" / "users.csv") == 1


@ONE_BACKEND
@pytest.mark.parametrize(
    "name", ["users", "User", "id; DROP TABLE users", 'a"b', "a\0b", "x" * 10_000]
)
async def test_tables_are_looked_up_by_name(
    backup: DatabaseBackup, tmp_path: Path, name: str
) -> None:
    path = await write(tmp_path / "file.csv", USERS)
    if name == "users":
        assert await backup.import_table_from_csv(name, path) == 0
        return
    with pytest.raises(InvalidInputError) as caught:
        await backup.import_table_from_csv(name, path)
    assert len(str(caught.value)) < 600


@ONE_BACKEND
async def test_arguments_that_contradict_are_refused(
    backup: DatabaseBackup, tmp_path: Path
) -> None:
    path = await write(tmp_path / "users.csv", USERS)
    await write(tmp_path / "users.json", "[]")
    with pytest.raises(InvalidInputError):
        await backup.import_table_from_csv("users", path, replace=True, upsert=True)
    with pytest.raises(ImportDataError, match="several files for users"):
        await backup.import_all_tables(tmp_path)
    with pytest.raises(InvalidInputError):
        await backup.import_all_tables(tmp_path, "xml")  # type: ignore[arg-type]
    assert await backup.import_all_tables(tmp_path, "json") == {"users": 0}


def _truncated(content: bytes) -> bytes:
    return gzip.compress(content)[:-4]


def _bad_checksum(content: bytes) -> bytes:
    packed = gzip.compress(content)
    return packed[:-8] + bytes(4) + packed[-4:]


@ONE_BACKEND
@pytest.mark.parametrize("pack", [_truncated, _bad_checksum, bytes, lambda _: b""])
@pytest.mark.parametrize("suffix", [".gz", ".zst", ""])
async def test_damaged_compression_is_refused(
    db: DatabaseManager,
    backup: DatabaseBackup,
    tmp_path: Path,
    pack: Callable[[bytes], bytes],
    suffix: str,
) -> None:
    form = "csv" if suffix else "parquet"
    path = await write(tmp_path / f"users.{form}{suffix}", pack(f"{USERS}1,a,b,h\n".encode()))
    with pytest.raises(ImportDataError):
        await getattr(backup, f"import_table_from_{form}")("users", path)
    assert await UserRepository(db).count() == 0
