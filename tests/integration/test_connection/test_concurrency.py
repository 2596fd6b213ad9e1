"""Many tasks, managers and processes on one database."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select, text

from hqt_async_db import DatabaseLockedError, NestedSessionError, PoolTimeoutError
from hqt_async_db.repositories import BaseRepository
from tests.integration.test_connection.entries import (
    Entry,
    create_table,
    names_in,
    require_idle,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hqt_async_db import DatabaseManager
    from tests.fixtures.managers import MakeDb

pytestmark = pytest.mark.timeout(60)
AT_ONCE_S = 2.0


async def insert(db: DatabaseManager, name: str) -> None:
    async with db.session() as session:
        session.add(Entry(name=name))


async def count(db: DatabaseManager) -> int:
    async with db.session(read_only=True) as session:
        return await session.scalar(select(func.count()).select_from(Entry)) or 0


async def test_fifty_tasks_of_which_half_roll_back(ledger: DatabaseManager) -> None:
    async def work(number: int) -> None:
        async with ledger.session() as session:
            session.add(Entry(name=f"{number}"))
            await session.flush()
            await asyncio.sleep(0)
            session.add(Entry(name=f"{number} again"))
            await session.flush()
            if number % 2:
                await session.rollback()

    await asyncio.gather(*(work(number) for number in range(50)))
    even = {f"{number}" for number in range(0, 50, 2)}
    assert await names_in(ledger) == even | {f"{name} again" for name in even}
    await require_idle(ledger, ledger)


async def test_thirty_two_tasks_write_at_once(ledger: DatabaseManager) -> None:
    async def work(number: int) -> None:
        for repetition in range(50):
            await insert(ledger, f"{number}-{repetition}")

    await asyncio.gather(*(work(number) for number in range(32)))
    assert await count(ledger) == 32 * 50
    await require_idle(ledger, ledger)


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_several_managers_on_one_database(ledger: DatabaseManager, make_db: MakeDb) -> None:
    managers = [ledger, make_db(), make_db()]

    async def work(db: DatabaseManager, number: int) -> None:
        for repetition in range(10):
            await insert(db, f"{number}-{repetition}")

    await asyncio.gather(*(work(db, n) for n, db in enumerate(managers * 4)))
    assert await count(ledger) == 3 * 4 * 10


WRITER = """
    import asyncio, sys
    from hqt_async_db import DatabaseManager
    from tests.integration.test_connection.entries import Entry

    async def main(url, process):
        async with DatabaseManager(url) as db:
            async def write(task):
                for number in range(10):
                    async with db.session() as session:
                        session.add(Entry(name=f"{process}-{task}-{number}"))
            await asyncio.gather(*(write(task) for task in range(4)))

    asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


@pytest.mark.backends("sqlite-file")
async def test_several_processes_on_one_file(ledger: DatabaseManager, database_url: str) -> None:
    """Each waits for the others, and no row is lost."""
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", textwrap.dedent(WRITER), database_url, str(number)),
            stderr=subprocess.PIPE,
        )
        for number in range(4)
    ]
    for number in range(40):
        await insert(ledger, f"here-{number}")
    for process in processes:
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
    written = {f"{p}-{t}-{n}" for p in range(4) for t in range(4) for n in range(10)}
    assert await names_in(ledger) == written | {f"here-{number}" for number in range(40)}


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_readers_do_not_wait_for_a_writer(ledger: DatabaseManager) -> None:
    await insert(ledger, "row")
    async with ledger.session(write=True) as writer:
        writer.add(Entry(name="mine"))
        await writer.flush()
        for options in ({"read_only": True}, {"snapshot": True}, {}):
            started = time.monotonic()
            async with ledger.session(**options) as reader:
                assert (await reader.scalars(select(Entry.name))).all() == ["row"]
            assert time.monotonic() - started < AT_ONCE_S


@pytest.mark.backends("sqlite-file")
async def test_a_read_before_a_write_never_ends_in_a_conflict(ledger: DatabaseManager) -> None:
    async def work(number: int) -> None:
        async with ledger.session() as session:
            await session.scalars(select(Entry))
            await asyncio.sleep(0)
            session.add(Entry(name=f"{number}"))
            await session.flush()
            await session.scalars(select(Entry))

    await asyncio.gather(*(work(number) for number in range(40)))
    assert await count(ledger) == 40


@pytest.mark.backends("sqlite-file")
async def test_writers_are_served_in_order(ledger: DatabaseManager) -> None:
    order: list[int] = []

    async def work(number: int) -> None:
        async with ledger.session() as session:
            session.add(Entry(name=f"{number}"))
            await session.flush()
            order.append(number)

    async with AsyncExitStack() as held:  # to open connections takes its time
        for _ in range(9):
            session = await held.enter_async_context(ledger.session())
            await session.execute(text("SELECT 1"))
    async with ledger.session() as holder:
        holder.add(Entry(name="first of all"))
        await holder.flush()
        tasks = []
        for number in range(8):
            tasks.append(asyncio.create_task(work(number)))
            await asyncio.sleep(0.01)
    await asyncio.gather(*tasks)
    assert order == list(range(8))


class TestAPoolOfOne:
    @pytest.fixture
    def patience_s(self) -> float:
        """How long to wait for a connection."""
        return 0.2

    @pytest.fixture
    async def small(
        self, ledger: DatabaseManager, make_db: MakeDb, backend: str, patience_s: float
    ) -> AsyncIterator[DatabaseManager]:
        """A manager with one connection per pool."""
        if backend == "sqlite-memory":
            db = make_db(pool_timeout=patience_s)
            await create_table(db)
        else:
            del ledger
            db = make_db(pool_size=1, max_overflow=0, pool_timeout=patience_s)
        yield db
        await require_idle(db, db)

    @pytest.mark.parametrize("patience_s", [10.0])  # a busy machine may stop for a second
    async def test_it_serves_in_order(self, small: DatabaseManager) -> None:
        order: list[int] = []

        async def work(number: int) -> None:
            async with small.session() as session:
                await session.scalars(select(Entry))
                order.append(number)

        async with small.session() as holder:
            await holder.scalars(select(Entry))
            tasks = []
            for number in range(8):
                tasks.append(asyncio.create_task(work(number)))
                await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        assert order == list(range(8))

    async def test_a_task_is_not_kept_waiting_for_itself(self, small: DatabaseManager) -> None:
        async with small.session() as session:
            await session.scalars(select(Entry))
            started = time.monotonic()
            with pytest.raises(NestedSessionError) as caught:
                await insert(small, "mine")
            assert time.monotonic() - started < 0.2
            assert __file__ in str(caught.value)

    async def test_another_task_is_told_who_holds_it(self, small: DatabaseManager) -> None:
        async with small.session() as session:
            await session.scalars(select(Entry))
            with pytest.raises(PoolTimeoutError) as caught:
                await asyncio.create_task(insert(small, "mine"))
        task = asyncio.current_task()
        assert task is not None
        for part in (repr(task.get_name()), __file__, "s old", "0.2 s"):
            assert part in str(caught.value)
        assert caught.value.retryable

    @pytest.mark.backends("sqlite-memory")
    async def test_nor_is_a_one_shot_or_a_stream(self, small: DatabaseManager) -> None:
        entries = BaseRepository(small, Entry)
        async with small.session() as session:
            session.add(Entry(name="row"))
            await session.flush()
            with pytest.raises(NestedSessionError):
                await entries.get_one(name="row")
            with pytest.raises(NestedSessionError):
                await entries.create(name="mine")
            with pytest.raises(NestedSessionError):
                async with entries.stream():
                    pass
            assert (await BaseRepository(session, Entry).get_one(name="row")).id
        assert (await entries.get_one(name="row")).id


@pytest.mark.backends("sqlite-file")
class TestTheTurnToWrite:
    async def test_a_second_write_in_a_task_is_refused(self, ledger: DatabaseManager) -> None:
        async with ledger.session() as session:
            session.add(Entry(name="mine"))
            await session.flush()
            started = time.monotonic()
            with pytest.raises(NestedSessionError) as caught:
                await insert(ledger, "other")
            assert time.monotonic() - started < AT_ONCE_S
            assert __file__ in str(caught.value)
            assert await count(ledger) == 0, "reading beside it is no nesting"
        assert await names_in(ledger) == {"mine"}

    async def test_a_child_task_waits_and_is_told_who_holds_it(
        self, ledger: DatabaseManager, make_db: MakeDb
    ) -> None:
        impatient = make_db(lock_timeout_s=0.2)
        async with ledger.session() as session:
            session.add(Entry(name="mine"))
            await session.flush()
            with pytest.raises(DatabaseLockedError) as caught:
                await asyncio.gather(insert(impatient, "other"))
        task = asyncio.current_task()
        assert task is not None
        for part in (repr(task.get_name()), __file__, "s old", "0.2 s"):
            assert part in str(caught.value)
        await insert(impatient, "other")
        assert await names_in(ledger) == {"mine", "other"}

    async def test_a_session_that_was_forgotten_frees_it(
        self, ledger: DatabaseManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def forget() -> None:
            session = ledger.session()
            session.add(Entry(name="forgotten"))
            await session.flush()

        async def run_and_collect() -> None:
            await asyncio.create_task(forget())
            gc.collect()

        with pytest.warns(match="non-checked-in connection"):
            await run_and_collect()
        await insert(ledger, "mine")
        assert await names_in(ledger) == {"mine"}
        assert "non-checked-in connection" in caplog.text
