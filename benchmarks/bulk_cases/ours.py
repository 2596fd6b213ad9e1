"""What this library does, in a process of its own, where nothing else uses memory."""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.bulk_cases.tools import find
from benchmarks.bulk_cases.trades import TABLE, empty
from benchmarks.errors import WrongWorkError
from benchmarks.growing import peak_mib
from hqt_async_db import (
    DatabaseBackup,
    DatabaseManager,
    StallMonitor,
    UserRepository,
    copy_database,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

CSV: Final = "export CSV"
JSON_LINES: Final = "export JSON Lines"
PARQUET: Final = "export Parquet"
IMPORT_CSV: Final = "import CSV"
BACKUP: Final = "backup"
COPY: Final = "copy to SQLite"
_PAUSE_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class Work:
    """What the process is to do.

    Attributes:
        operation: Such as ``export CSV``.
        url: The database that it is done to.
        rows: How many trades there are.
        path: The file to write or read; a directory for a backup or a copy.
    """

    operation: str
    url: str
    rows: int
    path: str


@dataclass(frozen=True, slots=True)
class Commits:
    """How long a bot waited for its commits, alone and while the work was done.

    Attributes:
        alone_ms: The longest wait, in the same time.
        beside_ms: The longest wait while the work was done.
    """

    alone_ms: float
    beside_ms: float


@dataclass(frozen=True, slots=True)
class Watched:
    """How late an event loop was, idle and while the work was done.

    Attributes:
        idle_ms: The longest stall of an idle loop, in the same time.
        busy_ms: The longest stall while the work was done.
        busy_cpu_ms: The most that its thread worked between two ticks then.
    """

    idle_ms: float
    busy_ms: float
    busy_cpu_ms: float


def do(work: Work) -> float:
    """Return the seconds that the work takes, once everything is warm."""
    return asyncio.run(_do(work))


def peak_of(work: Work) -> float:
    """Return the most memory that a new process ever had when the work is done, in MiB."""
    do(work)
    return peak_mib()


def watch(work: Work) -> Watched:
    """Return how long the event loop is stalled."""
    return asyncio.run(_watch(work))


def commit_beside(work: Work) -> Commits:
    """Return how long commits of small writes take meanwhile."""
    return asyncio.run(_commit_beside(work))


async def _do(work: Work) -> float:
    async with _ready(work) as call:
        started = time.perf_counter()
        done = await call()
        seconds = time.perf_counter() - started
    _require(work, done)
    return seconds


async def _watch(work: Work) -> Watched:
    seconds = await _do(work)
    gc.collect()
    gc.freeze()  # as an application that minds its stalls does once it has started
    async with _ready(work) as call:
        async with StallMonitor() as idle:
            await asyncio.sleep(seconds)
        async with StallMonitor() as busy:
            await call()
    report = busy.report()
    return Watched(idle.report().max_stall_ms, report.max_stall_ms, report.max_cpu_ms)


async def _commit_beside(work: Work) -> Commits:
    seconds = await _do(work)
    async with _ready(work) as call, DatabaseManager(work.url) as db:
        users = UserRepository(db)
        (user,) = await users.get_all()

        async def longest_ms(until: Awaitable[Any]) -> float:
            """Write every few milliseconds until something has ended."""
            other, longest_s, number = asyncio.ensure_future(until), 0.0, 0
            while not other.done():
                number, started = number + 1, time.perf_counter()
                await users.update(user, full_name=f"name {number}")
                longest_s = max(longest_s, time.perf_counter() - started)
                await asyncio.sleep(_PAUSE_S)
            await other
            return longest_s * 1000

        await longest_ms(asyncio.sleep(_PAUSE_S))  # the first one opens a connection
        return Commits(await longest_ms(asyncio.sleep(seconds)), await longest_ms(call()))


@asynccontextmanager
async def _ready(work: Work) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """Prepare everything that is not to be measured; remove what was written."""
    async with DatabaseManager(work.url) as db:
        await db.warm_up()
        if work.operation == IMPORT_CSV:
            await empty(db)
        elif work.operation == COPY:
            async with DatabaseManager(_copy_url(work.path)) as target:
                await target.create_all()
        call = _CALLS[work.operation]
        yield lambda: call(db, work.path)
    if work.operation in (BACKUP, COPY):
        await asyncio.to_thread(_remove_files, work.path)


def _remove_files(directory: str) -> None:
    for file in Path(directory).iterdir():
        file.unlink()


async def _copy(db: DatabaseManager, directory: str) -> int:
    result = await copy_database(db, _copy_url(directory))
    return result.tables[TABLE]


def _copy_url(directory: str) -> str:
    return f"sqlite:///{directory}/copy.db"


def _require(work: Work, done: Any) -> None:
    if work.operation != BACKUP and done != work.rows:
        msg = f"{work.operation}: hqt_async_db moved {done} rows instead of {work.rows}"
        raise WrongWorkError(msg)


def _tools_dir() -> Path | None:
    """Return where the pg_dump is that fits the server."""
    program = find("pg_dump")
    return Path(program).parent if program else None


_CALLS: Final[dict[str, Callable[[DatabaseManager, str], Awaitable[Any]]]] = {
    CSV: lambda db, path: DatabaseBackup(db).export_table_to_csv(TABLE, path),
    JSON_LINES: lambda db, path: DatabaseBackup(db).export_table_to_jsonl(TABLE, path),
    PARQUET: lambda db, path: DatabaseBackup(db).export_table_to_parquet(TABLE, path),
    IMPORT_CSV: lambda db, path: DatabaseBackup(db).import_table_from_csv(TABLE, path),
    BACKUP: lambda db, path: DatabaseBackup(db).backup_database(path, tools_dir=_tools_dir()),
    COPY: _copy,
}
