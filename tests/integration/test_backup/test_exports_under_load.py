"""Exports while others write, are cancelled, fail, and have many rows."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import random
import stat
import subprocess
import sys
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from hqt_async_db import (
    BacktestRepository,
    BacktestTrade,
    BackupError,
    ConnectionFailedError,
    DatabaseManager,
    DeadlineExceededError,
    StorageFullError,
    TradeRepository,
)
from hqt_async_db.backup import DatabaseBackup
from hqt_async_db.backup.manifest import Manifest
from hqt_async_db.backup.snapshot import TableQuery, snapshot
from hqt_async_db.backup.tables import table_named
from tests.integration.steps import longest_step_ms
from tests.integration.test_repository.samples import (
    RUN,
    SPAN,
    add_backtest,
    add_strategy,
    add_user,
    owned,
    trade_row,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hqt_async_db import Strategy
    from hqt_async_db.backup.export import FileFormat
    from tests.fixtures.managers import MakeDb
    from tests.servers.process import ServerProcess

FORMATS: tuple[FileFormat, ...] = ("json", "jsonl", "csv", "parquet")
STEP_MS = 4.0
ATTEMPTS = 5

TRADES = table_named("backtest_trades")


async def fill(db: DatabaseManager, trades: int) -> Strategy:
    strategy = await add_strategy(db, await add_user(db))
    backtest = await add_backtest(db, strategy)
    rows = [trade_row(backtest, n % 5000, n / 7, exit_reason="x, y") for n in range(trades)]
    await TradeRepository(db).create_many(rows)
    return strategy


async def listing(directory: Path) -> dict[str, bytes]:
    def look() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in directory.iterdir()}

    return await asyncio.to_thread(look)


def is_whole(files: dict[str, bytes]) -> bool:
    """Tell whether there are the files of the manifest, and no others."""
    manifest = Manifest.parse(files["manifest.json"])
    return {entry.file: entry.sha256 for entry in manifest.tables} == {
        name: hashlib.sha256(content).hexdigest()
        for name, content in files.items()
        if name != "manifest.json"
    }


def lines_of(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


async def _write_on(db: DatabaseManager, strategy: Strategy, number: int) -> None:
    """Store backtests with two trades that cancel out, and move profit between them."""
    while True:
        async with db.session() as session:
            values = {**owned(strategy), **RUN, **SPAN, "name": f"{number}", "initial_capital": 1.0}
            backtest = await BacktestRepository(session).create(**values)
            trades = TradeRepository(session)
            one = await trades.create(**trade_row(backtest, 1, 5.0))
            two = await trades.create(**trade_row(backtest, 2, -5.0))
            await session.flush()
            for trade, amount in ((one, 3.0), (two, -3.0)):
                change = update(BacktestTrade).where(BacktestTrade.id == trade.id)
                await session.execute(change.values(profit=BacktestTrade.profit + amount))
        await asyncio.sleep(0.005)


async def test_an_export_is_one_point_in_time(db: DatabaseManager, tmp_path: Path) -> None:
    strategy = await add_strategy(db, await add_user(db))
    writers = [asyncio.create_task(_write_on(db, strategy, number)) for number in range(16)]
    sizes = []
    try:
        for _ in range(4):
            await asyncio.sleep(0.1)
            await DatabaseBackup(db).export_all_tables(tmp_path, format="jsonl")
            files = await listing(tmp_path)
            trades = lines_of(files["backtest_trades.jsonl"])
            backtests = lines_of(files["backtests.jsonl"])
            assert {trade["backtest_id"] for trade in trades} == {row["id"] for row in backtests}
            assert sum(trade["profit"] for trade in trades) == 0.0
            sizes.append(len(trades))
    finally:
        for writer in writers:
            writer.cancel()
        await asyncio.gather(*writers, return_exceptions=True)
    assert sizes[0] < sizes[-1]


@pytest.mark.parametrize("form", FORMATS)
async def test_a_cancelled_export_changes_all_files_or_none(
    db: DatabaseManager, tmp_path: Path, form: Any
) -> None:
    await fill(db, 3000)
    backup = DatabaseBackup(db)
    target = tmp_path / "target"
    await backup.export_all_tables(target, format=form)
    before = await listing(target)
    await TradeRepository(db).delete_many(BacktestTrade.id > 2000)
    loop = asyncio.get_running_loop()
    chance = random.Random(7)
    cancelled = kept = 0
    latest_s = 0.2
    for _ in range(60):
        if min(cancelled, kept) > 3:
            break
        started = loop.time()
        task = asyncio.create_task(backup.export_all_tables(target, format=form))
        await asyncio.wait({task}, timeout=chance.random() * latest_s)
        if task.done():  # a busy machine makes one export take many times as long as the next
            latest_s = min(latest_s, loop.time() - started)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        cancelled += task.cancelled()
        after = await listing(target)
        assert is_whole(after)  # all as before or, cancelled at the very end, all new
        kept += after == before
        before = after
    assert min(cancelled, kept) > 3
    assert all(pool["in_use"] == 0 for pool in db.pool_status().values())
    await backup.export_all_tables(target, format=form)
    assert is_whole(await listing(target))


@pytest.mark.parametrize("form", FORMATS)
async def test_a_failure_leaves_what_was_there(
    db: DatabaseManager, tmp_path: Path, form: Any
) -> None:
    await fill(db, 2000)
    backup = DatabaseBackup(db)
    await backup.export_all_tables(tmp_path, format=form)
    before = await listing(tmp_path)
    await TradeRepository(db).delete_many(BacktestTrade.id > 1000)

    def stop(progress: Any) -> None:
        if progress.table == "backtest_trades":
            msg = "stopped"
            raise BackupError(msg)

    with pytest.raises(BackupError, match="stopped"):
        await backup.export_all_tables(tmp_path, format=form, progress=stop)
    assert await listing(tmp_path) == before


@pytest.mark.backends("sqlite-file")
@pytest.mark.parametrize("form", FORMATS)
async def test_a_disk_that_is_full_at_the_end_leaves_what_was_there(
    db: DatabaseManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Any
) -> None:
    await fill(db, 20)
    backup = DatabaseBackup(db)
    await backup.export_all_tables(tmp_path, format=form)
    before = await listing(tmp_path)
    await TradeRepository(db).delete_many(BacktestTrade.id > 10)
    synced = full = 0

    def sync(descriptor: int, really: Callable[[int], None] = os.fsync) -> None:
        nonlocal synced
        synced += (is_file := stat.S_ISREG(os.fstat(descriptor).st_mode))
        if is_file and synced == full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        really(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    while full < len(before):  # the manifest is one of them
        synced, full = 0, full + 1
        with pytest.raises(StorageFullError):
            await backup.export_all_tables(tmp_path, format=form)
        assert await listing(tmp_path) == before
    full = 0
    await backup.export_all_tables(tmp_path, format=form)
    after = await listing(tmp_path)
    assert is_whole(after)
    assert after != before


async def test_blocks_may_be_left_early(db: DatabaseManager) -> None:
    await fill(db, 8000)
    query = TableQuery(TRADES, tuple(TRADES.columns))
    for form in ("csv", "jsonl"):
        async with snapshot(db) as view:
            async with aclosing(view.blocks(query, form)) as blocks:
                first = await anext(blocks)
            assert first.content.endswith(b"\n")
    assert await TradeRepository(db).count() == 8000
    assert all(pool["in_use"] == 0 for pool in db.pool_status().values())


async def test_a_time_limit_is_for_a_statement_and_not_for_all_rows(
    db: DatabaseManager, make_db: MakeDb, backend: str
) -> None:
    await fill(db, 40_000 if backend == "postgresql" else 4_000)  # more than sockets hold
    limited = db if backend == "sqlite-memory" else make_db(statement_timeout_s=0.5)
    query = TableQuery(TRADES, tuple(TRADES.columns))
    async with snapshot(limited) as view, aclosing(view.blocks(query, "csv")) as blocks:
        rows = (await anext(blocks)).rows
        await asyncio.sleep(0.8)
        rows += sum([block.rows async for block in blocks])
    assert rows == await TradeRepository(db).count()


@pytest.mark.backends("postgresql")
async def test_a_server_that_says_nothing_is_given_up(private_server: ServerProcess) -> None:
    url = private_server.admin.address.render_as_string(hide_password=False)
    query = TableQuery(TRADES, tuple(TRADES.columns))
    async with DatabaseManager(url) as db:  # in whose time the rows come in
        await db.create_all()
        await fill(db, 60_000)
    async with DatabaseManager(url, statement_timeout_s=0.5) as db:
        try:
            with pytest.raises((DeadlineExceededError, ConnectionFailedError)):
                await _read_and_freeze(db, query, private_server)
        finally:
            await asyncio.to_thread(private_server.thaw)


async def _read_and_freeze(db: DatabaseManager, query: TableQuery, server: ServerProcess) -> None:
    async with snapshot(db) as view, aclosing(view.blocks(query, "csv")) as blocks:
        await anext(blocks)
        await asyncio.to_thread(server.freeze)
        async for _ in blocks:
            pass


@pytest.mark.timeout(60)
@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_an_export_keeps_the_loop_free(db: DatabaseManager, tmp_path: Path) -> None:
    await db.warm_up()
    await fill(db, 4000)
    backup = DatabaseBackup(db)
    too_long: dict[str, float] = {}
    for form in FORMATS:
        await backup.export_all_tables(tmp_path, format=form)
        for _ in range(ATTEMPTS):
            longest, _total = await longest_step_ms(backup.export_all_tables(tmp_path, format=form))
            if longest <= STEP_MS:
                break
        else:
            too_long[form] = longest
    assert too_long == {}


@pytest.mark.timeout(60)
@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_an_object_of_thousands_of_keys_keeps_the_loop_free(
    db: DatabaseManager, tmp_path: Path
) -> None:
    await db.warm_up()
    user = await add_user(db)
    large = {f"{n * 7919 % 20_011:05}": n / 7 for n in range(20_000)}
    for number in range(5):
        await add_strategy(db, user, f"{number}", parameters=large)
    backup, longest = DatabaseBackup(db), []
    for _ in range(ATTEMPTS):
        export = backup.export_table_to_csv("strategies", tmp_path / "s.csv", formula_guard=True)
        longest.append((await longest_step_ms(export))[0])
    assert min(longest) <= STEP_MS
    await backup.export_table_to_jsonl("strategies", tmp_path / "s.jsonl")
    rows = lines_of((await listing(tmp_path))["s.jsonl"])
    assert [list(row["parameters"].items()) == sorted(large.items()) for row in rows] == [True] * 5


_PEAK = """
import asyncio, resource, sys
from hqt_async_db import DatabaseManager
from hqt_async_db.backup import DatabaseBackup

async def main():
    async with DatabaseManager(sys.argv[1]) as db:
        backup = DatabaseBackup(db)
        for form in ("csv", "jsonl", "parquet"):
            export = getattr(backup, f"export_table_to_{form}")
            await export("backtest_trades", f"{sys.argv[2]}/x.{form}")

asyncio.run(main())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.timeout(120)
@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_memory_does_not_grow_with_the_rows(
    db: DatabaseManager, database_url: str, tmp_path: Path
) -> None:
    await fill(db, 10_000)
    peaks = [await _peak_mb(database_url, tmp_path)]
    backtest = await BacktestRepository(db).get_one()
    for _ in range(7):
        rows = [trade_row(backtest, n % 5000, n / 7) for n in range(10_000)]
        await TradeRepository(db).create_many(rows)
    peaks.append(await _peak_mb(database_url, tmp_path))
    assert peaks[1] - peaks[0] < 20


async def _peak_mb(url: str, directory: Path) -> float:
    command = [sys.executable, "-c", _PEAK, url, str(directory)]
    finished = await asyncio.to_thread(
        subprocess.run, command, check=True, capture_output=True, text=True
    )
    return int(finished.stdout) / 1024
