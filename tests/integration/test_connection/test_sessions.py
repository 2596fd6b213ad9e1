"""Sessions: how they begin and end, and what their outcome says."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import InvalidRequestError, PendingRollbackError

from hqt_async_db import DuplicateKeyError, Receipt, SessionInUseError, StatementFailedError
from tests.integration.test_connection.entries import Entry, names_in, require_idle

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager, Session
    from hqt_async_db.connection.sessions.transaction import Outcome


def outcome_of(session: Session) -> Outcome | None:
    return session.outcome


async def test_leaving_the_block_commits(ledger: DatabaseManager) -> None:
    async with ledger.session() as session:
        assert outcome_of(session) is None
        session.add(Entry(name="mine"))
        await session.execute(update(Entry).values(amount=1))
    assert session.receipt == Receipt("committed", frozenset({"entries"}))
    assert await names_in(ledger) == {"mine"}
    await require_idle(ledger, ledger)


async def test_an_exception_rolls_back(ledger: DatabaseManager) -> None:
    session = ledger.session()

    async def fail() -> None:
        async with session:
            session.add(Entry(name="mine"))
            await session.flush()
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert session.outcome == "rolled_back"
    assert await names_in(ledger) == set()
    await require_idle(ledger, ledger)


async def test_a_refused_commit_rolls_back(ledger: DatabaseManager) -> None:
    with pytest.raises(DuplicateKeyError):
        async with ledger.session() as session:
            session.add_all([Entry(name="mine"), Entry(name="mine")])
    assert session.outcome == "rolled_back"
    assert await names_in(ledger) == set()
    await require_idle(ledger, ledger)


async def test_an_empty_session_commits_nothing(ledger: DatabaseManager) -> None:
    async with ledger.session() as session:
        pass
    assert session.receipt == Receipt("committed", frozenset())


async def test_an_instance_stays_readable(ledger: DatabaseManager) -> None:
    async with ledger.session() as session:
        entry = Entry(name="mine")
        session.add(entry)
    assert entry.id > 0


async def test_committing_by_hand(ledger: DatabaseManager) -> None:
    session = ledger.session()
    session.add(Entry(name="first"))
    await session.commit()
    assert outcome_of(session) == "committed"
    await session.commit()
    session.add(Entry(name="second"))
    await session.flush()
    await session.rollback()
    assert outcome_of(session) == "rolled_back"
    await session.commit()
    assert outcome_of(session) == "rolled_back", "the last transaction was rolled back"
    session.add(Entry(name="third"))
    await session.flush()
    await session.close()
    assert outcome_of(session) == "rolled_back"
    await session.close()
    assert await names_in(ledger) == {"first"}
    await require_idle(ledger, ledger)


async def test_a_closed_session_can_be_used_again(ledger: DatabaseManager) -> None:
    session = ledger.session()
    for name in ("first", "second"):
        session.add(Entry(name=name))
        await session.commit()
        await session.reset()
    assert await names_in(ledger) == {"first", "second"}
    await require_idle(ledger, ledger)


@pytest.mark.parametrize("is_used_again", [False, True])
async def test_a_block_that_fails_without_a_transaction_is_rolled_back(
    ledger: DatabaseManager, *, is_used_again: bool
) -> None:
    session = ledger.session()
    if is_used_again:
        async with session:
            session.add(Entry(name="kept"))
    with suppress(ZeroDivisionError):
        async with session:
            await session.get(Entry, 1)
            _ = 1 / 0
    assert session.outcome == "rolled_back"


async def test_reading_after_a_commit_leaves_the_outcome(ledger: DatabaseManager) -> None:
    session = ledger.session()
    session.add(Entry(name="mine"))
    await session.commit()
    await session.scalars(select(Entry))
    await session.close()
    assert session.outcome == "committed"


async def test_an_invalidated_session(ledger: DatabaseManager, witness: DatabaseManager) -> None:
    session = ledger.session()
    session.add(Entry(name="mine"))
    await session.flush()
    await session.invalidate()
    assert session.outcome == "rolled_back"
    await require_idle(ledger, witness)
    assert await names_in(witness) == set()


async def test_work_after_a_failed_flush(ledger: DatabaseManager) -> None:
    async with ledger.session() as session:
        session.add_all([Entry(name="mine"), Entry(name="mine")])
        with pytest.raises(DuplicateKeyError):
            await session.flush()
        with pytest.raises(PendingRollbackError):
            await session.scalars(select(Entry))
        await session.rollback()
        session.add(Entry(name="other"))
    assert await names_in(ledger) == {"other"}


async def test_the_block_of_begin(ledger: DatabaseManager) -> None:
    session = ledger.session()
    async with session.begin():
        session.add(Entry(name="first"))
    assert outcome_of(session) == "committed"
    with suppress(LookupError):
        async with session.begin():
            session.add(Entry(name="second"))
            await session.flush()
            raise LookupError
    assert outcome_of(session) == "rolled_back"
    with pytest.raises(DuplicateKeyError):
        async with session.begin():
            session.add(Entry(name="first"))
    async with session.begin():
        session.add(Entry(name="third"))
    transaction = await session.begin()
    session.add(Entry(name="fourth"))
    await transaction.commit()
    transaction = await session.begin()
    session.add(Entry(name="fifth"))
    await transaction.rollback()
    with pytest.raises(InvalidRequestError):
        async with session.begin():
            await session.begin()
    await session.close()
    assert await names_in(ledger) == {"first", "third", "fourth"}


async def test_savepoints(ledger: DatabaseManager) -> None:
    async with ledger.session() as session:
        session.add(Entry(name="kept"))
        async with session.begin_nested():
            session.add(Entry(name="outer"))
            with suppress(LookupError):
                async with session.begin_nested():
                    session.add(Entry(name="inner"))
                    await session.flush()
                    raise LookupError
            async with session.begin_nested():
                session.add(Entry(name="inner again"))
        savepoint = await session.begin_nested()
        session.add(Entry(name="undone"))
        await session.flush()
        await savepoint.rollback()
        savepoint = await session.begin_nested()
        session.add(Entry(name="by hand"))
        await savepoint.commit()
    assert await names_in(ledger) == {"kept", "outer", "inner again", "by hand"}


async def test_a_savepoint_survives_an_error(ledger: DatabaseManager) -> None:
    async with ledger.session() as session:
        session.add(Entry(name="mine"))
        await session.flush()
        with pytest.raises(DuplicateKeyError):
            async with session.begin_nested():
                await session.execute(insert(Entry).values(name="mine", amount=0))
        with pytest.raises(StatementFailedError):
            async with session.begin_nested():
                await session.execute(text("SELECT * FROM no_such_table"))
        session.add(Entry(name="other"))
    assert await names_in(ledger) == {"mine", "other"}


async def test_a_savepoint_before_anything_else(ledger: DatabaseManager) -> None:
    async with ledger.session() as session:
        with suppress(LookupError):
            async with session.begin_nested():
                session.add(Entry(name="undone"))
                await session.flush()
                raise LookupError
        session.add(Entry(name="kept"))
    assert await names_in(ledger) == {"kept"}


@pytest.mark.backends("sqlite-file", "sqlite-memory", "postgresql")
async def test_tables_are_created_transactionally(ledger: DatabaseManager) -> None:
    with suppress(LookupError):
        async with ledger.session() as session:
            await session.execute(text("CREATE TABLE others (id INTEGER)"))
            await session.execute(text("INSERT INTO others VALUES (1)"))
            raise LookupError
    with pytest.raises(StatementFailedError):
        async with ledger.session() as session:
            await session.execute(text("SELECT * FROM others"))


class TestStreams:
    @pytest.fixture(autouse=True)
    async def _rows(self, ledger: DatabaseManager) -> None:
        async with ledger.session() as session:
            session.add_all([Entry(name=f"{n:03}") for n in range(100)])

    # MySQL's protocol sends no second statement before the rows of the first.
    @pytest.mark.backends("sqlite-file", "sqlite-memory", "postgresql")
    @pytest.mark.parametrize("options", [{}, {"write": True}])
    async def test_writing_while_streaming(
        self, ledger: DatabaseManager, backend: str, options: dict[str, bool]
    ) -> None:
        async with ledger.session(**options) as session:
            rows = await session.stream(
                select(Entry.id).order_by(Entry.id), execution_options={"yield_per": 10}
            )
            seen = 0
            async for (id_,) in rows:
                if seen == 0 and backend == "sqlite-file" and not options:
                    async with ledger.session() as other:
                        other.add(Entry(name="meanwhile"))
                await session.execute(update(Entry).where(Entry.id == id_).values(amount=seen))
                seen += 1
        assert seen == 100
        async with ledger.session() as session:
            amounts = await session.scalars(select(Entry.amount).order_by(Entry.id).limit(100))
            assert amounts.all() == list(range(100))

    @pytest.mark.backends("sqlite-file", "sqlite-memory", "postgresql")
    async def test_a_stream_does_not_outlive_its_transaction_unnoticed(
        self, ledger: DatabaseManager
    ) -> None:
        session = ledger.session()
        rows = await session.stream(select(Entry.id), execution_options={"yield_per": 10})
        await anext(aiter(rows))
        await session.rollback()
        with pytest.raises((StatementFailedError, InvalidRequestError)):
            [row async for row in rows]
        await session.close()
        await require_idle(ledger, ledger)

    @pytest.mark.parametrize("options", [{}, {"read_only": True}, {"snapshot": True}])
    async def test_leaving_a_stream_early(
        self, ledger: DatabaseManager, backend: str, options: dict[str, bool]
    ) -> None:
        async with ledger.session(**options) as session:
            rows = await session.stream(select(Entry.id), execution_options={"yield_per": 10})
            async for _ in rows:
                break
            if backend == "mariadb":
                await rows.close()
        await require_idle(ledger, ledger)
        if backend == "sqlite-file":
            async with ledger.engine.connect() as connection:
                checkpoint = await connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
                assert checkpoint.one()[0] == 0, "a reader holds on to the log"
        async with ledger.session() as session:
            await session.execute(text("DROP TABLE entries"))


class TestTasks:
    async def test_two_at_once(self, ledger: DatabaseManager) -> None:
        async with ledger.session() as session:
            one = asyncio.create_task(session.scalars(select(Entry)), name="the first")
            other = asyncio.create_task(session.scalars(select(Entry)), name="the second")
            await asyncio.wait([one, other])
            error = other.exception()
            assert isinstance(error, SessionInUseError)
            assert "'the first'" in str(error)
            assert __file__ in str(error)
            assert one.exception() is None
            session.add(Entry(name="mine"))
        assert await names_in(ledger) == {"mine"}
        await require_idle(ledger, ledger)

    async def test_handing_over(self, ledger: DatabaseManager) -> None:
        session = ledger.session()

        async def add(name: str) -> None:
            session.add(Entry(name=name))
            await session.flush()

        for name in ("first", "second"):
            await asyncio.create_task(add(name))
        await asyncio.create_task(session.commit())
        await asyncio.create_task(session.close())
        assert await names_in(ledger) == {"first", "second"}

    async def test_leaving_while_another_task_is_inside(self, ledger: DatabaseManager) -> None:
        """The user's error goes on, and the connection comes back all the same."""
        inside: list[asyncio.Task[object]] = []

        async def leave() -> None:
            async with ledger.session() as session:
                session.add(Entry(name="mine"))
                await session.flush()
                inside.append(asyncio.create_task(session.scalars(select(Entry))))
                await asyncio.sleep(0)
                raise LookupError

        with pytest.raises(LookupError):
            await leave()
        await asyncio.gather(*inside)
        await require_idle(ledger, ledger)
        assert await names_in(ledger) == set()

    async def test_committing_while_another_task_is_inside(self, ledger: DatabaseManager) -> None:
        session = ledger.session()
        session.add(Entry(name="mine"))
        await session.flush()
        inside = asyncio.create_task(session.scalars(select(Entry)))
        await asyncio.sleep(0)
        with pytest.raises(SessionInUseError):
            await session.commit()
        with pytest.raises(SessionInUseError):
            await session.close()
        await inside
        await require_idle(ledger, ledger)
        assert session.outcome == "rolled_back"
        assert await names_in(ledger) == set()


class TestScopedSessions:
    async def test_one_per_task(self, ledger: DatabaseManager) -> None:
        async def work(name: str) -> int:
            session = ledger.scoped_session()
            assert ledger.get_scoped_session() is session
            session.add(Entry(name=name))
            await session.commit()
            await ledger.remove_scoped_session()
            assert ledger.scoped_session() is not session
            await ledger.remove_scoped_session()
            return id(session)

        first, second = await asyncio.gather(work("first"), work("second"))
        assert first != second
        await ledger.remove_scoped_session()
        assert await names_in(ledger) == {"first", "second"}
        await require_idle(ledger, ledger)

    async def test_forgotten(
        self, ledger: DatabaseManager, witness: DatabaseManager, recwarn: pytest.WarningsRecorder
    ) -> None:
        sessions: list[Session] = []

        async def forget() -> None:
            sessions.append(ledger.scoped_session())
            sessions[0].add(Entry(name="mine"))
            await sessions[0].flush()

        async def run_and_notice() -> None:
            await asyncio.create_task(forget(), name="forgetful")
            await asyncio.sleep(0)

        with pytest.warns(ResourceWarning, match="'forgetful' ended without remove_scoped"):
            await run_and_notice()
        await require_idle(ledger, witness)
        assert sessions[0].outcome == "rolled_back"
        assert await names_in(witness) == set()
        assert not recwarn.list
