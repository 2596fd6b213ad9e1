"""What pg_dump wrote, of servers that are reached and laid out in other ways than usual."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import make_url

from hqt_async_db import ConfigurationError, DatabaseManager, UserRepository
from hqt_async_db.backup import DatabaseBackup
from tests.integration.test_backup.keeping import everything, fill, postgresql_tools, usernames
from tests.integration.test_repository.samples import user_row

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixtures.managers import MakeDb

TOOLS = postgresql_tools()

pytestmark = [
    pytest.mark.backends("postgresql"),
    pytest.mark.timeout(60),
    pytest.mark.skipif(TOOLS is None, reason="no pg_dump of the server's version"),
]


async def test_what_the_driver_is_told_the_programs_are_told_too(
    db: DatabaseManager, database_url: str, tmp_path: Path
) -> None:
    """User, password and database are in no URL; the one it names is another's."""
    await fill(db)
    url = make_url(database_url)
    arguments: dict[str, Any] = {
        "user": url.username,
        "password": url.password,
        "database": url.database,
        "server_settings": {"application_name": "a \\ b"},
    }
    bare = url.set(username=None, password=None, database="template1")
    async with DatabaseManager(bare, connect_args=arguments) as there:
        backup = DatabaseBackup(there)
        path = await backup.backup_database(tmp_path, tools_dir=TOOLS)
        before = await everything(db)
        await UserRepository(db).create(**user_row("later"))
        verified = await backup.verify_backup(path, tools_dir=TOOLS)
        assert verified.rows["users"] == 1  # of the scratch database, not of this one
        await backup.restore_database(path, confirm=True, tools_dir=TOOLS)
    assert await everything(db) == before


async def test_what_the_programs_cannot_be_told_is_refused(make_db: MakeDb, tmp_path: Path) -> None:
    db = make_db(connect_args={"ssl": False})
    await db.create_all()
    with pytest.raises(ConfigurationError, match=r"connect_args\['ssl'\]; put it into the URL"):
        await DatabaseBackup(db).backup_database(tmp_path, tools_dir=TOOLS)
    path = await DatabaseBackup(db).backup_database(tmp_path, format="archive")
    await DatabaseBackup(db).restore_database(path, confirm=True)
    assert await usernames(db) == []


async def test_a_manager_of_another_database_is_told_the_same(make_db: MakeDb) -> None:
    settings = {"server_settings": {"work_mem": "4MB"}, "database": "elsewhere"}
    db = make_db(connect_args=settings, statement_timeout_s=7.0, pool_size=2, echo=False)
    async with db.beside("other") as other:
        assert other.url.database == "other"
        assert other.options.connect_args == {"server_settings": {"work_mem": "4MB"}}
        assert other.options.without(["database"]) == db.options.without(["database"])
