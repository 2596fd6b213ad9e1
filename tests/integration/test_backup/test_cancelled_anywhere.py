"""Restores and copies cancelled at each of their awaits in turn.

Every thirtieth of them, unless the variable HQT_TEST_EVERY_AWAIT is set.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from typing import TYPE_CHECKING

import pytest

from hqt_async_db import DatabaseManager, UserRepository
from hqt_async_db.backup import DatabaseBackup
from hqt_async_db.backup.copying import copy_database
from tests.integration.test_backup.contents import clear
from tests.integration.test_backup.keeping import everything, fill, postgresql_tools
from tests.integration.test_connection.cancelling import (
    TRIES_ALL,
    Point,
    cancelled,
    every_await,
)
from tests.integration.test_connection.entries import require_idle
from tests.integration.test_repository.samples import user_row

if TYPE_CHECKING:
    from pathlib import Path

    from hqt_async_db.backup.backups import BackupFormat
    from tests.fixtures.managers import MakeDb, RecordStatements
    from tests.integration.test_connection.cancelling import Moment
    from tests.servers.admin import Admin

TOOLS = postgresql_tools()
STEP = 1 if TRIES_ALL else 30
# The two moments are tried at different awaits.
FIRST: dict[Moment, int] = {"asleep": 1, "waking": 1 + STEP // 2}

pytestmark = pytest.mark.timeout(120 if STEP > 1 else 600)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's temporary files go."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


@pytest.fixture
def witness(db: DatabaseManager, make_db: MakeDb, backend: str) -> DatabaseManager:
    """Another manager of the database, where it is not in the memory of one."""
    return db if backend == "sqlite-memory" else make_db()


def take_all_but(path: Path) -> list[str]:
    """Return what lies beside a backup, and delete it."""
    beside = [one for one in path.parent.iterdir() if not one.name.startswith(path.name)]
    for one in beside:
        one.unlink()
    return [one.name for one in beside]


class Restoring:
    """A restore over one user more, again and again."""

    def __init__(self, db: DatabaseManager, witness: DatabaseManager, scratch: Path) -> None:
        self._db = db
        self._witness = witness
        self._scratch = scratch
        self._old: dict[str, bytes] = {}
        self._new: dict[str, bytes] = {}
        self._path = scratch

    async def prepare(self, directory: Path, form: BackupFormat) -> None:
        """Write the backup."""
        await fill(self._db, 3)
        self._new = await everything(self._db)
        self._path = await DatabaseBackup(self._db).backup_database(
            directory, format=form, tools_dir=TOOLS
        )
        await self._add_user()

    async def _add_user(self) -> None:
        await UserRepository(self._db).create(**user_row("later"))
        self._old = await everything(self._db)

    async def trial(self, point: Point) -> None:
        """Cancel it once; the old data or the new is there, and nothing else anywhere."""
        backup = DatabaseBackup(self._db)
        work = backup.restore_database(self._path, confirm=True, tools_dir=TOOLS)
        await cancelled(point, work)
        found = await everything(self._witness)
        assert found in (self._old, self._new), point
        assert await asyncio.to_thread(os.listdir, self._scratch) == [], point
        beside = await asyncio.to_thread(take_all_but, self._path)
        assert not [name for name in beside if name.startswith(".")], point
        await require_idle(self._db, self._witness)
        if found == self._new:
            await self._add_user()


@pytest.mark.parametrize("moment", ["asleep", "waking"])
async def test_a_restore_cancelled_at_any_await_leaves_the_old_or_the_new(
    db: DatabaseManager, witness: DatabaseManager, scratch: Path, tmp_path: Path, moment: Moment
) -> None:
    restoring = Restoring(db, witness, scratch)
    await restoring.prepare(tmp_path / "backups", "archive")
    assert await every_await(restoring.trial, moment, first=FIRST[moment], step=STEP) > 100


@pytest.mark.backends("sqlite-file")
@pytest.mark.parametrize("moment", ["asleep", "waking"])
async def test_a_file_restored_over_another_is_the_old_or_the_new(
    db: DatabaseManager, witness: DatabaseManager, scratch: Path, tmp_path: Path, moment: Moment
) -> None:
    restoring = Restoring(db, witness, scratch)
    await restoring.prepare(tmp_path / "backups", "native")
    assert await every_await(restoring.trial, moment, first=FIRST[moment], step=STEP) > 50


@pytest.mark.backends("postgresql")
@pytest.mark.skipif(TOOLS is None, reason="no pg_dump of the server's version")
@pytest.mark.parametrize("moment", ["asleep", "waking"])
async def test_a_dump_restored_leaves_no_scratch_database_either(  # noqa: PLR0913, PLR0917 - its fixtures
    db: DatabaseManager,
    witness: DatabaseManager,
    scratch: Path,
    tmp_path: Path,
    server: Admin,
    statements: RecordStatements,
    moment: Moment,
) -> None:
    restoring = Restoring(db, witness, scratch)
    await restoring.prepare(tmp_path / "backups", "native")
    with statements(db) as sent:
        awaits = await every_await(
            restoring.trial, moment, at_most=800, first=FIRST[moment], step=2 * STEP
        )
        left = await asyncio.to_thread(server.databases, "hqt_scratch_")
    assert awaits > 200
    assert any("CREATE DATABASE" in statement for statement in sent)
    assert [name for name in left if any(name in statement for statement in sent)] == []


@pytest.mark.parametrize("moment", ["asleep", "waking"])
async def test_a_copy_cancelled_at_any_await_is_whole_or_not_there(
    db: DatabaseManager, witness: DatabaseManager, scratch: Path, tmp_path: Path, moment: Moment
) -> None:
    async with DatabaseManager(f"sqlite:///{tmp_path}/source.db") as source:
        await source.create_all()
        await fill(source, 3)
        nothing, all_of_it = await everything(db), await everything(source)

        async def trial(point: Point) -> None:
            await cancelled(point, copy_database(source, db))
            found = await everything(witness)
            assert found in (nothing, all_of_it), point
            assert await asyncio.to_thread(os.listdir, scratch) == [], point
            await require_idle(db, witness)
            await require_idle(source, source)
            if found == all_of_it:
                await clear(db)

        assert await every_await(trial, moment, first=FIRST[moment], step=STEP) > 100
        assert await everything(source) == all_of_it
