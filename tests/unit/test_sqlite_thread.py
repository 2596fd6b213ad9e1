"""The loop's side of a SQLite connection's thread."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

import aiosqlite
import pytest

from hqt_async_db.connection.backends.sqlite.thread import ConnectionThread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hqt_async_db.connection.backends.sqlite.worker import Job

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
async def thread() -> AsyncIterator[ConnectionThread]:
    thread = ConnectionThread(aiosqlite.connect(":memory:", isolation_level=None))
    await thread.open()
    yield thread
    await thread.close()


async def test_the_result_comes_back(thread: ConnectionThread) -> None:
    def compute(_job: Job, number: int) -> int:
        assert threading.current_thread() is not threading.main_thread()
        return number + 1

    assert await thread.hop(compute, 1) == 2


def test_a_loop_that_ends_after_a_refusal_meets_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end is told to the loop; in a closed one that would be a traceback."""
    failed: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)

    async def main() -> bool:
        raw = aiosqlite.connect("/")
        thread = ConnectionThread(raw)
        with pytest.raises(sqlite3.OperationalError):
            await thread.open()
        return raw._thread.is_alive()  # noqa: SLF001 - no public way

    assert not any(asyncio.run(main()) for _ in range(50))
    assert failed == []


async def test_an_interrupt_that_comes_too_early_comes_again(thread: ConnectionThread) -> None:
    """SQLite forgets the one that finds no statement running."""

    def begin_late(_job: Job, connection: sqlite3.Connection) -> None:
        time.sleep(0.1)
        connection.execute(ENDLESS).fetchall()

    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        await thread.hop(begin_late, thread.connection, timeout_s=0.01)


async def test_what_cleans_up_after_a_job_is_not_stopped_for_it(thread: ConnectionThread) -> None:
    stopped = []

    def stay(job: Job) -> None:
        time.sleep(0.1)
        stopped.append(job.stopped)

    def clean_up(job: Job) -> None:
        time.sleep(0.05)
        stopped.append(job.stopped)

    staying = asyncio.create_task(thread.hop(stay, timeout_s=0.02))
    await asyncio.sleep(0)
    await thread.hop(clean_up)
    await asyncio.gather(staying, return_exceptions=True)
    assert stopped == [True, False]


async def test_a_job_in_the_queue_is_stopped_before_it_begins(thread: ConnectionThread) -> None:
    began = []

    def occupy(_job: Job) -> None:
        time.sleep(0.1)

    def begin(_job: Job) -> None:
        began.append(True)

    occupied = asyncio.create_task(thread.hop(occupy))
    await asyncio.sleep(0)
    with pytest.raises(sqlite3.OperationalError) as caught:
        await thread.hop(begin, timeout_s=0.01)
    assert caught.value.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT
    assert not began
    await occupied


async def test_closing_ends_what_runs(thread: ConnectionThread) -> None:
    def run(_job: Job, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE").close()
        connection.execute(ENDLESS).fetchall()

    running = asyncio.create_task(thread.hop(run, thread.connection))
    await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.wait([running])
    started = time.monotonic()
    await thread.close()
    assert time.monotonic() - started < 2
    assert thread.is_closed
    assert not thread.in_transaction
    await thread.close()
    thread.close_soon()


async def test_resetting_keeps_the_connection_and_nothing_else(thread: ConnectionThread) -> None:
    def begin(_job: Job, connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE t (i)").close()
        connection.execute("BEGIN").close()
        connection.execute("INSERT INTO t VALUES (1)").close()

    def count(_job: Job, connection: sqlite3.Connection) -> int:
        return int(connection.execute("SELECT count(*) FROM t").fetchone()[0])

    await thread.hop(begin, thread.connection)
    assert thread.in_transaction
    await thread.reset(())
    assert not thread.in_transaction
    assert await thread.hop(count, thread.connection) == 0
    await thread.hop(lambda _job: thread.connection.execute("BEGIN").close())
    await asyncio.to_thread(thread.reset_soon, ())
    assert await thread.hop(count, thread.connection) == 0
    assert not thread.in_transaction
