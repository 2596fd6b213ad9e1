"""Reading a portable archive, which may be damaged or made to do harm."""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import struct
import zipfile
import zlib
from contextlib import asynccontextmanager, contextmanager
from typing import IO, TYPE_CHECKING, Final

from hqt_async_db.backup.archives.archive import MANIFEST, SEAL, SEAL_BYTES, member_of
from hqt_async_db.backup.formats.reading import read_json_lines
from hqt_async_db.backup.loading.load import TableSource
from hqt_async_db.backup.manifest import MOST_BYTES
from hqt_async_db.backup.tables import all_tables, is_own, refuse_unknown
from hqt_async_db.backup.threads import Stop, WorkThread
from hqt_async_db.backup.untrusted import open_regular, parse_manifest
from hqt_async_db.errors import BackupVerificationError
from hqt_async_db.migrations.environment import our_tables

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from sqlalchemy import Dialect, Table

    from hqt_async_db.backup.formats.rows import RowReader
    from hqt_async_db.backup.manifest import Manifest, TableEntry

_BLOCK_BYTES: Final = 128 * 1024
_HASHED_BYTES: Final = 256 * 1024
# What zipfile lets through of a file that was made to do harm; the last but one are of members
# that say they are compressed in another way than ours are.
_FAULTS: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
    ValueError,
    struct.error,
    lzma.LZMAError,
)


class Archive:
    """An archive whose every byte was looked at.

    Attributes:
        manifest: What it promises to hold.
        path: Where it is.
    """

    def __init__(self, path: Path, members: zipfile.ZipFile, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._members = members

    def sources(self, dialect: Dialect) -> list[TableSource]:
        """Return the rows of every table, for a database of this dialect."""
        entries = {entry.table: entry for entry in self.manifest.tables}
        return [
            self._source(table, entries[table.name], dialect)
            for table in all_tables()
            if table.name in entries
        ]

    def _source(self, table: Table, entry: TableEntry, dialect: Dialect) -> TableSource:
        name = f"{self.path.name}, {member_of(table.name)}"

        def rows() -> AbstractAsyncContextManager[RowReader]:
            blocks = self.blocks(entry)
            return read_json_lines(blocks, table, name, dialect, may_exceed=is_own(table))

        return TableSource(table, rows, name, entry.rows)

    async def blocks(self, entry: TableEntry) -> AsyncGenerator[bytes, None]:
        """Yield the lines of a table, cut anywhere.

        Raises:
            BackupVerificationError: They are not those of the manifest.
        """
        digest, rows = hashlib.sha256(), 0
        async with (
            WorkThread("archive") as thread,
            thread.lending(self._open, entry.table) as member,
        ):
            while block := await thread.run(self._read, member, digest):
                rows += block.count(b"\n")
                if rows > entry.rows:
                    break
                yield block
        if rows != entry.rows or digest.hexdigest() != entry.sha256:
            msg = f"{self.path}: the rows of {entry.table} are not those of the manifest"
            raise BackupVerificationError(msg)

    def _open(self, table_name: str) -> IO[bytes]:
        with _damage_named(self.path):
            return self._members.open(member_of(table_name))

    def _read(self, member: IO[bytes], digest: hashlib._Hash) -> bytes:
        with _damage_named(self.path):
            block = member.read(_BLOCK_BYTES)
        digest.update(block)
        return block


@asynccontextmanager
async def open_archive(path: Path, scratch: Path | None = None) -> AsyncIterator[Archive]:
    """Open an archive and look at every byte of it.

    Args:
        path: Where it is.
        scratch: Where it will be unpacked, if anywhere on this disk.

    Raises:
        BackupVerificationError: It is damaged, no archive of ours, or would
            not fit when unpacked.
        BackupError: It cannot be read.
    """
    stop = Stop()
    async with WorkThread("archive") as thread, thread.lending(open_regular, path) as file:
        await thread.run_until(stop, _refuse_changed, path, file, stop)
        members, manifest = await thread.run(_opened, path, file, scratch)
        yield Archive(path, members, manifest)


def _refuse_changed(path: Path, file: IO[bytes], stop: Stop) -> None:
    """Compare the seal at the end with everything before it."""
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - SEAL_BYTES))
    seal = file.read(SEAL_BYTES)
    file.seek(0)
    digest, left = hashlib.sha256(), size - SEAL_BYTES
    while left > 0 and seal.startswith(SEAL):
        stop.check()
        block = file.read(min(left, _HASHED_BYTES))
        if not block:
            break
        digest.update(block)
        left -= len(block)
    if seal != SEAL + digest.hexdigest().encode():
        msg = f"{path}: the archive is damaged or cut off, or none of this library"
        raise BackupVerificationError(msg)


def _opened(path: Path, file: IO[bytes], scratch: Path | None) -> tuple[zipfile.ZipFile, Manifest]:
    """Look at the members before anything is unpacked."""
    with _damage_named(path):
        members = zipfile.ZipFile(file)
        entries = members.infolist()
        names = [entry.filename for entry in entries]
        if names.count(MANIFEST) != 1 or members.getinfo(MANIFEST).file_size > MOST_BYTES:
            _refuse(path, "it has no manifest")
        with members.open(MANIFEST) as member:
            manifest = parse_manifest(member.read(MOST_BYTES + 1), path, path)
    tables = [entry.table for entry in manifest.tables]
    if len(set(tables)) < len(tables) or not our_tables().keys() <= set(tables):
        _refuse(path, "the manifest does not name the tables of this version, each once")
    refuse_unknown(manifest, path)
    if names != [*map(member_of, tables), MANIFEST]:
        _refuse(path, "it holds other files than a table each and the manifest")
    if sum(entry.compress_size for entry in entries) > os.fstat(file.fileno()).st_size:
        _refuse(path, "its members overlap")
    unpacked = sum(entry.file_size for entry in entries)
    if scratch is not None and unpacked > shutil.disk_usage(scratch).free:
        _refuse(path, f"unpacked it would take {unpacked} bytes, more than are free")
    return members, manifest


def _refuse(path: Path, reason: str) -> None:
    msg = f"{path}: {reason}"
    raise BackupVerificationError(msg)


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except _FAULTS as error:
        msg = f"{path}: the archive cannot be unpacked ({type(error).__name__})"
        raise BackupVerificationError(msg) from error
