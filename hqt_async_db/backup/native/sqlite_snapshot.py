"""The copy of a SQLite database: SQLite's own backup of one snapshot, in a thread."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import sqlite3
from contextlib import asynccontextmanager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from hqt_async_db.backup.files import refused, written_behind
from hqt_async_db.backup.native import sqlite_files, sqlite_hostile, sqlite_schema
from hqt_async_db.backup.progress import FileReport
from hqt_async_db.backup.threads import Stop, WorkThread
from hqt_async_db.connection import tasks
from hqt_async_db.connection.translation.translate import translated
from hqt_async_db.errors import (
    BackupVerificationError,
    SchemaMismatchError,
    StorageFullError,
)
from hqt_async_db.migrations.scripts import head_of, load_scripts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator

    from hqt_async_db.backup.native.sqlite_files import Contents
    from hqt_async_db.backup.progress import ProgressCallback
    from hqt_async_db.connection.manager import DatabaseManager
    from hqt_async_db.connection.sessions.session import Session

# Copied at a stretch; after each stretch a cancelled backup ends.
_PAGES: Final = 2000
_BLOCK_BYTES: Final = 256 * 1024
# Pages that are passed on stay in the processor's own cache.
_SMALL_CACHE: Final = "cache_size=100"

_Threads: TypeAlias = tuple[WorkThread, WorkThread, WorkThread]


@dataclass(frozen=True, slots=True)
class Copy:
    """A complete copy that has no name yet.

    Attributes:
        contents: Its figures, the same in the snapshot and in the copy.
        sha256: Of the file.
    """

    contents: Contents
    sha256: str


async def copy_database_file(
    db: DatabaseManager,
    partial: Path,
    session: Session | None = None,
    progress: ProgressCallback | None = None,
) -> Copy:
    """Copy the whole database into a new file, synced to the disk.

    A read transaction keeps the snapshot from the first page to the last, so
    that writers go on and the copy never starts again. The pages of the
    snapshot are checked meanwhile; then the copy is read back and hashed. It
    needs no log beside it.

    Args:
        db: A SQLite database, in a file or in memory.
        partial: The new file, mode 0600; the caller removes it.
        session: What has the one connection to a database in memory, None
            where nothing of this task has it.
        progress: Told of the pages that are copied.

    Raises:
        BackupVerificationError: The database is damaged or has rows without
            their parents, or the copy is not what was copied.
        SchemaMismatchError: It holds views, triggers or virtual tables, or a
            table of ours that somebody changed.
        StorageFullError: There is no space left.
    """
    path, newest = sqlite_files.file_of(db), head_of(await load_scripts())
    report = FileReport(Path(path).name if path else ":memory:", progress)
    async with _started_threads() as threads:
        if path is None:
            async with nullcontext(session) if session else db.session() as lent:
                await _copy_memory(lent, partial, report)
            return await _finished(threads, partial, None, newest)
        copying = _copy_and_finish(threads, path, partial, newest, report)
        checking = _run(threads[1], sqlite_files.check_live, path)
        copy: Copy = (await together(copying, checking))[0]
        return copy


@asynccontextmanager
async def _started_threads() -> AsyncIterator[_Threads]:
    """Lend threads that run; starting one holds up the loop while all processors are busy."""
    first, second, third = (WorkThread("backup", gives_way=True) for _ in range(3))
    async with first, second, third:
        for thread in (first, second, third):
            await thread.run(_nothing)
        yield first, second, third


def _nothing() -> None:
    """Be called."""


async def _copy_and_finish(
    threads: _Threads, path: str, partial: Path, newest: str, report: FileReport
) -> Copy:
    expected: Contents = await _run(threads[0], _copy_file, path, partial, report)
    copy = await _finished(threads, partial, path, newest)
    if copy.contents != expected:
        msg = f"{partial}: the copy does not hold what was copied"
        raise BackupVerificationError(msg)
    return copy


async def _finished(threads: _Threads, partial: Path, path: str | None, newest: str) -> Copy:
    """Hash a copy, read it back and sync it, all at once."""
    sha256, contents, _ = await together(
        _run(threads[0], hash_file, partial),
        _run(threads[2], _contents, partial, path, newest),
        _run(threads[1], _sync, partial),
    )
    return Copy(contents, sha256)


async def together(*works: Coroutine[Any, Any, Any]) -> list[Any]:
    """Do several things at once; the first that fails stops the others."""
    failures: BaseExceptionGroup[BaseException] | None = None
    running: list[asyncio.Task[Any]] = []
    try:
        async with asyncio.TaskGroup() as group:
            running.extend(group.create_task(work) for work in works)
    except BaseExceptionGroup as raised:
        failures = raised
    if failures is not None:
        raise failures.exceptions[0]
    return [task.result() for task in running]


async def _run(thread: WorkThread, work: Any, *arguments: Any) -> Any:
    """Call ``work(*arguments, stop)`` in a thread; SQLite's errors become ours."""
    stop = Stop()
    with translated():
        return await thread.run_until(stop, functools.partial(work, *arguments, stop))


def _copy_file(path: str, partial: Path, report: FileReport, stop: Stop) -> Contents:
    with closing(sqlite_files.open_live(path)) as source, stop.interrupting(source):
        source.execute("BEGIN").close()
        contents = sqlite_files.contents_of(source)  # the first read: from here on one snapshot
        create(partial)
        # Of all that opened the file SQLite closes it first, or it would lose its locks.
        with written_behind(partial) as behind, closing(_open_target(partial)) as target:

            def between(_status: int, left: int, total: int) -> None:
                stop.check()
                behind.go_on()
                report.at(total - left, total)

            with _full_named(partial):
                source.backup(target, pages=_PAGES, progress=between)
                make_self_contained(target)
    return contents


@contextmanager
def _full_named(partial: Path) -> Iterator[None]:
    """Say which disk is full: the one of the copy, and not that of the database."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise
        msg = f"no space left for {partial}"
        raise StorageFullError(msg) from error


def create(partial: Path) -> None:
    """Make an empty file that nobody else can read."""
    with refused(partial):
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW
        os.close(os.open(partial, flags, 0o600))


def _open_target(partial: Path) -> sqlite3.Connection:
    """Open a new file for pages that need no journal: whatever fails, it is thrown away."""
    target = sqlite3.connect(partial, isolation_level=None, check_same_thread=False)
    for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=OFF", "synchronous=OFF", _SMALL_CACHE):
        target.execute(f"PRAGMA {pragma}").close()
    return target


def make_self_contained(target: sqlite3.Connection) -> None:
    """Note in a copy that it has no log; a live file has one, and its header says so."""
    target.execute("PRAGMA journal_mode=DELETE").close()


async def _copy_memory(session: Session, partial: Path, report: FileReport) -> None:
    """Copy on the thread of the one connection, in turn with the sessions."""
    stop = Stop()
    async with WorkThread("backup") as thread:
        pooled = await (await session.connection()).get_raw_connection()
        await thread.run(create, partial)
        async with thread.lending(_open_target, partial) as target:
            copying = tasks.start(
                _back_up(pooled.driver_connection, target, report, stop), name="hqt_async_db backup"
            )
            cancelled = await tasks.wait(copying, None, stop.set)
            if cancelled is not None:
                tasks.retrieve(copying)
                raise cancelled
            with translated():
                copying.result()


async def _back_up(source: Any, target: sqlite3.Connection, report: FileReport, stop: Stop) -> None:
    def between(_status: int, left: int, total: int) -> None:
        stop.check()
        report.at(total - left, total)

    await source.backup(target, pages=_PAGES, progress=between)


async def hash_synced(partial: Path) -> str:
    """Sync a file to the disk and return its SHA-256."""
    async with _started_threads() as threads:
        hashing = _run(threads[0], hash_file, partial)
        sha256: str = (await together(hashing, _run(threads[1], _sync, partial)))[0]
    return sha256


def _contents(partial: Path, live: str | None, newest: str, stop: Stop) -> Contents:
    """Count the rows of a copy, which shows that it can be read, and see that it may come back."""
    name = live or "the database in memory"
    uri = f"{partial.absolute().as_uri()}?mode=ro&immutable=1"
    with (
        closing(sqlite3.connect(uri, uri=True, check_same_thread=False)) as copy,
        stop.interrupting(copy),
    ):
        if live is None:
            sqlite_files.refuse_damaged(copy, name, fully=False)
        contents = sqlite_files.contents_of(copy)
        _refuse_what_no_restore_takes(copy, name, is_newest=contents.revision == newest)
        return contents


def _refuse_what_no_restore_takes(copy: sqlite3.Connection, name: str, *, is_newest: bool) -> None:
    reason = None
    if (foreign := sqlite_hostile.foreign_in(copy)) is not None:
        reason = f"has a {foreign}"
    elif is_newest and (table := sqlite_schema.unlike_ours(copy)) is not None:
        reason = f"has a table {table!r} that is not the one of its revision"
    if reason is not None:
        msg = (
            f"{name} {reason}, with which no restore takes a copy of the file; undo that, or use "
            'the portable archive, which holds rows only: backup_database(..., format="archive")'
        )
        raise SchemaMismatchError(msg)
    sqlite_hostile.refuse_orphans(copy, name)


def _sync(partial: Path, stop: Stop) -> None:
    del stop  # the system cannot be interrupted
    with refused(partial):
        descriptor = os.open(partial, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def hash_file(path: Path, stop: Stop) -> str:
    """Return the SHA-256 of a file; the GIL is free meanwhile."""
    digest, block = hashlib.sha256(), bytearray(_BLOCK_BYTES)
    view = memoryview(block)
    with refused(path), path.open("rb", buffering=0) as file:
        while count := cast("int", file.readinto(view)):
            stop.check()
            digest.update(view[:count])
    return digest.hexdigest()
