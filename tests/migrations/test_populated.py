"""Migrations of databases that hold data, interrupted in every way."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import count
from typing import TYPE_CHECKING

import anyio
import pytest
from sqlalchemy import event, text

from hqt_async_db import migrations
from hqt_async_db.errors import SchemaMismatchError
from tests.migrations.schemas import schema_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from hqt_async_db import DatabaseManager
    from tests.fixtures.managers import MakeDb
    from tests.migrations.conftest import AddRevision, ForkUpgrades


# Written out: the models may have moved on since the first revision.
_USER = """
INSERT INTO users (id, username, email, password_hash, full_name, is_active, is_superuser,
                   created_at, updated_at)
VALUES (1, 'trader1', 't@example.com', 'x', 'T', true, false,
        '2026-01-02 03:04:05.678901', '2026-01-02 03:04:05.678901')"""
_STRATEGY = """
INSERT INTO strategies (id, user_id, name, parameters, is_active, created_at, updated_at)
VALUES (7, 1, 'MA Crossover', '{}', true,
        '2026-01-02 03:04:05.678901', '2026-01-02 03:04:05.678901')"""
REBUILD_USERS = """    with op.batch_alter_table('users') as users:
        users.add_column(sa.Column('nickname', sa.String(20)))
        users.alter_column('full_name', existing_type=sa.String(100), nullable=False,
                           server_default='')"""
ORPHAN = "    op.execute('DELETE FROM users')"
ORPHAN_IN_OTHERS = """    op.execute('INSERT INTO notes VALUES (1)')
    op.execute('DELETE FROM users')"""


async def populated(make_db: MakeDb) -> DatabaseManager:
    """Return a database at the first revision, with a user and a strategy."""
    db = make_db()
    await migrations.upgrade(db, "hqt_0001")
    async with db.engine.begin() as connection:
        await connection.execute(text(_USER))
        await connection.execute(text(_STRATEGY))
    return db


async def strategies_of(db: DatabaseManager) -> list[int]:
    """Return the strategies, which a lost user would have taken along."""
    async with db.engine.connect() as connection:
        return list((await connection.scalars(text("SELECT id FROM strategies"))).all())


async def enforces_foreign_keys(db: DatabaseManager) -> bool:
    """Tell whether each connection of SQLite's pool checks foreign keys."""
    if db.engine.dialect.name != "sqlite":
        return True
    async with db.engine.connect() as connection:
        return bool(await connection.scalar(text("PRAGMA foreign_keys")))


async def test_rebuilding_a_table_keeps_the_rows_that_refer_to_it(
    make_db: MakeDb, add_revision: AddRevision
) -> None:
    """SQLite drops the old table; with foreign keys on, its children go along."""
    newest = await add_revision(REBUILD_USERS)
    db = await populated(make_db)
    await migrations.upgrade(db)
    assert await migrations.current(db) == newest
    assert await strategies_of(db) == [7]
    assert await enforces_foreign_keys(db)


@pytest.mark.backends("sqlite-file", "sqlite-memory")
async def test_a_migration_that_orphans_rows_is_refused(
    make_db: MakeDb, add_revision: AddRevision
) -> None:
    await add_revision(ORPHAN)
    db = await populated(make_db)
    with pytest.raises(SchemaMismatchError, match="strategies rowid 7 refers to users"):
        await migrations.upgrade(db)
    assert await migrations.current(db) == "hqt_0001"
    assert await strategies_of(db) == [7]
    assert await enforces_foreign_keys(db)


@pytest.mark.backends("sqlite-file", "sqlite-memory")
async def test_what_was_wrong_before_in_other_tables_stops_no_migration(
    make_db: MakeDb, add_revision: AddRevision
) -> None:
    db = make_db()
    async with db.engine.connect() as connection:
        await connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        for statement in (
            "CREATE TABLE parents (id INTEGER PRIMARY KEY, x TEXT)",
            "CREATE TABLE orphans (id INTEGER REFERENCES parents)",
            "CREATE TABLE mismatched (x TEXT REFERENCES parents(x))",
            "CREATE TABLE mismatched_with_ours (x TEXT REFERENCES users(full_name))",
            "CREATE TABLE notes (user_id INTEGER REFERENCES Users(id))",
            "INSERT INTO orphans VALUES (9)",
            "INSERT INTO mismatched VALUES ('a')",
            "INSERT INTO notes VALUES (9), (1)",
        ):
            await connection.exec_driver_sql(statement)
        await connection.commit()
        await connection.exec_driver_sql("PRAGMA foreign_keys=ON")
    await migrations.create_schema(db)
    await add_revision("    op.execute('DELETE FROM notes WHERE user_id = 1')")
    await migrations.upgrade(db)
    async with db.engine.begin() as connection:
        await connection.execute(text(_USER))
    await add_revision(ORPHAN_IN_OTHERS)
    with pytest.raises(SchemaMismatchError, match=r"changed: notes rowid 2 refers to [Uu]sers$"):
        await migrations.upgrade(db)


@pytest.mark.backends("sqlite-file")
async def test_rebuilding_a_table_keeps_its_constraints_and_indexes(
    make_db: MakeDb, add_revision: AddRevision
) -> None:
    rebuild = "    with op.batch_alter_table('{}', recreate='always'): pass"
    tables = ("backtests", "live_trades", "user_settings")
    await add_revision("\n".join(rebuild.format(table) for table in tables))
    db = await populated(make_db)
    before = await schema_of(db.engine)
    await migrations.upgrade(db)
    assert await schema_of(db.engine) == before
    await migrations.check(db)


@pytest.mark.timeout(60)
@pytest.mark.backends("sqlite-file", "sqlite-memory", "postgresql")
async def test_an_upgrade_cancelled_at_any_statement_is_whole_or_undone(
    make_db: MakeDb, add_revision: AddRevision
) -> None:
    newest = await add_revision(REBUILD_USERS)
    db = await populated(make_db)
    before = await schema_of(db.engine)
    undone = 0
    for at in range(1, 60):
        task = asyncio.ensure_future(migrations.upgrade(db))
        _at_statement(db, at, task.cancel)
        _at_statement(db, at + 1, task.cancel)  # in the middle of cleaning up
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert await enforces_foreign_keys(db)
        assert await strategies_of(db) == [7]
        if await migrations.current(db) == newest:
            break
        assert task.cancelled()
        assert await schema_of(db.engine) == before
        undone += 1
    assert undone > 5
    assert await migrations.upgrade(db) == []


@pytest.mark.backends("sqlite-file", "sqlite-memory", "postgresql")
async def test_an_upgrade_cancelled_by_anyio_is_undone(
    make_db: MakeDb, add_revision: AddRevision
) -> None:
    """Its scope cancels again and again until it is left, cleaning up included."""
    await add_revision(REBUILD_USERS)
    db = await populated(make_db)
    before = await schema_of(db.engine)
    with anyio.CancelScope() as scope:
        _at_statement(db, 8, scope.cancel)
        await migrations.upgrade(db)
    assert scope.cancelled_caught
    assert await enforces_foreign_keys(db)
    assert await schema_of(db.engine) == before
    assert await strategies_of(db) == [7]
    await migrations.upgrade(db)


def _at_statement(db: DatabaseManager, at: int, action: Callable[[], object]) -> None:
    """Run ``action`` once, when the statement with that number is sent."""
    number = count(1)

    @event.listens_for(db.engine.sync_engine, "before_cursor_execute")
    def _watch(*_: object) -> None:
        if next(number) == at:
            action()


@pytest.mark.timeout(60)
@pytest.mark.backends("sqlite-file", "postgresql")
async def test_an_upgrade_killed_at_any_statement_changes_nothing_and_can_be_repeated(
    make_db: MakeDb, add_revision: AddRevision, fork_upgrades: ForkUpgrades
) -> None:
    newest = await add_revision(REBUILD_USERS)
    db = await populated(make_db)
    killed = await fork_upgrades("sweep")
    assert len(killed) > 5
    await migrations.upgrade(db)
    assert await migrations.current(db) == newest
    assert await strategies_of(db) == [7]


@pytest.mark.timeout(60)
@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_four_processes_upgrade_once(make_db: MakeDb, fork_upgrades: ForkUpgrades) -> None:
    printed = await fork_upgrades("race")
    assert sorted(printed) == ["exit 0"] * 4 + ["hqt_0001"]
    await migrations.check(make_db())


@pytest.mark.backends("mariadb")
async def test_what_a_broken_first_upgrade_left_on_mariadb_is_explained(make_db: MakeDb) -> None:
    """Each DDL statement commits by itself there, so nothing can be rolled back."""
    db = make_db()
    task = asyncio.ensure_future(migrations.upgrade(db))
    _at_statement(db, 20, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(SchemaMismatchError, match=r"killed first upgrade left.*drop them"):
        await migrations.upgrade(db)


@pytest.mark.backends("mariadb")
@pytest.mark.parametrize("how", ["drop", "downgrade"])
async def test_a_schema_that_is_half_dropped_is_not_taken_for_the_newest(
    make_db: MakeDb, how: str
) -> None:
    db = await populated(make_db)
    down = migrations.drop_schema(db) if how == "drop" else migrations.downgrade(db, "base")
    task = asyncio.ensure_future(down)
    dropped = count(1)

    @event.listens_for(db.engine.sync_engine, "before_cursor_execute")
    def _watch(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "DROP TABLE" in statement and next(dropped) == 4:
            task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    event.remove(db.engine.sync_engine, "before_cursor_execute", _watch)
    assert await migrations.current(db) is None
    for refused in (migrations.upgrade(db), migrations.create_schema(db)):
        with pytest.raises(SchemaMismatchError, match="that did not reach its end"):
            await refused
    await migrations.drop_schema(db)
    await migrations.upgrade(db)
    await migrations.check(db)
