"""What pg_dump wrote, of servers that are reached and laid out in other ways than usual."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import make_url, text

from hqt_async_db import (
    BackupVerificationError,
    ConfigurationError,
    DatabaseManager,
    SchemaMismatchError,
    UserRepository,
)
from hqt_async_db.backup import DatabaseBackup
from hqt_async_db.backup.manifest import Manifest, manifest_of_file
from hqt_async_db.backup.native.pg_dump import server_version
from hqt_async_db.backup.native.pg_tools import find_tools
from hqt_async_db.backup.snapshot import snapshot
from tests.integration.test_backup.keeping import everything, fill, postgresql_tools, usernames
from tests.integration.test_backup.programs import programs
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
    assert "elsewhere" not in repr(db.options)  # nor would a password be


async def in_schema(db: DatabaseManager, database_url: str, schema: str) -> DatabaseManager:
    """Return a manager of another schema, with tables and a user of its own."""
    async with db.session() as session:
        await session.execute(text(f'CREATE SCHEMA "{schema}"'))
    there = DatabaseManager(f"{database_url}?options=-csearch_path%3D{schema}")
    await there.create_all()
    await UserRepository(there).create(**user_row(schema))
    return there


async def test_another_schema_than_public_comes_back_into_whichever_there_is(
    db: DatabaseManager, database_url: str, tmp_path: Path
) -> None:
    await fill(db)
    in_public = await DatabaseBackup(db).backup_database(tmp_path, tools_dir=TOOLS)
    async with await in_schema(db, database_url, "bots2") as there:
        backup = DatabaseBackup(there)
        path = await backup.backup_database(tmp_path, tools_dir=TOOLS)
        await UserRepository(there).create(**user_row("later"))
        verified = await backup.verify_backup(path, tools_dir=TOOLS)
        assert verified.rows["users"] == 1
        await backup.restore_database(path, confirm=True, tools_dir=TOOLS)
        assert await usernames(there) == ["bots2"]
        assert await usernames(db) == ["keeper"]
        await backup.restore_database(in_public, confirm=True, tools_dir=TOOLS)
        assert await everything(there) == await everything(db)
    await DatabaseBackup(db).restore_database(path, confirm=True, tools_dir=TOOLS)
    assert await usernames(db) == ["bots2"]


async def test_a_schema_that_the_database_itself_prefers_comes_back(
    db: DatabaseManager, database_url: str, tmp_path: Path
) -> None:
    await fill(db)
    name = make_url(database_url).database
    await execute(db, "CREATE SCHEMA mine", f'ALTER DATABASE "{name}" SET search_path TO mine')
    async with DatabaseManager(database_url) as there:
        await there.create_all()
        await UserRepository(there).create(**user_row("mine"))
        backup = DatabaseBackup(there)
        path = await backup.backup_database(tmp_path, tools_dir=TOOLS)
        await UserRepository(there).create(**user_row("later"))
        await backup.verify_backup(path, tools_dir=TOOLS)
        await backup.restore_database(path, confirm=True, tools_dir=TOOLS)
        assert await usernames(there) == ["mine"]


FOREIGN = {
    "TRIGGER": (
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER mine BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f()",
    ),
    "POLICY": ("CREATE POLICY mine ON users",),
    "RULE": ("CREATE RULE mine AS ON DELETE TO users DO ALSO SELECT 1",),
}
HARMLESS = (
    "COMMENT ON TABLE users IS 'traders'",
    "COMMENT ON COLUMN users.username IS 'a name'",
    "CREATE PUBLICATION mine FOR TABLE users",
    "CREATE INDEX mine ON users (full_name)",
    "CREATE VIEW mine_too AS SELECT * FROM users",
)


async def execute(db: DatabaseManager, *statements: str) -> None:
    """Do what an operator may have done."""
    async with db.session() as session:
        for statement in statements:
            await session.execute(text(statement))


@pytest.mark.parametrize("kind", FOREIGN)
async def test_a_dump_that_could_not_come_back_is_not_written(
    db: DatabaseManager, tmp_path: Path, kind: str
) -> None:
    await execute(db, *FOREIGN[kind])
    with pytest.raises(SchemaMismatchError, match=rf"{kind} public users mine .*archive"):
        await DatabaseBackup(db).backup_database(tmp_path, tools_dir=TOOLS)
    assert await asyncio.to_thread(os.listdir, tmp_path) == []
    path = await DatabaseBackup(db).backup_database(tmp_path, format="archive")
    await DatabaseBackup(db).verify_backup(path)


async def test_what_an_operator_added_to_tables_does_not_get_in_the_way(
    db: DatabaseManager, tmp_path: Path
) -> None:
    await fill(db)
    await execute(db, *HARMLESS)
    before = await everything(db)
    path = await DatabaseBackup(db).backup_database(tmp_path, tools_dir=TOOLS)
    await DatabaseBackup(db).restore_database(path, confirm=True, tools_dir=TOOLS)
    assert await everything(db) == before


async def test_a_failed_restore_names_the_backup_and_the_cause_but_no_value(
    db: DatabaseManager, tmp_path: Path
) -> None:
    """A pg_restore of our own lists nothing, and fails as the real one does."""
    path = await DatabaseBackup(db).backup_database(tmp_path / "backups", tools_dir=TOOLS)
    script = (
        '[ "$1" = --version ] && echo "pg_dump (PostgreSQL) 99.1" && exit 0\n'
        '[ "$1" = --list ] && exit 0\n'
        "for last; do :; done\n"
        'echo "pg_restore: error: $last: COPY failed: ERROR:  duplicate key" >&2\n'
        'echo "DETAIL:  Key (username)=(secret" >&2; echo "secret) already exists." >&2\n'
        'echo "CONTEXT:  COPY users, line 2: secret" >&2\n'
        f'echo "pg_restore: hint: {"x" * 5000}" >&2; exit 1'
    )
    await asyncio.to_thread(programs, tmp_path, script)
    with pytest.raises(BackupVerificationError, match="COPY failed: ERROR:  dup") as raised:
        await DatabaseBackup(db).verify_backup(path, tools_dir=tmp_path)
    said = str(raised.value)
    assert said.count(str(path)) == 2
    assert "secret" not in said
    assert "hqt_scratch" not in said
    assert "pg_restore: hint" in said
    assert len(said) < 1000


async def test_tables_of_several_schemas_are_no_backup(db: DatabaseManager, tmp_path: Path) -> None:
    await fill(db)
    before = await everything(db)
    path = await DatabaseBackup(db).backup_database(tmp_path, tools_dir=TOOLS)
    for name in ("a", "b"):
        await execute(db, f"CREATE SCHEMA {name}", f"CREATE TABLE {name}.users (id INTEGER)")
    async with snapshot(db) as view:
        tools = await find_tools(db, await server_version(view), TOOLS)
    tables = ("--table=a.users", "--table=b.users")
    await tools.run("pg_dump", "--format=custom", "--no-owner", *tables, f"--file={path}")
    await asyncio.to_thread(tell_of_changed_file, path)
    with pytest.raises(BackupVerificationError, match="tables of 2 schemas"):
        await DatabaseBackup(db).restore_database(path, confirm=True, tools_dir=TOOLS)
    assert await everything(db) == before


def tell_of_changed_file(path: Path) -> None:
    """Have the manifest tell of the file as it is, as whoever knows the format can."""
    beside = manifest_of_file(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    beside.write_bytes(replace(Manifest.parse(beside.read_bytes()), sha256=sha256).to_bytes())
