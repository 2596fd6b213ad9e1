"""Imports beside other work: cancelled anywhere, out of the way, small and in short steps."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from hqt_async_db import DatabaseManager, ImportDataError, UserRepository
from hqt_async_db.backup import DatabaseBackup
from hqt_async_db.backup.formats.reading import read_json_lines
from hqt_async_db.backup.formats.rows import Batch
from hqt_async_db.backup.loading.load import TableSource, load
from hqt_async_db.backup.tables import table_named
from tests.integration.steps import longest_step_ms
from tests.integration.test_backup.loads import lines, load_rows, stored, user
from tests.integration.test_connection.cancelling import Moment, Point, cancelled, every_await
from tests.integration.test_connection.entries import require_idle
from tests.integration.test_repository.samples import add_user

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from hqt_async_db.backup.formats.rows import RowReader
    from hqt_async_db.backup.loading.load import Mode
    from hqt_async_db.connection.sessions.session import Session
    from tests.fixtures.managers import MakeDb

SERVERS_AND_FILES = pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
MODES: tuple[Mode, ...] = ("append", "replace", "upsert", "restore")


async def left_behind(db: DatabaseManager) -> int:
    """Return how many temporary tables the connections of SQLite have."""
    async with db.session() as session:
        count = await session.execute(text("SELECT count(*) FROM sqlite_temp_master"))
        return int(count.scalar_one())


@SERVERS_AND_FILES
@pytest.mark.timeout(120)
@pytest.mark.parametrize("moment", ["asleep", "waking"])
@pytest.mark.parametrize("mode", MODES)
async def test_cancelled_at_any_await_all_or_nothing_is_there(  # noqa: PLR0913, PLR0917 - its fixtures
    db: DatabaseManager,
    make_db: MakeDb,
    tmp_path: Path,
    backend: str,
    mode: Mode,
    moment: Moment,
) -> None:
    witness = make_db()
    path = tmp_path / "users.jsonl"
    new = lines(user(number) for number in range(2, 8))
    await asyncio.to_thread(path.write_bytes, new)
    kept = [user(1)] if mode in {"append", "upsert"} else []
    before, after = ["u1"], [f"u{number}" for number in range(1 if kept else 2, 8)]
    backup = DatabaseBackup(db)

    async def trial(point: Point) -> None:
        await load_rows(db, "restore", users=[user(1)])
        if mode == "restore":
            work: Any = load_rows(db, mode, users=[user(number) for number in range(2, 8)])
        else:
            options: Any = {} if mode == "append" else {mode: True}
            work = backup.import_table_from_jsonl("users", path, **options)
        await cancelled(point, work)
        assert await stored(witness, "users", "username") in (before, after), point
        await require_idle(db, witness)
        if backend == "sqlite-file":
            assert await left_behind(db) == 0, point

    assert await every_await(trial, moment) > 5


async def test_a_refusal_leaves_no_temporary_table(db: DatabaseManager, backend: str) -> None:
    for mode in MODES:
        with pytest.raises(ImportDataError):
            await load_rows(db, mode, users=[user(1), user(2, username=None)])
        with pytest.raises(ImportDataError):
            await load_rows(db, mode, users=[user(1), user(1)])
        await load_rows(db, "upsert", users=[user(1)])
        if backend.startswith("sqlite"):
            assert await left_behind(db) == 0
    await add_user(db)
    assert await stored(db, "users", "username") == ["u1", "trader"]


@pytest.mark.parametrize("mode", ["append", "upsert"])
async def test_a_time_limit_is_for_a_statement_and_not_for_the_file(
    make_db: MakeDb, mode: Mode
) -> None:
    db = make_db(statement_timeout_s=0.5)
    await db.create_all()

    async def slow() -> AsyncGenerator[bytes, None]:
        for start in range(1, 3000, 1000):
            yield lines(user(number) for number in range(start, start + 1000))
            await asyncio.sleep(0.7)

    async def require_limit(session: Session) -> None:
        if db.dialect_name == "postgresql":
            assert await session.scalar(text("SHOW statement_timeout")) == "500ms"

    source = TableSource(table_named("users"), rows_of(db, slow), "slow")
    assert await load(db, [source], mode=mode, before_commit=require_limit) == {"users": 3000}


def rows_of(
    db: DatabaseManager, blocks: Callable[[], AsyncGenerator[bytes, None]]
) -> Callable[[], AbstractAsyncContextManager[RowReader]]:
    """Return what reads users from blocks of JSON Lines."""

    @asynccontextmanager
    async def open_rows() -> AsyncIterator[RowReader]:
        table, dialect = table_named("users"), db.engine.dialect
        async with read_json_lines(blocks(), table, "slow", dialect) as rows:
            yield rows

    return open_rows


@pytest.mark.backends("sqlite-file")
async def test_writers_go_on_while_rows_are_set_aside(db: DatabaseManager) -> None:
    is_reading, may_end = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncGenerator[bytes, None]:
        yield lines(user(number) for number in range(100, 3000))
        is_reading.set()
        await may_end.wait()
        yield lines([user(3000)])

    source = TableSource(table_named("users"), rows_of(db, slow), "slow")
    loading = asyncio.create_task(load(db, [source]))
    await is_reading.wait()
    async with asyncio.timeout(2):
        for number in range(20):
            await add_user(db, f"bot {number}")
    assert not loading.done()
    may_end.set()
    assert await loading == {"users": 2901}
    assert await UserRepository(db).count() == 2921


@SERVERS_AND_FILES
async def test_an_import_keeps_the_loop_busy_in_short_steps(
    db: DatabaseManager, tmp_path: Path
) -> None:
    path = tmp_path / "users.csv"
    backup = DatabaseBackup(db)
    await load_rows(db, users=[user(number) for number in range(1, 4000)])
    await backup.export_table_to_csv("users", path)
    found = []
    for _ in range(3):
        longest, total = await longest_step_ms(
            backup.import_table_from_csv("users", path, upsert=True)
        )
        found.append((longest, total))
        if longest <= max(4.0, total / 10):
            return
    pytest.fail(f"a step of so many ms, of so many in all: {found}")


class OneBatch:
    """As many rows at once as no file yields."""

    def __init__(self, count: int) -> None:
        rows = [user(number) for number in range(1, count + 1)]
        self.columns = tuple(table_named("users").columns[name] for name in rows[0])
        self._batch = Batch(1, count, lambda: [[row[c.name] for row in rows] for c in self.columns])
        assert self._batch.values

    async def __aiter__(self) -> AsyncIterator[Batch]:
        yield self._batch


@pytest.mark.backends("mariadb")
@pytest.mark.timeout(60)
async def test_the_rows_of_a_large_batch_are_made_a_few_at_a_time(db: DatabaseManager) -> None:
    rows = OneBatch(80_000)

    @asynccontextmanager
    async def open_rows() -> AsyncIterator[RowReader]:
        yield rows

    source = TableSource(table_named("users"), open_rows, "users")
    found = []
    for _ in range(3):
        found.append(await longest_step_ms(load(db, [source], mode="upsert")))
        if found[-1][0] <= 4.0:
            return
    pytest.fail(f"a step of so many ms, of so many in all: {found}")


@SERVERS_AND_FILES
@pytest.mark.timeout(60)
async def test_memory_does_not_grow_with_the_file(db: DatabaseManager, tmp_path: Path) -> None:
    peaks = []
    for size in (2_000, 20_000):
        path = tmp_path / f"{size}.jsonl"
        rows = lines(user(number, full_name="x" * 100) for number in range(1, size + 1))
        await asyncio.to_thread(path.write_bytes, rows)
        del rows
        gc.collect()
        tracemalloc.start()
        try:
            await DatabaseBackup(db).import_table_from_jsonl("users", path, upsert=True)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] - peaks[0] < 3_000_000, peaks
