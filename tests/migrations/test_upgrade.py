"""Upgrade, downgrade, stamp, current and history, on every backend."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, text

from hqt_async_db import DatabaseManager, migrations
from hqt_async_db.errors import HqtDbError, InvalidInputError, SchemaMismatchError
from tests.migrations.schemas import schema_of

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

    from tests.fixtures.managers import MakeDb
    from tests.migrations.conftest import AddRevision


ADD_COLUMN = "    op.add_column('users', sa.Column('nickname', sa.String(20)))"
DROP_COLUMN = "    with op.batch_alter_table('users') as users: users.drop_column('nickname')"


async def test_there_is_exactly_one_head() -> None:
    """Two heads would mean two schemas, and an upgrade could not choose."""
    history = await migrations.history()
    assert [entry.revision for entry in history if entry.is_head] == [history[0].revision]
    assert [entry.down_revision for entry in history[:-1]] == [
        entry.revision for entry in history[1:]
    ]
    assert history[-1].down_revision is None


async def test_an_upgrade_returns_what_it_applied(make_db: MakeDb) -> None:
    db = make_db()
    assert await migrations.current(db) is None
    applied = await migrations.upgrade(db)
    assert [entry.revision for entry in applied] == ["hqt_0001"]
    assert applied[0].description == "Create the whole schema."
    assert await migrations.current(db) == "hqt_0001"
    assert await migrations.upgrade(db) == []


async def test_going_up_and_down_step_by_step(make_db: MakeDb, add_revision: AddRevision) -> None:
    first = await add_revision(ADD_COLUMN, DROP_COLUMN)
    second = await add_revision("    op.create_table('toys', sa.Column('id', sa.Integer()))",
                          "    op.drop_table('toys')")  # fmt: skip
    db = make_db()
    await migrations.upgrade(db, "+1")
    assert await migrations.current(db) == "hqt_0001"
    before = await schema_of(db.engine)
    assert [entry.revision for entry in await migrations.upgrade(db)] == [first, second]
    for below in (first, "base"):
        with pytest.raises(InvalidInputError, match="downgrade instead"):
            await migrations.upgrade(db, below)
    with pytest.raises(InvalidInputError):
        await migrations.downgrade(db, "+1")
    undone = await migrations.downgrade(db, "-1")
    assert [entry.revision for entry in undone] == [second]
    await migrations.downgrade(db, "hqt_0001")
    assert await schema_of(db.engine) == before
    assert await migrations.downgrade(db, "hqt_0001") == []


async def test_history_marks_where_the_database_is(
    make_db: MakeDb, add_revision: AddRevision
) -> None:
    newest = await add_revision(ADD_COLUMN)
    db = make_db()
    await migrations.upgrade(db, "hqt_0001")
    history = await migrations.history(db)
    assert [(entry.revision, entry.is_head, entry.is_current) for entry in history] == [
        (newest, True, False),
        ("hqt_0001", False, True),
    ]
    assert {entry.is_current for entry in await migrations.history()} == {None}


async def test_an_impossible_target_is_refused(make_db: MakeDb) -> None:
    db = make_db()
    for target in ("nonsense", "+5", "-1", "", "toy_", "hqt_0001-1"):
        with pytest.raises(InvalidInputError) as refused:
            await migrations.upgrade(db, target)
        assert refused.value.field == "revision"
    assert await schema_of(db.engine) == {}


async def test_a_newer_schema_is_refused(make_db: MakeDb) -> None:
    db = make_db()
    await migrations.upgrade(db)
    async with db.engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = 'from_2031'"))
    for refused in (
        migrations.upgrade(db),
        migrations.downgrade(db, "base"),
        migrations.check(db),
        migrations.create_schema(db),
        migrations.drop_schema(db),
    ):
        with pytest.raises(SchemaMismatchError, match=r"from_2031, which this version.*of its own"):
            await refused
    await migrations.stamp(db, "head")
    await migrations.check(db)


async def test_tables_of_a_predecessor_are_refused(make_db: MakeDb) -> None:
    db = make_db()
    async with db.engine.begin() as connection:
        await connection.execute(text("CREATE TABLE users (id INTEGER)"))
    for refused in (migrations.upgrade(db), migrations.create_schema(db)):
        with pytest.raises(
            SchemaMismatchError, match=r"tables users but no revision.*stamp.*import"
        ):
            await refused
    assert (await schema_of(db.engine)).keys() == {"users"}


async def test_stamping_replaces_whatever_was_recorded(make_db: MakeDb) -> None:
    db = make_db()
    await migrations.stamp(db, "head")
    assert await migrations.current(db) == "hqt_0001"
    await migrations.stamp(db, "base")
    assert await migrations.current(db) is None
    with pytest.raises(InvalidInputError):
        await migrations.stamp(db, "nonsense")
    assert (await schema_of(db.engine)).keys() == {"alembic_version"}


async def test_several_recorded_revisions_are_refused(make_db: MakeDb) -> None:
    db = make_db()
    await migrations.stamp(db, "head")
    async with db.engine.begin() as connection:
        await connection.execute(text("INSERT INTO alembic_version VALUES ('other')"))
    with pytest.raises(
        SchemaMismatchError,
        match=r"several revisions \(hqt_0001, other\).*version_table of its own.*would delete it",
    ):
        await migrations.current(db)


@pytest.mark.backends("postgresql", "mariadb")  # SQLite looks at one snapshot
async def test_a_schema_that_changes_while_it_is_checked_does_not_match(make_db: MakeDb) -> None:
    db = make_db()
    await migrations.create_schema(db)
    sent: list[str] = []

    @event.listens_for(db.engine.sync_engine, "after_cursor_execute")
    def _drop(connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)
        is_next = len(sent) > 1 and "version_num FROM" in " ".join(sent[-2].split())
        if is_next:  # which reads the names of the tables
            connection.exec_driver_sql("DROP TABLE notifications")

    with pytest.raises(SchemaMismatchError, match="notifications"):
        await migrations.check(db)


@pytest.mark.backends("sqlite-memory")
async def test_several_databases_are_migrated_at_the_same_time(make_db: MakeDb) -> None:
    """The ``op`` of alembic is global to the process; each must reach its own."""
    databases = [make_db() for _ in range(4)]
    await asyncio.gather(*(migrations.upgrade(db) for db in databases))
    await asyncio.gather(*(migrations.check(db) for db in databases))


def test_threads_with_event_loops_of_their_own_do_too(tmp_path: Path) -> None:
    async def upgrade(number: int) -> None:
        async with DatabaseManager(f"sqlite:///{tmp_path}/{number}.db") as db:
            await migrations.upgrade(db)
            await migrations.check(db)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: asyncio.run(upgrade(number)), range(4)))


async def test_an_error_in_a_revision_rolls_back(
    make_db: MakeDb, add_revision: AddRevision, backend: str
) -> None:
    await add_revision(f"{ADD_COLUMN}\n    op.execute('SELECT nonsense')")
    db = make_db()
    await migrations.upgrade(db, "hqt_0001")
    before = await schema_of(db.engine)
    with pytest.raises(HqtDbError) as failed:
        await migrations.upgrade(db)
    assert await migrations.current(db) == "hqt_0001"
    if backend == "mariadb":
        assert isinstance(failed.value, SchemaMismatchError)
        with pytest.raises(SchemaMismatchError, match=r"toy_0001.*stopped half-way"):
            await migrations.upgrade(db)
    else:
        assert failed.value.__notes__ == ["while running 'upgrade hqt_0001 -> toy_0001, Toy 1.'"]
        assert await schema_of(db.engine) == before
