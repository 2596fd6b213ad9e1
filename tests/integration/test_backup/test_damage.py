"""A thousand ways in which a backup can be damaged; each is noticed, and nothing written."""

from __future__ import annotations

import asyncio
import hashlib
import random
import struct
from typing import TYPE_CHECKING

import pytest

from hqt_async_db import BackupError, BackupVerificationError, DatabaseManager
from hqt_async_db.backup import DatabaseBackup
from hqt_async_db.backup.archives.archive import MANIFEST, SEAL
from hqt_async_db.backup.archives.archive_reader import open_archive
from hqt_async_db.backup.manifest import manifest_of_file
from hqt_async_db.backup.threads import WorkThread
from hqt_async_db.backup.untrusted import read_manifest
from tests.integration.test_backup.archives import members_of, rebuilt
from tests.integration.test_backup.keeping import everything, fill, postgresql_tools

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hqt_async_db.backup.backups import BackupFormat

TOOLS = postgresql_tools()

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def seed() -> int:
    """Seed the damage; a failure shows with what."""
    value = random.randrange(2**32)
    print(f"seed {value}")  # noqa: T201 - to repeat a failure
    random.seed(value)
    return value


def damaged(content: bytes, count: int) -> Iterator[bytes]:
    """Yield copies with a byte changed, and some that were cut off."""
    for number in range(count):
        place = random.randrange(len(content))
        if number % 10 == 9:
            yield content[:place]
        else:
            changed = bytes([content[place] ^ (1 << random.randrange(8))])
            yield content[:place] + changed + content[place + 1 :]


async def refused(db: DatabaseManager, path: Path, file: Path, count: int) -> int:
    """Damage a file of a backup again and again; return how often a restore refused it."""
    content, found = await asyncio.to_thread(file.read_bytes), 0
    async with WorkThread("damage") as thread:
        for one in damaged(content, count):
            await thread.run(file.write_bytes, one)
            with pytest.raises(BackupVerificationError):
                await DatabaseBackup(db).restore_database(path, confirm=True, tools_dir=TOOLS)
            found += 1
        await thread.run(file.write_bytes, content)
    return found


@pytest.mark.backends("sqlite-file")
async def test_every_changed_byte_of_a_file_is_noticed(db: DatabaseManager, tmp_path: Path) -> None:
    await fill(db)
    before = await everything(db)
    path = await DatabaseBackup(db).backup_database(tmp_path)
    assert await refused(db, path, path, 350) == 350
    assert await refused(db, path, manifest_of_file(path), 150) == 150
    assert await everything(db) == before
    await DatabaseBackup(db).restore_database(path, confirm=True)


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_every_changed_byte_of_an_archive_is_noticed(
    db: DatabaseManager, tmp_path: Path
) -> None:
    await fill(db)
    before = await everything(db)
    path = await DatabaseBackup(db).backup_database(tmp_path, format="archive")
    assert await refused(db, path, path, 400) == 400
    assert await everything(db) == before
    await DatabaseBackup(db).restore_database(path, confirm=True)


@pytest.mark.backends("postgresql")
async def test_every_changed_byte_of_a_dump_is_noticed(db: DatabaseManager, tmp_path: Path) -> None:
    if TOOLS is None:
        pytest.skip("no pg_dump of the server's version")
    await fill(db)
    path = await DatabaseBackup(db).backup_database(tmp_path, tools_dir=TOOLS)
    assert await refused(db, path, path, 70) == 70
    assert await refused(db, path, manifest_of_file(path), 30) == 30


@pytest.mark.backends("sqlite-file")
@pytest.mark.parametrize("form", ["native", "archive"])
async def test_swapped_backups_are_noticed(db: DatabaseManager, tmp_path: Path, form: str) -> None:
    backup = DatabaseBackup(db)
    kind: BackupFormat = "native" if form == "native" else "archive"
    first = await backup.backup_database(tmp_path, format=kind)
    await fill(db)
    second = await backup.backup_database(tmp_path, format=kind)
    aside = tmp_path / "aside"
    async with WorkThread("swap") as thread:
        for source, target in ((first, aside), (second, first), (aside, second)):
            await thread.run(source.rename, target)
    for path in (first, second):
        with pytest.raises(BackupVerificationError):
            await backup.restore_database(path, confirm=True)
    if kind == "archive":  # which says itself what it is
        await asyncio.to_thread(second.rename, tmp_path / "mine.zip")
        await backup.restore_database(tmp_path / "mine.zip", confirm=True)


HOSTILE = ["bomb", "extra", "missing", "order", "path", "rows", "no manifest", "text"]


@pytest.mark.backends("sqlite-file", "mariadb")
@pytest.mark.parametrize("what", HOSTILE)
async def test_a_hostile_archive_is_refused(db: DatabaseManager, tmp_path: Path, what: str) -> None:
    """Its seal fits: whoever writes one can compute it."""
    await fill(db)
    before = await everything(db)
    path = await DatabaseBackup(db).backup_database(tmp_path, format="archive")
    members = await asyncio.to_thread(members_of, path)
    changed = {
        "bomb": members | {"users.jsonl": members["users.jsonl"] + bytes(200_000_000)},
        "extra": {"more.txt": b"x"} | members,
        "missing": {name: text for name, text in members.items() if name != "users.jsonl"},
        "order": dict(reversed(members.items())),
        "path": {"../users.jsonl": b"x"} | members,
        "rows": members | {"users.jsonl": members["users.jsonl"] * 2},
        "no manifest": {name: text for name, text in members.items() if name != MANIFEST},
        "text": members | {"users.jsonl": members["users.jsonl"].replace(b"keeper", b"thief!")},
    }
    await asyncio.to_thread(rebuilt, path, changed[what])
    with pytest.raises(BackupError):
        await DatabaseBackup(db).restore_database(path, confirm=True)
    assert await everything(db) == before


async def test_a_manifest_is_looked_for_before_the_file_is_opened(tmp_path: Path) -> None:
    def look() -> None:
        path = tmp_path / "live.db"
        path.touch()
        with pytest.raises(BackupError, match="has no manifest"):
            read_manifest(path)
        (tmp_path / "live.db-wal").touch()
        with pytest.raises(BackupError, match="in use"):
            read_manifest(path)

    await asyncio.to_thread(look)


async def test_an_empty_file_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "empty.zip"
    await asyncio.to_thread(path.touch)
    with pytest.raises(BackupVerificationError, match="none of this library"):
        async with open_archive(path):
            pass


# Where the directory of a zip file has what, from the start of an entry on.
ENTRY, FLAGS_AT, METHOD_AT, PLACE_AT, NAME_AT = b"PK\x01\x02", 8, 10, 42, 46
# How a member begins that says it is compressed by LZMA, with settings that there are not.
HEADER_BYTES, NO_SETTINGS = 30, b"\0\0\5\0\xff"


def misdirected(path: Path, what: str) -> None:
    """Change what an archive's directory tells of the trades; the seal fits."""
    content = bytearray(path.read_bytes()[: -len(SEAL) - 64])
    entry = content.rindex(ENTRY, 0, content.rindex(b"backtest_trades.jsonl"))
    if what == "name":
        content[entry + FLAGS_AT + 1] |= 0x08  # it is UTF-8
        content[entry + NAME_AT] = 0xFF
    else:
        content[entry + METHOD_AT] = {"bzip2": 12, "lzma": 14}[what]
        place = int.from_bytes(content[entry + PLACE_AT : entry + NAME_AT], "little")
        lengths = content[place + HEADER_BYTES - 4 : place + HEADER_BYTES]
        start = place + HEADER_BYTES + sum(struct.unpack("<2H", lengths))
        content[start : start + len(NO_SETTINGS)] = NO_SETTINGS
    path.write_bytes(content + SEAL + hashlib.sha256(content).hexdigest().encode())


@pytest.mark.backends("sqlite-memory")
@pytest.mark.parametrize("what", ["name", "bzip2", "lzma"])
async def test_whatever_is_wrong_in_an_archive_is_named_as_such(
    db: DatabaseManager, tmp_path: Path, what: str
) -> None:
    """With 3000 changed archives, zipfile raised OSError and ValueError, too."""
    await fill(db)
    path = await DatabaseBackup(db).backup_database(tmp_path, format="archive")
    await asyncio.to_thread(misdirected, path, what)
    with pytest.raises(BackupVerificationError, match="cannot be unpacked"):
        await DatabaseBackup(db).verify_backup(path)
