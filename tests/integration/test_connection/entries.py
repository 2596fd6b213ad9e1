"""Two small tables, and what a second connection can see of it."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import String, make_url, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

if TYPE_CHECKING:
    from hqt_async_db.connection.manager import DatabaseManager

_PATIENCE_S: Final = 5.0
# InnoDB shows a copy of its transactions, and renews it 0.1 s after the last look at the earliest.
_LOOK_AGAIN_S: Final = {"sqlite": 0.002, "postgresql": 0.002, "mariadb": 0.12}
_OPEN_TRANSACTIONS: Final = {
    "sqlite": None,
    "postgresql": (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND (xact_start IS NOT NULL OR state = 'active')"
    ),
    "mariadb": (
        "SELECT count(*) FROM information_schema.processlist p LEFT JOIN "
        "information_schema.innodb_trx t ON t.trx_mysql_thread_id = p.id WHERE p.db = database() "
        "AND p.id <> connection_id() AND (t.trx_id IS NOT NULL OR p.command <> 'Sleep')"
    ),
}


class Base(DeclarativeBase):
    """What these tests map."""


class Entry(Base):
    """A name, and a number to change."""

    __tablename__ = "entries"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(60), unique=True)
    amount: Mapped[int] = mapped_column(default=0)


class Counter(Base):
    """A number whose row counts its versions."""

    __tablename__ = "counters"

    id: Mapped[int] = mapped_column(primary_key=True)
    amount: Mapped[int] = mapped_column(default=0)
    version: Mapped[int] = mapped_column()
    __mapper_args__: Any = {"version_id_col": version}  # noqa: RUF012 - read once


async def create_table(db: DatabaseManager) -> None:
    """Create the tables."""
    async with db.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)


async def names_in(db: DatabaseManager) -> set[str]:
    """Return the committed names."""
    async with db.session(read_only=True) as session:
        return set(await session.scalars(select(Entry.name)))


async def amount_of(db: DatabaseManager, name: str) -> int:
    """Return the committed amount of an entry."""
    async with db.session(read_only=True) as session:
        return (await session.scalars(select(Entry.amount).where(Entry.name == name))).one()


async def require_write_lock_free(url: str, *, within_s: float = 0.0) -> None:
    """Take the write lock of a SQLite file, at once, as another process would.

    Args:
        url: Of the file.
        within_s: How long an attempt at the lock that was under way may still take.
    """
    path = make_url(url).database
    assert path is not None

    def take() -> None:
        with closing(sqlite3.connect(path, timeout=within_s, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")

    await asyncio.to_thread(take)


async def require_idle(db: DatabaseManager, witness: DatabaseManager) -> None:
    """Require that nothing is checked out, running or open, a little later at most."""
    deadline = time.monotonic() + _PATIENCE_S
    while what := await _what_is_left(db, witness):
        assert time.monotonic() < deadline, what
        await asyncio.sleep(_LOOK_AGAIN_S[db.dialect_name])


async def _what_is_left(db: DatabaseManager, witness: DatabaseManager) -> str:
    for role, figures in db.pool_status().items():
        if figures["in_use"]:
            return f"{role} pool: {figures['holders']}"
    ours = [task for task in asyncio.all_tasks() if task.get_name().startswith("hqt_async_db")]
    if ours:
        return f"tasks: {ours}"
    query = _OPEN_TRANSACTIONS[db.dialect_name]
    if query is not None:
        async with witness.session(read_only=True) as session:
            if count := await session.scalar(text(query)):
                return f"{count} open transactions on the server"
    return ""
