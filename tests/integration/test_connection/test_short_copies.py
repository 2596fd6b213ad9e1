"""A few rows copied into PostgreSQL, which is a transaction without BEGIN and COMMIT."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import text

from hqt_async_db import (
    CommitOutcomeUnknownError,
    ConnectionFailedError,
    DatabaseManager,
    DeadlineExceededError,
    DuplicateKeyError,
)
from tests.integration.test_connection.entries import names_in, require_idle
from tests.integration.test_connection.holding import until
from tests.integration.test_connection.lines import COPY_DONE, Proxy
from tests.integration.test_connection.locked import repository, until_one_waits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fixtures.managers import MakeDb

pytestmark = pytest.mark.backends("postgresql")

_BRACKETS: Final = re.compile(rb"BEGIN|COMMIT")
_END_OTHERS: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_LONGEST_S: Final = 3.0


def _rows(count: int = 3) -> list[dict[str, Any]]:
    return [{"name": f"{number}"} for number in range(count)]


@pytest.fixture
async def line(database_url: str, ledger: DatabaseManager) -> AsyncIterator[Proxy]:
    """The line to a database that has the table."""
    del ledger
    async with Proxy(database_url) as proxy:
        yield proxy


@pytest.fixture
async def db(line: Proxy) -> AsyncIterator[DatabaseManager]:
    """A manager at the end of the line, with a connection that has copied before."""
    async with DatabaseManager(line.url, pool_size=1, max_overflow=0, commit_timeout_s=1) as db:
        await repository(db).create_many([{"name": "warm"}])
        yield db


async def test_a_few_rows_are_one_statement(db: DatabaseManager, line: Proxy) -> None:
    line.arm("watch", _BRACKETS)
    before = line.requests
    assert await repository(db).create_many(_rows()) == 3
    assert line.requests - before <= 3  # the statement; the rows; their end
    assert not line.has_seen_commit.is_set()
    assert await repository(db).create_many({"name": f"many {n}"} for n in range(2001)) == 2001
    assert line.has_seen_commit.is_set()


@pytest.mark.parametrize("count", [2, 2001])
async def test_a_column_that_has_another_type_gets_no_bytes_of_the_old_one(
    db: DatabaseManager, ledger: DatabaseManager, count: int
) -> None:
    """Four bytes of an integer are four bytes of a real, too."""
    for kind in ("real", "bigint", "numeric(12, 2)", "integer"):
        async with ledger.engine.begin() as connection:
            await connection.execute(text(f"ALTER TABLE entries ALTER COLUMN amount TYPE {kind}"))
        for again in ("first", "again"):
            new = [{"name": f"{kind} {again} {n}", "amount": 100 + n} for n in range(count)]
            assert await repository(db).create_many(new) == count
    async with ledger.session(read_only=True) as session:
        found = (await session.execute(text("SELECT name, amount FROM entries"))).all()
    stored = [(name, amount) for name, amount in found if name != "warm"]
    assert len(stored) == 8 * count
    assert all(amount == 100 + int(name.split()[-1]) for name, amount in stored)
    assert (await db.health())["unknown_outcomes"] == 0


async def test_the_end_that_nobody_answers_is_in_doubt(
    db: DatabaseManager, line: Proxy, ledger: DatabaseManager
) -> None:
    line.arm("hold answer", COPY_DONE)
    with pytest.raises(CommitOutcomeUnknownError):
        await repository(db).create_many(_rows())
    line.release()
    assert await names_in(ledger) == {"warm", "0", "1", "2"}
    assert (await db.health())["unknown_outcomes"] == 1


async def test_a_line_cut_at_the_end_is_in_doubt(
    db: DatabaseManager, line: Proxy, ledger: DatabaseManager
) -> None:
    line.arm("cut", COPY_DONE)
    with pytest.raises(CommitOutcomeUnknownError):
        await repository(db).create_many(_rows())
    line.release()
    assert await names_in(ledger) == {"warm"}
    assert await repository(db).create_many(_rows()) == 3


async def test_a_connection_that_was_lost_before_is_in_no_doubt(
    db: DatabaseManager, ledger: DatabaseManager
) -> None:
    async with db.session() as session:
        pooled = await (await session.connection()).get_raw_connection()
        driver: Any = pooled.driver_connection
    async with ledger.session() as session:
        await session.execute(text(_END_OTHERS))
    await until(driver.is_closed)
    with suppress(ConnectionFailedError):
        await repository(db).create_many(_rows())
    assert (await db.health())["unknown_outcomes"] == 0
    await repository(db).create_many([{"name": "later"}])
    assert {"warm", "later"} <= await names_in(ledger)


async def test_a_duplicate_is_an_error_and_no_more(db: DatabaseManager) -> None:
    before = await _connection_of(db)
    with pytest.raises(DuplicateKeyError, match="name"):
        await repository(db).create_many([*_rows(), {"name": "0"}])
    assert await names_in(db) == {"warm"}
    assert await _connection_of(db) == before
    assert (await db.health())["rollbacks"] == 1


async def _connection_of(db: DatabaseManager) -> int:
    async with db.session() as session:
        return int(await session.scalar(text("SELECT pg_backend_pid()")) or 0)


async def _lock_table(db: DatabaseManager, session: Any) -> None:
    """Keep everybody from the table."""
    del db
    await session.execute(text("LOCK TABLE entries IN ACCESS EXCLUSIVE MODE"))


async def _insert_the_same(db: DatabaseManager, session: Any) -> None:
    """Keep everybody waiting who stores the same name."""
    del db
    await session.execute(text("INSERT INTO entries (name, amount) VALUES ('1', 0)"))


@pytest.mark.parametrize("lock", [_lock_table, _insert_the_same])
async def test_cancelled_while_it_waits_for_a_lock_it_ends_at_once(
    db: DatabaseManager, ledger: DatabaseManager, make_db: MakeDb, lock: Any
) -> None:
    witness = make_db()
    await witness.warm_up()  # to connect takes long on a busy machine, and the copy's time is short
    async with ledger.session() as session:
        await lock(ledger, session)
        copying = asyncio.create_task(repository(db).create_many(_rows()))
        await until_one_waits(witness)
        began = time.monotonic()
        copying.cancel()
        await asyncio.wait([copying])
        assert copying.cancelled()
        assert time.monotonic() - began < _LONGEST_S
        await session.rollback()
    await require_idle(db, witness)
    assert await names_in(db) == {"warm"}
    figures = await db.health()
    assert (figures["rollbacks"], figures["unknown_outcomes"]) == (1, 0)
    assert await repository(db).create_many(_rows()) == 3


async def test_what_waits_for_a_lock_too_long_is_not_stored(
    db: DatabaseManager, ledger: DatabaseManager
) -> None:
    async with ledger.session() as session:
        await _insert_the_same(ledger, session)
        with pytest.raises(DeadlineExceededError):
            await repository(db).create_many(_rows())
        await session.rollback()
    assert await names_in(db) == {"warm"}
