"""Parquet files of other hands: values that nothing holds are refused where they are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from hqt_async_db import DatabaseManager, ImportDataError
from hqt_async_db.backup import DatabaseBackup
from hqt_async_db.backup.formats.parquet_rows import read_parquet
from hqt_async_db.backup.formats.rows import Batch, Source
from hqt_async_db.backup.loading.staging import in_groups
from hqt_async_db.backup.tables import table_named
from tests.integration.test_backup.loads import load_rows, stored, user

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = pytest.mark.backends("sqlite-file")

FAR = 1 << 62
MEGABYTE = 1 << 20


def users(count: int = 3, **columns: Any) -> dict[str, Any]:
    return {
        "username": [f"u{number}" for number in range(count)],
        "email": [f"u{number}@x" for number in range(count)],
        "password_hash": ["h"] * count,
        **columns,
    }


def strings(*values: bytes) -> Any:
    """Return text for Arrow, whatever its bytes are."""
    return pa.array(values, pa.binary()).view(pa.string())


async def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    await asyncio.to_thread(parquet.write_table, pa.table(columns), path, **options)
    return path


@pytest.mark.parametrize(
    ("unit", "value"), [("ms", FAR), ("ms", -FAR), ("ms", 1 << 50), ("us", FAR), ("us", -FAR)]
)
async def test_a_time_beyond_the_calendar_is_refused(
    db: DatabaseManager, tmp_path: Path, unit: str, value: int
) -> None:
    times = pa.array([0, value, value], pa.timestamp(unit))
    path = await write(tmp_path / "users.parquet", users(created_at=times))
    with pytest.raises(ImportDataError, match="is out of range") as caught:
        await DatabaseBackup(db).import_table_from_parquet("users", path)
    assert (caught.value.row, caught.value.column) == (2, "created_at")
    assert caught.value.__context__ is None
    assert await stored(db, "users", "id") == []


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 1000), ("us", 10**6), ("ns", 10**9)])
async def test_times_of_every_unit(
    db: DatabaseManager, tmp_path: Path, unit: str, factor: int
) -> None:
    times = pa.array([factor, 2 * factor + (unit == "ns")], pa.timestamp(unit, "Asia/Tokyo"))
    path = await write(tmp_path / "users.parquet", users(2, created_at=times))
    assert await DatabaseBackup(db).import_table_from_parquet("users", path) == 2
    assert [at.timestamp() for at in await stored(db, "users", "created_at")] == [1, 2]


async def test_text_in_no_encoding_is_refused_and_not_shown(
    db: DatabaseManager, tmp_path: Path
) -> None:
    names = strings(b"u0", b"u1", b"secret\xff")
    path = await write(tmp_path / "users.parquet", users(username=names))
    with pytest.raises(ImportDataError, match="is not valid UTF-8") as caught:
        await DatabaseBackup(db).import_table_from_parquet("users", path)
    assert (caught.value.row, caught.value.column) == (3, "username")
    assert caught.value.__context__ is None


async def test_names_in_no_encoding_are_refused(db: DatabaseManager, tmp_path: Path) -> None:
    path = await write(tmp_path / "users.parquet", users(), store_schema=False)
    content = await asyncio.to_thread(path.read_bytes)
    damaged = content.replace(b"username", b"\xffsername")
    await asyncio.to_thread(path.write_bytes, damaged)
    with pytest.raises(ImportDataError, match="is no Parquet file, or damaged"):
        await DatabaseBackup(db).import_table_from_parquet("users", path)


async def batches_of(db: DatabaseManager, name: str, path: Path) -> AsyncGenerator[Batch, None]:
    source = Source(table_named(name), path.name, db.engine.dialect, "json")
    async with read_parquet(path, source, follows_links=True) as rows:
        async for batch in rows:
            yield batch


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
@pytest.mark.parametrize("dictionary", [True, False])
async def test_a_text_that_many_rows_share_does_not_fill_the_memory(
    db: DatabaseManager, tmp_path: Path, kind: Any, *, dictionary: bool
) -> None:
    shared = "x" * MEGABYTE
    values = ["short"] * 5000 + [shared if dictionary else f"{shared}{n}" for n in range(40)]
    columns = {"message": pa.array(values, kind)}
    options = {"compression": "zstd", "row_group_size": 5000, "use_dictionary": dictionary}
    path = await write(tmp_path / "notifications.parquet", columns, **options)
    del columns
    before, sizes = pa.total_allocated_bytes(), list[tuple[int, int]]()
    async for batch in batches_of(db, "notifications", path):
        sizes.append((batch.size, sum(map(len, batch.values[0]))))
        assert pa.total_allocated_bytes() - before < 200 * MEGABYTE
    assert sum(size for size, _ in sizes) == 5040
    assert max(length for _, length in sizes) <= 16 * MEGABYTE
    assert sizes[0][0] == 200  # the group before is read as ever


async def test_a_few_large_batches_are_enough_for_a_group() -> None:
    async def batches() -> AsyncGenerator[Batch, None]:
        for number in range(100):
            yield Batch(number, 1, list)

    assert max([len(group) async for group in in_groups(batches())]) == 10


async def test_text_may_begin_with_a_byte_order_mark(db: DatabaseManager, tmp_path: Path) -> None:
    await load_rows(db, users=[user(1, full_name="\ufeffa"), user(2, full_name="\ufeff")])
    path = tmp_path / "users.parquet"
    for columns in (["full_name"], ["full_name", "id"]):
        await DatabaseBackup(db).export_table_to_parquet("users", path, columns=columns)
        table = await asyncio.to_thread(parquet.read_table, path)
        assert table.column("full_name").to_pylist() == ["\ufeffa", "\ufeff"]


async def test_integers_may_be_whole_doubles(db: DatabaseManager, tmp_path: Path) -> None:
    """As pandas has them where others of the column are missing."""
    path = await write(tmp_path / "users.parquet", users(id=[1.0, 2.0, 3.0]))
    backup = DatabaseBackup(db)
    assert await backup.import_table_from_parquet("users", path) == 3
    path = await write(tmp_path / "users.parquet", users(id=[4.0, 5.5, 6.0]))
    with pytest.raises(ImportDataError) as caught:
        await backup.import_table_from_parquet("users", path)
    assert (caught.value.row, caught.value.column) == (2, "id")
