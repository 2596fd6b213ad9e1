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


async def test_upgrading_and_creating_give_the_same_schema(make_db: MakeDb) -> None:
    db = make_db()
    await migrations.upgrade(db)
    upgraded = await schema_of(db.engine)
    await migrations.drop_schema(db)
    await migrations.create_schema(db)
    assert await schema_of(db.engine) == upgraded
    assert upgraded.keys() >= our_tables().keys()


async def test_autogenerate_finds_nothing_after_an_upgrade(make_db: MakeDb) -> None:
    db = make_db()
    await migrations.upgrade(db)
    await migrations.check(db)


async def test_autogenerate_finds_nothing_after_creating(make_db: MakeDb) -> None:
    db = make_db()
    await migrations.create_schema(db)
    await migrations.check(db)


async def test_downgrading_leaves_nothing_behind(make_db: MakeDb) -> None:
    db = make_db()
    await migrations.upgrade(db)
    await migrations.downgrade(db, "base")
    assert (await schema_of(db.engine)).keys() == {"alembic_version"}
    await migrations.upgrade(db)
    await migrations.check(db)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("DROP INDEX ix_users_is_active", "ix_users_is_active is missing in the database"),
        ("ALTER TABLE users ADD COLUMN nickname VARCHAR(5)", "column users.nickname is in the"),
        ("DROP TABLE user_settings", "table user_settings is missing in the database"),
        ("CREATE TABLE _alembic_tmp_users (id INTEGER)", "table _alembic_tmp_users is in the"),
    ],
)
async def test_check_names_each_difference(make_db: MakeDb, change: str, expected: str) -> None:
    db = make_db()
    await migrations.create_schema(db)
    async with db.engine.begin() as connection:
        if connection.dialect.name in ("mysql", "mariadb"):
            change = change.replace("is_active", "is_active ON users", 1)
        await connection.execute(text(change))
    with pytest.raises(SchemaMismatchError, match=expected):
        await migrations.check(db)
