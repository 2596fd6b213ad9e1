"""What dispose() waits for, and what it ends."""

from __future__ import annotations

import asyncio
import gc
import textwrap
import time
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Boolean, event, literal_column, text
from sqlalchemy.util import await_only

from hqt_async_db import BaseRepository, DatabaseClosedError, DatabaseManager
from tests.integration.test_connection.entries import (
    Entry,
    names_in,
    require_idle,
    require_write_lock_free,
)
from tests.integration.test_connection.holding import endless, until
from tests.integration.test_connection.locked import of_server, until_one_waits
from tests.integration.test_connection.test_cancellation_of_waits import LONG_STATEMENT
from tests.integration.test_connection.test_lifecycle import BEGINNING, python

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

pytestmark = pytest.mark.timeout(60)
AT_ONCE_S = 3.0
ROWS = 1500  # twice as many have a COMMIT of their own
ENDLESS = {"postgresql": "pg_sleep(60) IS NOT NULL", "mariadb": "sleep(60) = 0"}
on_servers = pytest.mark.backends("postgresql", "mariadb")
with_others = pytest.mark.backends("sqlite-file", "postgresql", "mariadb")


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Switch the collector off: nothing may be left for it to find."""
    gc.disable()
    yield
    gc.enable()


def repository(db: DatabaseManager) -> BaseRepository[Entry]:
    """Return the repository of these tests."""
    return BaseRepository(db, Entry)


def never_decided(db: DatabaseManager) -> ColumnElement[bool]:
    """Return a criterion that the database never stops working at."""
    if db.dialect_name == "sqlite":
        return endless()
    return literal_column(of_server(db, ENDLESS), Boolean)


async def disposed(db: DatabaseManager) -> None:
    """Dispose, which takes no time."""
    started = time.monotonic()
    await db.dispose()
    assert time.monotonic() - started < AT_ONCE_S


async def test_who_disposes_again_waits_for_a_commit_as_well(
    ledger: DatabaseManager, witness: DatabaseManager
) -> None:
    is_committing, may_commit = asyncio.Event(), asyncio.Event()

    @event.listens_for(ledger.engine.sync_engine, "commit")
    def _hold(_connection: object) -> None:
        is_committing.set()
        await_only(may_commit.wait())

    session = ledger.session()
    session.add(Entry(name="mine"))
    commit = asyncio.create_task(session.commit())
    await until(is_committing.is_set)
    disposals = [asyncio.create_task(ledger.dispose()) for _ in range(3)]
    done, _ = await asyncio.wait(disposals, timeout=0.02)
    assert not done
    disposals[1].cancel()
    may_commit.set()
    await asyncio.wait(disposals)
    assert commit.done()
    assert session.outcome == "committed"
    assert [disposal.cancelled() for disposal in disposals] == [False, True, False]
    await ledger.dispose()
    if witness is not ledger:
        assert await names_in(witness) == {"mine"}


@pytest.mark.parametrize("use", ["health", "optimize"])
async def test_a_look_at_the_database_is_interrupted(
    ledger: DatabaseManager, monkeypatch: pytest.MonkeyPatch, backend: str, use: str
) -> None:
    """In the middle of its work, too, which goes past the session."""
    verb = "describe" if use == "health" else "optimize"
    has_begun = asyncio.Event()

    async def hold(connection: AsyncConnection) -> dict[str, object]:
        has_begun.set()
        await connection.execute(text(LONG_STATEMENT[backend]))
        return {}

    monkeypatch.setattr(ledger._engines.backend, verb, hold)  # noqa: SLF001 - no public way to hold it
    look = asyncio.create_task(getattr(ledger, use)())
    await until(has_begun.is_set)
    await asyncio.sleep(0.02)
    await disposed(ledger)
    await asyncio.wait([look], timeout=AT_ONCE_S)
    assert look.done()
    assert isinstance(look.exception(), DatabaseClosedError)


@with_others
@pytest.mark.usefixtures("no_collector")
async def test_what_a_session_left_that_was_dropped(
    ledger: DatabaseManager, database_url: str, witness: DatabaseManager
) -> None:
    async def drop_a_session() -> None:
        session = ledger.session()
        session.add(Entry(name="mine"))
        await session.flush()

    await asyncio.create_task(drop_a_session())
    await disposed(ledger)
    if witness.dialect_name == "sqlite":
        await require_write_lock_free(database_url)
    await repository(witness).create(name="mine")  # the key would wait for the transaction
    await require_idle(witness, witness)


async def require_interrupted_reads(db: DatabaseManager) -> None:
    """Require that a read, and those who wait behind it, end with the manager."""
    await repository(db).create(name="row")
    read = asyncio.create_task(repository(db).get_many(never_decided(db)))
    waiting = [asyncio.create_task(repository(db).count()) for _ in range(3)]
    await asyncio.sleep(0.05)
    await disposed(db)
    assert read.done()
    assert isinstance(read.exception(), DatabaseClosedError)
    for task in waiting:
        assert task.done()
        assert task.exception() is None or isinstance(task.exception(), DatabaseClosedError)


async def test_a_read_is_interrupted(ledger: DatabaseManager, witness: DatabaseManager) -> None:
    await require_interrupted_reads(ledger)
    if witness is not ledger:
        await require_idle(ledger, witness)


@on_servers
@pytest.mark.parametrize("drive", ["second"], indirect=True)
async def test_a_read_of_the_second_driver_is_interrupted(
    ledger: DatabaseManager, driven_url: str
) -> None:
    driven = DatabaseManager(driven_url)
    await require_interrupted_reads(driven)
    await require_idle(ledger, ledger)


@pytest.mark.parametrize("moment", ["between two rows", "in a fetch"])
async def test_a_stream_loses_its_connection(ledger: DatabaseManager, moment: str) -> None:
    await repository(ledger).create_many([{"name": f"{n}"} for n in range(ROWS)])

    async def read_all() -> int:
        count = 0
        criteria = [] if moment == "between two rows" else [never_decided(ledger)]
        async with repository(ledger).stream(*criteria) as rows:
            async for _ in rows:
                count += 1
                if count == 1:
                    await disposed(ledger)
        return count

    reading = asyncio.create_task(read_all())
    if moment == "in a fetch":
        await asyncio.sleep(0.05)
        await disposed(ledger)
    await asyncio.wait([reading], timeout=AT_ONCE_S)
    assert reading.done()
    assert isinstance(reading.exception(), DatabaseClosedError)


@pytest.mark.backends("postgresql")
async def test_a_copy_that_waits_is_not_committed(ledger: DatabaseManager, driven_url: str) -> None:
    driven = DatabaseManager(driven_url)
    async with ledger.session() as session:
        await session.execute(text("LOCK TABLE entries IN EXCLUSIVE MODE"))
        copy = repository(driven).create_many([{"name": f"{n}"} for n in range(2 * ROWS)])
        copying = asyncio.create_task(copy)
        await until_one_waits(ledger)
        await disposed(driven)
        assert copying.done()
        assert isinstance(copying.exception(), DatabaseClosedError)
    await require_idle(ledger, ledger)
    assert await names_in(ledger) == set()


CLOSED_UNDER_A_STATEMENT = """
    import threading
    from hqt_async_db import BaseRepository

    def leave(url, kind):
        db = DatabaseManager(url)
        entries = BaseRepository(db, Entry)

        async def begin():
            await create_table(db)
            await entries.create(name=kind)
            session = db.session()
            session.add(Entry(name="mine"))
            if kind == "commit":
                await session.flush()
            works = {"read": entries.count, "write": lambda: entries.create(name="other")}
            tasks.append(asyncio.create_task(works.get(kind, session.commit)()))
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        loop = asyncio.new_event_loop()
        loop.run_until_complete(begin())
        loop.close()
        return db

    tasks = []
    for url in (sys.argv[1], "sqlite:///:memory:"):
        for kind in ("read", "write", "session", "commit"):
            asyncio.run(leave(url, kind).dispose())
    stamp()
    print(threading.active_count())
"""


@pytest.mark.backends("sqlite-file")
async def test_a_loop_that_was_closed_under_a_statement(database_url: str, backend: str) -> None:
    """A manager that outlives it can be disposed, and leaves no thread and no lock."""
    script = textwrap.dedent(BEGINNING) + textwrap.dedent(CLOSED_UNDER_A_STATEMENT)
    took_s, code, output, errors = await python(script, database_url, backend)
    assert code == 0, errors
    assert took_s < AT_ONCE_S
    assert output.splitlines()[1] == "1"
    async with DatabaseManager(database_url) as db:
        assert {"read", "write", "session", "commit"} <= await names_in(db)
        await repository(db).create(name="next")
