"""Creating and dropping the schema: whose tables, and on top of what."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hqt_async_db import migrations
from hqt_async_db.errors import InvalidInputError, SchemaMismatchError
from hqt_async_db.migrations.environment import our_tables
from hqt_async_db.models import Base
from tests.migrations.schemas import schema_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from hqt_async_db import DatabaseManager
    from tests.fixtures.managers import MakeDb, RecordStatements
    from tests.migrations.conftest import AddRevision


class ForeignBase(DeclarativeBase):
    """Somebody else's models."""


class Candle(ForeignBase):
    """A table that is none of ours."""

    __tablename__ = "candles"
    id: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture
def watchlist() -> Iterator[Table]:
    """A user's table in our own metadata, as a model deriving from Base has."""
    table = Table(
        "watchlists",
        Base.metadata,
        Column("id", Integer, primary_key=True),
        Column("user_id", ForeignKey("users.id")),
    )
    yield table
    Base.metadata.remove(table)


async def test_creating_stamps_the_newest_revision(make_db: MakeDb) -> None:
    db = make_db()
    await migrations.create_schema(db)
    assert await migrations.current(db) == "hqt_0001"
    assert await migrations.upgrade(db) == []


async def test_creating_again_only_reads(make_db: MakeDb, statements: RecordStatements) -> None:
    db = make_db()
    await migrations.create_schema(db)
    with statements(db) as sent:
        await migrations.create_schema(db)
    assert {statement.split()[0] for statement in sent} <= {"SELECT", "PRAGMA", "SHOW"}
    assert len(sent) <= 3


async def test_tasks_creating_at_once_create_once(make_db: MakeDb) -> None:
    db = make_db()
    await asyncio.gather(*(migrations.create_schema(db) for _ in range(4)))
    await migrations.check(db)


async def test_an_older_revision_is_refused(make_db: MakeDb, add_revision: AddRevision) -> None:
    db = make_db()
    await migrations.create_schema(db)
    await add_revision("    op.create_table('toys', sa.Column('id', sa.Integer()))")
    with pytest.raises(SchemaMismatchError, match=r"at revision hqt_0001.*toy_0001.*upgrade"):
        await migrations.create_schema(db)
    assert "toys" not in await schema_of(db.engine)


async def test_a_foreign_metadata_is_created_and_never_stamped(make_db: MakeDb) -> None:
    db = make_db()
    await migrations.create_schema(db, ForeignBase)
    assert (await schema_of(db.engine)).keys() == {"candles"}
    await migrations.create_schema(db)
    await migrations.create_schema(db, ForeignBase.metadata)
    await migrations.check(db)
    await migrations.drop_schema(db, ForeignBase)
    assert "candles" not in await schema_of(db.engine)
    assert await migrations.current(db) == "hqt_0001"


async def test_a_users_table_in_our_metadata_is_created_and_ignored_by_check(
    make_db: MakeDb, watchlist: Table
) -> None:
    db = make_db()
    await migrations.create_schema(db)
    assert watchlist.name in await schema_of(db.engine)
    assert await migrations.current(db) == "hqt_0001"
    await migrations.check(db)


async def test_a_users_table_is_added_to_a_database_at_the_newest_revision(
    make_db: MakeDb, request: pytest.FixtureRequest
) -> None:
    db = make_db()
    await migrations.upgrade(db)
    table = request.getfixturevalue("watchlist")
    await migrations.create_schema(db)
    assert table.name in await schema_of(db.engine)
    await migrations.check(db)


async def test_copies_of_all_our_tables_are_stamped(make_db: MakeDb) -> None:
    merged = MetaData()
    for table in (*our_tables().values(), *ForeignBase.metadata.tables.values()):
        table.to_metadata(merged)
    db = make_db()
    await migrations.create_schema(db, merged)
    assert await migrations.current(db) == "hqt_0001"
    assert "candles" in await schema_of(db.engine)


async def test_some_of_our_tables_are_refused() -> None:
    merged = MetaData()
    our_tables()["users"].to_metadata(merged)
    no_database: Any = None  # it is refused before
    with pytest.raises(InvalidInputError, match="add all or none"):
        await migrations.create_schema(no_database, merged)


async def test_anything_but_a_metadata_is_refused() -> None:
    no_database, no_metadata = cast("Any", None), cast("Any", "users")
    with pytest.raises(InvalidInputError, match="not a value of type str"):
        await migrations.create_schema(no_database, no_metadata)


async def test_dropping_takes_the_revision_along(make_db: MakeDb) -> None:
    db = make_db()
    await migrations.create_schema(db)
    await migrations.drop_schema(db)
    assert await schema_of(db.engine) == {}
    await migrations.drop_schema(db)
    await migrations.create_schema(db)
    await migrations.check(db)


async def test_a_predecessors_tables_and_rows_stay(make_db: MakeDb) -> None:
    db = make_db()
    async with db.engine.begin() as connection:
        await connection.execute(text("CREATE TABLE live_trades (id INTEGER)"))
        await connection.execute(text("INSERT INTO live_trades VALUES (1)"))
    with pytest.raises(SchemaMismatchError, match="live_trades but no revision"):
        await migrations.create_schema(db)
    async with db.engine.connect() as connection:
        assert await connection.scalar(text("SELECT id FROM live_trades")) == 1


@pytest.mark.parametrize(
    "drop", [migrations.drop_schema, partial(migrations.downgrade, revision="base")]
)
async def test_a_table_that_others_refer_to_stays_with_all_the_rest(
    make_db: MakeDb, watchlist: Table, drop: Callable[[DatabaseManager], Awaitable[object]]
) -> None:
    db = make_db()
    await migrations.create_schema(db)
    before = await schema_of(db.engine)
    Base.metadata.remove(watchlist)
    with pytest.raises(SchemaMismatchError, match=r"watchlists refers to users\. Drop"):
        await drop(db)
    assert await schema_of(db.engine) == before
    await migrations.check(db)
    async with db.engine.begin() as connection:
        await connection.run_sync(watchlist.drop)
    await drop(db)
    assert (await schema_of(db.engine)).keys() <= {"alembic_version"}
