"""How many rows there are, how large they are and from when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hqt_async_db.backup import DatabaseBackup
from hqt_async_db.backup.tables import all_tables
from hqt_async_db.repositories import TradeRepository
from tests.integration.test_backup.applications import run_application
from tests.integration.test_repository.samples import (
    add_backtest,
    add_strategy,
    add_user,
    at,
    trade_row,
)

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager
    from tests.fixtures.managers import RecordStatements

NAMES = {table.name for table in all_tables()}


async def test_an_empty_database_has_no_rows_and_no_age(db: DatabaseManager) -> None:
    stats = await DatabaseBackup(db).get_database_stats()
    assert stats["total_rows"] == 0
    assert stats["tables"] == dict.fromkeys(NAMES, 0)
    assert stats["oldest"] == stats["newest"] == dict.fromkeys(NAMES)
    assert stats["size_bytes"] > 0


async def test_rows_are_counted_and_dated(db: DatabaseManager) -> None:
    user = await add_user(db)
    backtest = await add_backtest(db, await add_strategy(db, user))
    await TradeRepository(db).create_many([trade_row(backtest, hour, 1.0) for hour in (5, 2, 9)])
    stats = await DatabaseBackup(db).get_database_stats()
    assert stats["total_rows"] == 6
    counted = {"users": 1, "strategies": 1, "backtests": 1, "backtest_trades": 3}
    assert stats["tables"] == dict.fromkeys(NAMES, 0) | counted
    assert stats["time_columns"]["backtest_trades"] == "entry_time"
    assert stats["oldest"]["backtest_trades"] == at(2)
    assert stats["newest"]["backtest_trades"] == at(9)
    assert stats["oldest"]["users"] == stats["newest"]["users"] == user.created_at


async def test_every_table_tells_its_age_by_a_column_that_is_never_null(
    db: DatabaseManager,
) -> None:
    chosen = (await DatabaseBackup(db).get_database_stats())["time_columns"]
    assert chosen.keys() == NAMES
    assert {chosen["users"], chosen["account_snapshots"]} == {"created_at", "timestamp"}
    assert not any(table.columns[chosen[table.name]].nullable for table in all_tables())


@pytest.mark.backends("sqlite-file", "postgresql")
async def test_a_model_of_ones_own_that_tells_no_time_is_counted(database_url: str) -> None:
    models = """
        class Fill(Base):
            __tablename__ = "fills"
            id: Mapped[int] = mapped_column(primary_key=True)
            venue: Mapped[str] = mapped_column(String(20))
    """
    work = """
        await BaseRepository[Fill](db).create_many([{"venue": "XETR"}, {"venue": "XNAS"}])
        stats = await backup.get_database_stats()
        names = ("tables", "oldest", "newest", "time_columns")
        print(stats["total_rows"], *[stats[name]["fills"] for name in names])
    """
    assert await run_application(models, work, database_url) == "2 2 None None None\n"


async def test_sizes_are_those_of_the_tables(db: DatabaseManager) -> None:
    user = await add_user(db)
    backtest = await add_backtest(db, await add_strategy(db, user))
    rows = [trade_row(backtest, hour, 1.0, symbol="S" * 60) for hour in range(3_000)]
    await TradeRepository(db).create_many(rows)
    await db.optimize()  # MariaDB looks at the size of a table when it analyzes it
    stats = await DatabaseBackup(db).get_database_stats()
    sizes = stats["table_bytes"]
    if None in sizes.values():
        assert db.dialect_name == "sqlite"
        pytest.skip("this SQLite was built without dbstat")
    assert sizes["backtest_trades"] > 3_000 * 60
    assert max(sizes, key=sizes.__getitem__) == "backtest_trades"
    assert stats["size_bytes"] >= sizes["backtest_trades"]


async def test_each_table_is_read_once(db: DatabaseManager, statements: RecordStatements) -> None:
    with statements(db) as sent:
        await DatabaseBackup(db).get_database_stats()
    assert len(sent) <= len(NAMES) + 3
