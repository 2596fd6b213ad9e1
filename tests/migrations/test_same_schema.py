"""Migrations, create_all and the models agree, on every backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from hqt_async_db import migrations
from hqt_async_db.errors import SchemaMismatchError
from hqt_async_db.migrations.environment import our_tables
from tests.migrations.schemas import schema_of

if TYPE_CHECKING:
    from tests.fixtures.managers import MakeDb


async def test_upgrading_and_creating_give_the_schema_of_the_models(make_db: MakeDb) -> None:
    """Autogenerate finds nothing to do after either, and both are the same to the letter."""
    db = make_db()
    await migrations.upgrade(db)
    await migrations.check(db)
    upgraded = await schema_of(db.engine)
    await migrations.drop_schema(db)
    await migrations.create_schema(db)
    await migrations.check(db)
    assert await schema_of(db.engine) == upgraded
    assert upgraded.keys() >= our_tables().keys()


async def test_downgrading_leaves_nothing_behind(make_db: MakeDb) -> None:
    db = make_db()
    await migrations.upgrade(db)
    await migrations.downgrade(db, "base")
    assert (await schema_of(db.engine)).keys() == {"alembic_version"}
    await migrations.upgrade(db)
    await migrations.check(db)


async def test_check_names_each_difference(make_db: MakeDb, backend: str) -> None:
    db = make_db()
    await migrations.create_schema(db)
    on_table = " ON users" if backend == "mariadb" else ""
    async with db.engine.begin() as connection:
        for change in (
            f"DROP INDEX ix_users_is_active{on_table}",
            "ALTER TABLE users ADD COLUMN nickname VARCHAR(5)",
            "DROP TABLE user_settings",
            "CREATE TABLE _alembic_tmp_users (id INTEGER)",
        ):
            await connection.execute(text(change))
    with pytest.raises(SchemaMismatchError) as refused:
        await migrations.check(db)
    assert {line.strip() for line in str(refused.value).splitlines()[1:]} == {
        "index users.ix_users_is_active is missing in the database",
        "column users.nickname is in the database, but not in the models",
        "table user_settings is missing in the database",
        "table _alembic_tmp_users is in the database, but not in the models",
    }


@pytest.mark.backends("postgresql", "mariadb")
async def test_check_sees_types_nulls_collations_and_constraints(
    make_db: MakeDb, backend: str
) -> None:
    changes = {
        "postgresql": (
            'ALTER TABLE users ALTER email TYPE VARCHAR(254) COLLATE "POSIX"',
            "ALTER TABLE users ALTER is_active DROP NOT NULL",
            "ALTER TABLE live_trades ALTER volume TYPE NUMERIC(20, 8)",
            "ALTER TABLE live_trades DROP CONSTRAINT ck_live_trades_direction",
        ),
        "mariadb": (
            "ALTER TABLE users MODIFY email VARCHAR(254) COLLATE utf8mb4_general_ci NOT NULL",
            "ALTER TABLE users MODIFY is_active BOOL",
            "ALTER TABLE live_trades MODIFY volume NUMERIC(20, 8) NOT NULL",
            "ALTER TABLE live_trades DROP CONSTRAINT ck_live_trades_direction",
        ),
    }[backend]
    db = make_db()
    await migrations.create_schema(db)
    async with db.engine.begin() as connection:
        for change in changes:
            await connection.execute(text(change))
    with pytest.raises(SchemaMismatchError) as refused:
        await migrations.check(db)
    found = str(refused.value).splitlines()[1:]
    assert len(found) == len(changes)
    for expected in (
        "column users.email: type is VARCHAR(",
        "column users.is_active: nullable is True in the database and False in the models",
        "column live_trades.volume: type is",
        "constraint live_trades.ck_live_trades_direction is missing in the database",
    ):
        assert [line for line in found if line.strip().startswith(expected)], (expected, found)
