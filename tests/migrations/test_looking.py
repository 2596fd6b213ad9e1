"""Whoever only looks at the schema of a SQLite file leaves the file as it is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hqt_async_db import DatabaseManager, migrations
from hqt_async_db.backup import DatabaseBackup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from typing import Any

pytestmark = pytest.mark.backends("sqlite-file")


@pytest.mark.parametrize("look", [migrations.current, migrations.history, migrations.check])
async def test_a_backup_can_still_be_restored(
    db: DatabaseManager, tmp_path: Path, look: Callable[[DatabaseManager], Awaitable[Any]]
) -> None:
    path = await DatabaseBackup(db).backup_database(tmp_path)
    before = await asyncio.to_thread(path.read_bytes)
    async with DatabaseManager(f"sqlite:///{path}") as copy:
        await look(copy)
    assert await asyncio.to_thread(path.read_bytes) == before


async def test_a_file_that_is_not_there_has_no_revision(tmp_path: Path) -> None:
    async with DatabaseManager(f"sqlite:///{tmp_path / 'new.db'}") as new:
        assert await migrations.current(new) is None
