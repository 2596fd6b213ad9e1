"""A database into another: all of it, compared, or nothing."""

from __future__ import annotations

import asyncio
import math
import random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from hqt_async_db import (
    BackupError,
    BackupVerificationError,
    DatabaseManager,
    ImportDataError,
    InvalidInputError,
    SchemaMismatchError,
    TradeRepository,
    UserRepository,
    migrations,
)
from hqt_async_db.backup import DatabaseBackup
from hqt_async_db.backup.copying import copy_database
from tests.integration.test_backup.generated import exactly, read
from tests.integration.test_repository.samples import (
    OTHER_CONNECTIONS,
    add_backtest,
    add_strategy,
    add_user,
    trade_row,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hqt_async_db.backup.progress import Progress
    from tests.fixtures.backends import FindDatabases

TRADES = 2_000


@pytest.fixture
async def other(find_databases: FindDatabases) -> AsyncIterator[DatabaseManager]:
    """A manager on a SQLite file that has the schema and no rows."""
    databases = find_databases("sqlite-file")
    url = await asyncio.to_thread(databases.create, with_schema=True)
    async with DatabaseManager(url) as db:
        yield db
    await asyncio.to_thread(databases.drop, url)


async def fill(db: DatabaseManager, trades: int = TRADES) -> None:
    """Store one of each, and many trades."""
    strategy = await add_strategy(db, await add_user(db), parameters={"b": [1.5], "a": None})
    backtest = await add_backtest(db, strategy)
    rows = [trade_row(backtest, hour, hour / 3, exit_reason=None) for hour in range(trades)]
    await TradeRepository(db).create_many(rows)


async def total_rows(db: DatabaseManager) -> int:
    return sum(map(len, (await read(db)).values()))


@pytest.mark.backends("sqlite-file")
@pytest.mark.parametrize("driver", ["sqlite", "sqlite+aiosqlite"])
@pytest.mark.parametrize("is_import", [False, True], ids=["copy", "import"])
async def test_the_rows_are_in_the_file_itself_once_it_is_closed(
    db: DatabaseManager, tmp_path: Path, driver: str, *, is_import: bool
) -> None:
    await fill(db)
    url = f"{driver}:///{tmp_path}/c.db"
    if is_import:
        await DatabaseBackup(db).export_all_tables(tmp_path / "export", "csv")
        async with DatabaseManager(url) as target:
            await target.create_all()
            await require_empty(target)  # by a reader, which then closes last
            await DatabaseBackup(target).import_all_tables(tmp_path / "export")
    else:
        await copy_database(db, url)
    names = await asyncio.to_thread(lambda: {path.name for path in tmp_path.glob("c.db*")})
    assert names == {"c.db"}
    async with DatabaseManager(url) as target:
        assert exactly(await read(target)) == exactly(await read(db))


async def require_empty(db: DatabaseManager) -> None:
    async with db.session(snapshot=True) as session:
        assert await UserRepository(session).count() == 0


@pytest.mark.parametrize("is_source", [True, False], ids=["from", "into"])
async def test_everything_is_copied_and_compared(
    db: DatabaseManager, other: DatabaseManager, *, is_source: bool
) -> None:
    source, target = (db, other) if is_source else (other, db)
    await fill(source)
    told: list[Progress] = []
    result = await copy_database(source, target, progress=told.append)
    assert exactly(await read(target)) == exactly(await read(source))
    assert result.total_rows == TRADES + 3
    assert result.tables["backtest_trades"] == TRADES
    assert len(result.sha256["users"]) == 64
    assert ("backtest_trades", TRADES, TRADES) in [(p.table, p.rows, p.total) for p in told]
    added = await add_user(target, "next")
    assert added.id == 2


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_urls_are_opened_and_closed_and_the_schema_is_made(
    database_url: str, other: DatabaseManager
) -> None:
    await fill(other, 5)
    result = await copy_database(other, database_url)
    assert result.total_rows == 8
    async with DatabaseManager(database_url) as target:
        await migrations.check(target)
        assert exactly(await read(target)) == exactly(await read(other))


async def test_a_target_with_rows_is_refused(db: DatabaseManager, other: DatabaseManager) -> None:
    await fill(other, 5)
    await add_user(db, "mine")
    with pytest.raises(BackupError, match="holds rows already, in users"):
        await copy_database(other, db)
    assert await total_rows(db) == 1


async def test_a_database_is_not_copied_into_itself(db: DatabaseManager) -> None:
    with pytest.raises(InvalidInputError):
        await copy_database(db, db)


async def test_a_source_of_another_revision_is_refused(
    db: DatabaseManager, other: DatabaseManager
) -> None:
    await migrations.stamp(other, "base")
    with pytest.raises(SchemaMismatchError, match="the source is at revision base"):
        await copy_database(other, db)


@pytest.mark.backends("postgresql")
async def test_what_the_target_cannot_hold_is_named_and_nothing_is_written(
    db: DatabaseManager, other: DatabaseManager
) -> None:
    await fill(db, 5)
    trades = TradeRepository(db)
    trade = await trades.get_one(profit=1.0)
    await trades.update(trade, mae=math.nan)
    with pytest.raises(ImportDataError) as refused:
        await copy_database(db, other)
    assert (refused.value.source, refused.value.column) == ("backtest_trades", "mae")
    assert refused.value.row == trade.id
    assert await total_rows(other) == 0


@pytest.mark.backends("sqlite-file", "sqlite-memory")
@pytest.mark.parametrize(
    ("spoil", "names"),
    [
        ("UPDATE users SET full_name = 'x'", "users has other values"),
        (
            "DELETE FROM backtest_trades WHERE id = 3",
            "backtest_trades has 1999 rows instead of 2000",
        ),
    ],
)
async def test_what_arrives_changed_is_undone(
    db: DatabaseManager, other: DatabaseManager, spoil: str, names: str
) -> None:
    await fill(other)
    table = "users" if "users" in spoil else "backtest_trades"
    async with db.session() as session:
        body = f"CREATE TRIGGER spoil AFTER INSERT ON {table} BEGIN {spoil}; END"
        await session.execute(text(body))
    with pytest.raises(BackupVerificationError, match=names):
        await copy_database(other, db)
    assert await total_rows(db) == 0


@OTHER_CONNECTIONS
async def test_what_is_written_meanwhile_is_not_copied(
    db: DatabaseManager, other: DatabaseManager
) -> None:
    await fill(db)
    writing: list[asyncio.Task[Any]] = []

    def write(progress: Progress) -> None:
        user = add_user(db, f"late{len(writing)}")
        writing.append(asyncio.create_task(user, name=progress.table))

    result = await copy_database(db, other, progress=write)
    await asyncio.gather(*writing)
    assert writing
    assert result.tables["users"] == await UserRepository(other).count() == 1
    assert await UserRepository(db).count() == 1 + len(writing)


async def test_a_cancelled_copy_leaves_no_row_and_can_be_repeated(
    db: DatabaseManager, other: DatabaseManager
) -> None:
    chance = random.Random(1)
    await fill(other, 500)
    for _ in range(12):
        copying = asyncio.create_task(copy_database(other, db))
        await asyncio.sleep(chance.uniform(0, 0.08))
        if copying.done():
            break
        copying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copying
        assert await total_rows(db) == 0
    else:
        await copy_database(other, db)
    assert exactly(await read(db)) == exactly(await read(other))
