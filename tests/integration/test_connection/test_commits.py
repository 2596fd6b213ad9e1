"""A commit is whole, waited for, and truthful about what cannot be known."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, make_url, select, text, update

from hqt_async_db import (
    CommitOutcomeUnknownError,
    ConnectionFailedError,
    DatabaseManager,
    DeadlineExceededError,
    DeadlockError,
    ForeignKeyViolationError,
    StatementFailedError,
    TransactionEndedError,
    TransientError,
)
from tests.integration.test_connection.entries import (
    Entry,
    create_table,
    names_in,
    require_idle,
    require_write_lock_free,
)
from tests.integration.test_connection.lines import Action, Proxy, occupied_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hqt_async_db.connection.sessions.session import Session
    from tests.fixtures.managers import MakeDb

COMMIT_TIMEOUT_S = 0.4
WAIT_FOR_LOCK = (
    "CREATE FUNCTION wait_for_lock() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$"
)
AT_COMMIT = (
    "CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON entries DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW EXECUTE FUNCTION wait_for_lock()"
)
TERMINATE_WHO_WAITS_FOR_LOCK = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'advisory'"
)


class Line:
    """A manager whose commits can be kept from ending."""

    def __init__(self, db: DatabaseManager, witness: DatabaseManager, proxy: Proxy | None) -> None:
        self.db = db
        self.witness = witness
        self.proxy = proxy

    async def begin(self, name: str) -> Session:
        """Return a session that has inserted a row."""
        session = self.db.session()
        session.add(Entry(name=name))
        await session.flush()
        return session

    @asynccontextmanager
    async def stalled(
        self, session: Session, action: Action = "hold answer"
    ) -> AsyncIterator[None]:
        """Keep the session's COMMIT, or the answer to it, from arriving."""
        if self.proxy is None:
            async with occupied_thread(session):
                yield
            return
        self.proxy.arm(action)
        try:
            yield
        finally:
            self.proxy.release()

    async def commit_is_on_its_way(self) -> None:
        """Wait until COMMIT was sent."""
        if self.proxy is None:
            await asyncio.sleep(0.01)  # it waits for the thread, which nothing shows
        else:
            await self.proxy.has_seen_commit.wait()


@pytest.fixture
async def line(database_url: str, backend: str, make_db: MakeDb) -> AsyncIterator[Line]:
    """Its manager gives a commit less than half a second."""
    if backend.startswith("sqlite"):
        db = make_db(commit_timeout_s=COMMIT_TIMEOUT_S)
        await create_table(db)
        yield Line(db, db if backend == "sqlite-memory" else make_db(), None)
        return
    witness = make_db()
    await create_table(witness)
    async with (
        Proxy(database_url) as proxy,
        DatabaseManager(proxy.url, commit_timeout_s=COMMIT_TIMEOUT_S) as db,
    ):
        yield Line(db, witness, proxy)


async def test_a_cancelled_caller_waits_for_the_end(line: Line) -> None:
    session = await line.begin("mine")
    async with line.stalled(session):
        task = asyncio.create_task(session.commit())
        await line.commit_is_on_its_way()
        task.cancel()
        await asyncio.sleep(0.02)
        assert not task.done()
    await asyncio.wait([task])
    assert task.cancelled()
    assert session.outcome == "committed"
    await session.close()
    assert await names_in(line.witness) == {"mine"}
    await require_idle(line.db, line.witness)


@pytest.mark.parametrize("action", ["hold request", "hold answer"])
async def test_no_answer_in_time(line: Line, action: Action) -> None:
    session = await line.begin("mine")
    async with line.stalled(session, action):
        started = time.monotonic()
        with pytest.raises(CommitOutcomeUnknownError):
            await session.commit()
        assert COMMIT_TIMEOUT_S <= time.monotonic() - started < COMMIT_TIMEOUT_S + 2
        assert session.outcome == "unknown"
        with pytest.raises(ConnectionFailedError):
            await session.execute(select(Entry))
        await session.close()
        assert session.outcome == "unknown"
    await require_idle(line.db, line.witness)
    async with line.db.session() as another:
        another.add(Entry(name="another"))
    assert another.outcome == "committed"


async def test_no_answer_to_a_cancelled_caller(line: Line) -> None:
    session = await line.begin("mine")
    async with line.stalled(session):
        task = asyncio.create_task(session.commit())
        await line.commit_is_on_its_way()
        task.cancel()
        started = time.monotonic()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert time.monotonic() - started < COMMIT_TIMEOUT_S + 2
    assert isinstance(caught.value.__cause__, CommitOutcomeUnknownError)
    assert session.outcome == "unknown"
    await session.close()
    await require_idle(line.db, line.witness)


@pytest.mark.backends("postgresql", "mariadb")
async def test_a_connection_that_breaks_meanwhile(line: Line) -> None:
    assert line.proxy is not None
    async with line.db.session() as session:
        await session.connection()  # which is COMMIT as well, to some drivers
    line.proxy.arm("cut")
    attempts: list[Session] = []

    async def work(session: Session) -> None:
        attempts.append(session)
        session.add(Entry(name="mine"))

    with pytest.raises(CommitOutcomeUnknownError):
        await line.db.run(work, attempts=5)
    assert [session.outcome for session in attempts] == ["unknown"]
    line.proxy.release()
    await require_idle(line.db, line.witness)
    assert await line.db.ping() > 0


@pytest.mark.backends("postgresql")
async def test_a_backend_that_is_terminated_in_its_commit(
    ledger: DatabaseManager, witness: DatabaseManager
) -> None:
    async with ledger.engine.begin() as connection:
        await connection.execute(text(WAIT_FOR_LOCK))
        await connection.execute(text(AT_COMMIT))
    async with witness.session() as blocker:
        await blocker.execute(text("SELECT pg_advisory_lock(1)"))
        session = ledger.session()
        session.add(Entry(name="mine"))
        task = asyncio.create_task(session.commit())
        while not await blocker.scalar(text(TERMINATE_WHO_WAITS_FOR_LOCK)):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.005)
        with pytest.raises(CommitOutcomeUnknownError):
            await task
        await blocker.execute(text("SELECT pg_advisory_unlock(1)"))
    assert session.outcome == "unknown"
    await session.close()
    assert await names_in(witness) == set()


@pytest.mark.backends("sqlite-file", "sqlite-memory", "postgresql")
async def test_a_refusal_is_no_doubt(ledger: DatabaseManager, witness: DatabaseManager) -> None:
    async with ledger.session() as session:
        await session.execute(
            text(
                "CREATE TABLE children (parent INTEGER REFERENCES entries (id) "
                "DEFERRABLE INITIALLY DEFERRED)"
            )
        )
    session = ledger.session()
    session.add(Entry(name="mine"))
    await session.execute(text("INSERT INTO children VALUES (12345)"))
    with pytest.raises(ForeignKeyViolationError):
        await session.commit()
    assert session.outcome == "rolled_back"
    await session.rollback()
    session.add(Entry(name="another"))
    await session.commit()
    await session.close()
    assert await names_in(witness) == {"another"}
    await require_idle(ledger, witness)


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_a_loop_that_ends_meanwhile(
    line: Line, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    if line.proxy is not None:
        database_url = line.proxy.url
        asyncio.get_running_loop().call_later(0.3, line.proxy.release)
    sessions = await asyncio.to_thread(leave_in_mid_commit, database_url, line.proxy)
    assert [session.outcome for session in sessions] == ["unknown"]
    told = [r for r in caplog.records if r.name == "hqt_async_db" and r.levelno >= logging.ERROR]
    assert len(told) == 1
    assert "unknown" in told[0].message


def leave_in_mid_commit(url: str, proxy: Proxy | None) -> list[Session]:
    """Run a loop of one's own that ends while a commit is on its way."""
    sessions: list[Session] = []

    async def main() -> None:
        tasks: list[asyncio.Task[None]] = []
        db = DatabaseManager(url)
        session = db.session()
        sessions.append(session)
        session.add(Entry(name="mine"))
        await session.flush()
        if proxy is not None:
            proxy.arm("hold answer")
        else:
            raw = (await (await session.connection()).get_raw_connection()).driver_connection
            assert raw is not None
            leave = threading.Event()
            threading.Timer(0.1, leave.set).start()
            occupation = raw._execute(leave.wait)  # noqa: SLF001 - nothing else occupies it
            tasks.append(asyncio.create_task(occupation))
            await asyncio.sleep(0)
        tasks.append(asyncio.create_task(session.commit()))
        _, pending = await asyncio.wait(tasks, timeout=0.05)
        assert len(pending) == len(tasks)

    asyncio.run(main())
    return sessions


@pytest.mark.backends("sqlite-file")
async def test_a_commit_of_what_sqlite_rolled_back_leaves_no_turn(line: Line) -> None:
    async with line.db.session() as other:
        await other.scalars(select(Entry.id))  # holds one connection, so that two are used
        session = await line.begin("lost")
        connection = await session.connection()
        raw = (await connection.get_raw_connection()).driver_connection
        assert raw is not None
        await raw.execute("ROLLBACK")  # as SQLite does after an error of the disk
        with pytest.raises(TransientError):
            await session.commit()
        await session.close()
        other.add(Entry(name="mine"))
    assert await names_in(line.witness) == {"mine"}


@pytest.mark.backends("sqlite-file")
async def test_a_refused_commit_leaves_no_transaction_and_no_turn(
    line: Line, database_url: str
) -> None:
    """SQLAlchemy rolls back no connection whose COMMIT failed."""
    async with line.db.engine.begin() as connection:
        await connection.exec_driver_sql(
            "CREATE TABLE notes (id INTEGER REFERENCES entries (id) DEFERRABLE INITIALLY DEFERRED)"
        )
    async with line.db.session() as other:
        await other.scalars(select(Entry.id))  # holds one connection, so that two are used
        with pytest.raises(ForeignKeyViolationError):
            async with line.db.session() as session:
                await session.execute(text("INSERT INTO notes VALUES (404)"))
        assert session.outcome == "rolled_back"
        await require_write_lock_free(database_url)
        other.add(Entry(name="mine"))
    assert await names_in(line.witness) == {"mine"}


class TestAnErrorThatWasSwallowed:
    """The server may have ended the transaction; then it must not count as committed."""

    @pytest.mark.parametrize("driver", ["", "psycopg"])
    @pytest.mark.backends("postgresql")
    async def test_a_failed_statement_on_postgresql(
        self, ledger: DatabaseManager, database_url: str, driver: str
    ) -> None:
        url = make_url(database_url)
        if driver:
            url = url.set(drivername=f"postgresql+{driver}")
        async with DatabaseManager(url) as db:
            session = db.session()
            session.add(Entry(name="mine"))
            await session.flush()
            with pytest.raises(StatementFailedError):
                await session.execute(text("SELECT * FROM no_such_table"))
            with pytest.raises(TransactionEndedError):
                await session.commit()
            assert session.outcome == "rolled_back"
            await session.rollback()
            session.add(Entry(name="another"))
            await session.commit()
            await session.close()
        assert await names_in(ledger) == {"another"}

    @pytest.mark.backends("mariadb")
    async def test_a_deadlock_on_mariadb(self, ledger: DatabaseManager) -> None:
        async with ledger.session() as session:
            session.add_all([Entry(name="one"), Entry(name="other")])
        ended: list[Session] = []

        async def update_both(first: str, second: str, together: asyncio.Barrier) -> None:
            session = ledger.session()
            await session.execute(update(Entry).where(Entry.name == first).values(amount=1))
            await together.wait()
            try:
                await session.execute(update(Entry).where(Entry.name == second).values(amount=1))
            except DeadlockError:
                ended.append(session)
                with pytest.raises(TransientError):
                    await session.execute(insert(Entry).values(name="half", amount=0))
                with pytest.raises(TransientError):
                    await session.commit()
                await session.rollback()
                session.add(Entry(name="whole"))
            await session.commit()
            await session.close()

        together = asyncio.Barrier(2)
        await asyncio.gather(
            update_both("one", "other", together), update_both("other", "one", together)
        )
        assert len(ended) == 1
        assert await names_in(ledger) == {"one", "other", "whole"}

    @pytest.mark.backends("sqlite-file", "sqlite-memory")
    async def test_an_interrupted_write_on_sqlite(self, make_db: MakeDb) -> None:
        db = make_db(statement_timeout_s=0.2)
        await create_table(db)
        session = db.session()
        session.add(Entry(name="mine"))
        await session.flush()
        with pytest.raises(DeadlineExceededError):
            await session.execute(
                text(
                    "INSERT INTO entries (name, amount) WITH RECURSIVE n(i) AS "
                    "(SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT 'n' || i, i FROM n"
                )
            )
        with pytest.raises(TransientError):
            await session.commit()
        assert session.outcome == "rolled_back"
        await session.rollback()
        session.add(Entry(name="next"))
        await session.commit()
        await session.close()
        assert await names_in(db) == {"next"}
