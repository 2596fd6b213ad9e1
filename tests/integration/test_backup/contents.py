"""Everything that a database holds, and rows of every table with values at the edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select

from hqt_async_db import models
from hqt_async_db.backup.loading.load import load
from hqt_async_db.backup.tables import all_tables
from tests.integration.test_one_shot.rows import MODELS, PARENTS, sample_rows

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager

TEXTS = ['"', "", "a,b", "line\nfeed", "carriage\r\nreturn", "\\N", "\\.", "\t", "null", "'", "😀",
         "\x7f\x01", "\u2028", "=1+1", " ", "\\", "NULL"]  # fmt: skip


async def fill(db: DatabaseManager, rows: int = 30) -> None:
    """Put rows into every table."""
    async with db.session() as session:
        for model, values in PARENTS:
            session.add(model(**values))
            await session.flush()
        for model in MODELS:
            samples = sample_rows(model, 20 if model is models.UserSetting else rows)
            for sample in samples:
                session.add(model(**sample))
            await session.flush()
        for number, text in enumerate(TEXTS):
            session.add(models.Notification(id=900 + number, user_id=1, title=text, message=text))
        for number in range(3):
            trade = sample_rows(models.BacktestTrade, 1)[0] | {"id": (1 << 40) + number}
            await session.execute(insert(models.BacktestTrade).values(**trade))


async def everything(db: DatabaseManager) -> dict[str, list[Any]]:
    """Return all rows of all tables, doubles to the bit."""
    found = {}
    async with db.session(snapshot=True) as session:
        for table in all_tables():
            rows = await session.execute(select(table).order_by(*table.primary_key.columns))
            found[table.name] = [tuple(map(_exact, row)) for row in rows]
    return found


def _exact(value: Any) -> Any:
    return value.hex() if isinstance(value, float) else value


async def clear(db: DatabaseManager) -> None:
    """Delete every row of every table."""
    await load(db, [], mode="restore")
