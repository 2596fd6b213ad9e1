"""Backups, verifications and restores leave the event loop to the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hqt_async_db import TradeRepository
from hqt_async_db.backup import DatabaseBackup
from tests.integration.steps import longest_step_ms
from tests.integration.test_backup.keeping import fill

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from typing import Any

    from hqt_async_db import DatabaseManager

TRADES = 5000
# A step aims at less than one; other processes and a cold cache make some longer.
STEP_MS = 10.0
ATTEMPTS = 4


async def shortest(work: Callable[[], Awaitable[Any]]) -> float:
    """Return the longest step of the best attempt: a busy machine makes one long by chance."""
    return min([(await longest_step_ms(work()))[0] for _ in range(ATTEMPTS)])


@pytest.mark.timeout(60)
@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_each_step_is_short(db: DatabaseManager, tmp_path: Path) -> None:
    await fill(db, TRADES)
    backup = DatabaseBackup(db)
    path = await backup.backup_database(tmp_path, format="archive")  # warm
    steps = {
        "backup": await shortest(lambda: backup.backup_database(tmp_path, format="archive")),
        "verify": await shortest(lambda: backup.verify_backup(path)),
        "restore": await shortest(lambda: backup.restore_database(path, confirm=True)),
    }
    if db.dialect_name == "sqlite":
        steps["file"] = await shortest(lambda: backup.backup_database(tmp_path))
    assert max(steps.values()) < STEP_MS, steps
    assert await TradeRepository(db).count() == TRADES
