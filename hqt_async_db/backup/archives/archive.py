"""The portable archive: one zip file that any of the backends can be restored from.

It holds a member of JSON Lines per table, those referenced first, and last
``manifest.json``. The comment at its end is the SHA-256 of everything before,
so that every changed byte is noticed.
"""

from __future__ import annotations

import hashlib
import zipfile
from contextlib import aclosing
from io import BytesIO
from typing import IO, TYPE_CHECKING, Final, cast

from hqt_async_db.backup.manifest import TableEntry
from hqt_async_db.backup.progress import Progress
from hqt_async_db.backup.tables import text_of
from hqt_async_db.backup.threads import WorkThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hqt_async_db.backup.files import NewFile
    from hqt_async_db.backup.progress import ProgressCallback
    from hqt_async_db.backup.snapshot import Snapshot, TableQuery

MANIFEST: Final = "manifest.json"
SEAL: Final = b"hqt-async-db archive, sha256 before this comment: "
SEAL_BYTES: Final = len(SEAL) + 64

# Half as small again at level 6, in three times the time.
_LEVEL: Final = 1


def member_of(table_name: str) -> str:
    """Return the name of a table's member."""
    return f"{table_name}.jsonl"


class _Sink:
    """What the zip file writes to: it keeps the bytes until they are taken.

    It has no ``tell``, so that nothing is ever written twice.
    """

    def __init__(self) -> None:
        self._blocks: list[bytes] = []

    def write(self, block: bytes) -> int:
        self._blocks.append(bytes(block))
        return len(block)

    def flush(self) -> None:
        """Do nothing; zipfile asks for it."""

    def take(self) -> bytes:
        blocks, self._blocks = self._blocks, []
        return b"".join(blocks)


class _Writer:
    """The zip file being written, one member after the other; for the archive's thread."""

    def __init__(self) -> None:
        self._sink = _Sink()
        # The sink has all that zipfile writes with; its type asks for a whole file object.
        sink = cast("IO[bytes]", self._sink)
        self._zip = zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL)
        self._member: IO[bytes] = BytesIO()  # none yet
        self._digest = hashlib.sha256()

    def begin(self, name: str) -> None:
        """Begin a member."""
        self._member = self._zip.open(name, "w", force_zip64=True)
        self._digest = hashlib.sha256()

    def write(self, block: bytes) -> bytes:
        """Compress a block; return what is ready for the disk."""
        self._digest.update(block)
        self._member.write(block)
        return self._sink.take()

    def end(self) -> str:
        """End the member; return the hash of what it holds."""
        self._member.close()
        return self._digest.hexdigest()

    def close(self, manifest: bytes) -> bytes:
        """Add the manifest and the directory; return the rest, with room for the seal."""
        self._zip.writestr(MANIFEST, manifest)
        self._zip.comment = bytes(SEAL_BYTES)
        self._zip.close()
        return self._sink.take()

    def abandon(self) -> None:
        """End what was begun, for nobody."""
        self._member.close()
        self._zip.close()


async def write_archive(
    view: Snapshot,
    tables: Iterable[TableQuery],
    file: NewFile,
    *,
    describe: Callable[[tuple[TableEntry, ...]], bytes],
    progress: ProgressCallback | None = None,
) -> None:
    """Write tables of a snapshot and the manifest.

    Args:
        view: What to read.
        tables: Those, with the columns to be written; those referenced first.
        file: What to write to, empty and without a compressor.
        describe: Makes the manifest of what was written, by table.
        progress: Told how far it has come.
    """
    writer, written = _Writer(), list[TableEntry]()
    async with WorkThread("archive") as thread:
        try:
            for query in tables:
                written.append(await _write_table(view, query, file, (thread, writer), progress))
            rest = await thread.run(writer.close, describe(tuple(written)))
        except BaseException:
            await thread.run(writer.abandon)
            raise
    await file.write(rest[:-SEAL_BYTES])
    await file.write(SEAL + file.sha256.encode())


async def _write_table(
    view: Snapshot,
    query: TableQuery,
    file: NewFile,
    archive: tuple[WorkThread, _Writer],
    progress: ProgressCallback | None,
) -> TableEntry:
    table, (thread, writer) = query.table, archive
    rows, total = 0, await view.count_restorable(query)
    await thread.run(writer.begin, member_of(table.name))
    async with aclosing(view.blocks_for_file(query, "jsonl")) as blocks:
        async for block in blocks:
            await file.write(await thread.run(writer.write, block.content))
            rows += block.rows
            if progress is not None:
                progress(Progress(table.name, rows, total))
    sha256, columns = await thread.run(writer.end), text_of(table, query.columns)
    return TableEntry(table=table.name, rows=rows, sha256=sha256, columns=columns)
