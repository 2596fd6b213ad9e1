"""The end of a manager: dispose, another loop, a fork, the end of the process."""

from __future__ import annotations

import asyncio
import sys
import textwrap
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError

from hqt_async_db import DatabaseClosedError, DatabaseManager
from hqt_async_db.repositories import BaseRepository
from tests.integration.test_connection.entries import Entry, create_table, names_in, require_idle
from tests.integration.test_connection.test_cancellation_of_waits import LONG_STATEMENT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.fixtures.managers import MakeDb

    Use = Callable[[DatabaseManager], Awaitable[object]]

pytestmark = pytest.mark.timeout(60)
AT_ONCE_S = 3.0
ROWS = 500
on_servers_and_files = pytest.mark.backends("sqlite-file", "postgresql", "mariadb")


async def open_session(db: DatabaseManager) -> None:
    db.session()


async def scope_session(db: DatabaseManager) -> None:
    db.scoped_session()


async def enter(db: DatabaseManager) -> None:
    async with db:
        pass


async def run(db: DatabaseManager) -> None:
    async def work(_: object) -> None:
        pass

    await db.run(work)


async def stream(db: DatabaseManager) -> None:
    async for _ in BaseRepository(db, Entry).stream():
        pass


async def get_engine(db: DatabaseManager) -> None:
    db.engine.sync_engine.dispose()


USES: list[Use] = [
    open_session,
    scope_session,
    enter,
    run,
    stream,
    get_engine,
    lambda db: BaseRepository(db, Entry).get_by_id(1),
    lambda db: BaseRepository(db, Entry).create(name="mine"),
    lambda db: db.ping(),
    lambda db: db.health(),
    lambda db: db.warm_up(),
    lambda db: db.create_all(),
    lambda db: db.drop_all(confirm=True),
]


async def test_after_dispose_every_use_says_so(ledger: DatabaseManager) -> None:
    session = ledger.session()
    engine = ledger.engine
    await ledger.ping()
    await ledger.dispose()
    for use in USES:
        with pytest.raises(DatabaseClosedError, match="disposed"):
            await use(ledger)
    with pytest.raises(DatabaseClosedError):
        await session.scalars(select(Entry))
    session.add(Entry(name="mine"))
    with pytest.raises(DatabaseClosedError):
        await session.commit()
    with pytest.raises(DatabaseClosedError):
        async with engine.connect():
            pass
    await session.close()
    await ledger.dispose()


async def test_what_is_open_is_rolled_back(
    ledger: DatabaseManager, witness: DatabaseManager
) -> None:
    session = ledger.session()
    session.add(Entry(name="mine"))
    await session.flush()
    await ledger.dispose()
    assert session.outcome == "rolled_back"
    await session.rollback()
    await session.close()
    if witness is not ledger:
        await require_idle(ledger, witness)
        assert await names_in(witness) == set()


async def test_leaving_a_block_after_dispose_is_no_success(ledger: DatabaseManager) -> None:
    session = ledger.session()

    async def work() -> None:
        async with session:
            session.add(Entry(name="mine"))
            await session.flush()
            await ledger.dispose()

    with pytest.raises(DatabaseClosedError):
        await work()
    assert session.outcome == "rolled_back"


async def disposed_during(db: DatabaseManager, work: Awaitable[object]) -> BaseException | None:
    """Dispose while ``work`` waits; return how it ended."""
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0.05)
    assert not task.done()
    started = time.monotonic()
    await db.dispose()
    assert time.monotonic() - started < AT_ONCE_S
    await asyncio.wait([task], timeout=AT_ONCE_S)
    assert task.done()
    assert not task.cancelled()
    return task.exception()


async def test_a_statement_is_interrupted(
    ledger: DatabaseManager, witness: DatabaseManager, backend: str
) -> None:
    session = ledger.session()

    async def work() -> None:
        async with session:
            session.add(Entry(name="mine"))
            await session.flush()
            await session.execute(text(LONG_STATEMENT[backend]))

    assert isinstance(await disposed_during(ledger, work()), DatabaseClosedError)
    assert session.outcome == "rolled_back"
    if witness is not ledger:
        await require_idle(ledger, witness)
        assert await names_in(witness) == set()


async def test_waiting_for_a_connection_is_interrupted(
    ledger: DatabaseManager, make_db: MakeDb, backend: str
) -> None:
    db = ledger if backend == "sqlite-memory" else make_db(pool_size=1, max_overflow=0)
    holder = db.session(read_only=True)
    await holder.execute(text("SELECT 1"))
    error = await disposed_during(db, db.ping())
    assert isinstance(error, DatabaseClosedError)


@pytest.mark.backends("sqlite-file")
async def test_waiting_for_the_turn_is_interrupted(
    ledger: DatabaseManager, witness: DatabaseManager
) -> None:
    async with witness.session() as holder:
        holder.add(Entry(name="holder"))
        await holder.flush()
        work = BaseRepository(ledger, Entry).create(name="mine")
        assert isinstance(await disposed_during(ledger, work), DatabaseClosedError)
    assert await names_in(witness) == {"holder"}


@on_servers_and_files
async def test_a_stream_does_not_end_as_if_it_were_whole(
    ledger: DatabaseManager, witness: DatabaseManager
) -> None:
    async with witness.session() as session:
        session.add_all([Entry(name=f"{number}") for number in range(ROWS)])
    session = ledger.session(snapshot=True)
    rows = await session.stream(select(Entry.id), execution_options={"yield_per": 10})
    await anext(aiter(rows))
    await ledger.dispose()
    read = ROWS - 1  # the driver may have had them all before
    with suppress(SQLAlchemyError):
        read = len([row async for row in rows])
    assert read == ROWS - 1
    await session.close()
    await require_idle(ledger, witness)


async def test_a_commit_is_waited_for(ledger: DatabaseManager, witness: DatabaseManager) -> None:
    session = ledger.session()
    session.add(Entry(name="mine"))
    await session.flush()
    commit = asyncio.create_task(session.commit())
    await asyncio.sleep(0)
    await ledger.dispose()
    await commit
    assert session.outcome == "committed"
    if witness is not ledger:
        assert await names_in(witness) == {"mine"}


async def test_disposing_twice_at_once_and_cancelled(ledger: DatabaseManager) -> None:
    await ledger.ping()
    task = asyncio.create_task(ledger.dispose())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(ledger.dispose(), ledger.dispose())
    await asyncio.wait([task])
    assert task.cancelled()
    with pytest.raises(DatabaseClosedError):
        await ledger.ping()


async def test_another_loop(ledger: DatabaseManager) -> None:
    await ledger.ping()

    async def use_everything() -> None:
        for use in USES:
            with pytest.raises(DatabaseClosedError, match="another event loop"):
                await use(ledger)

    await asyncio.to_thread(asyncio.run, use_everything())
    assert await ledger.ping() > 0


@pytest.mark.backends("sqlite-file", "sqlite-memory")
async def test_a_loop_that_is_gone(database_url: str) -> None:
    """A manager that outlives its loop can still be disposed, and leaves no thread."""

    def use_and_dispose() -> None:
        db = DatabaseManager(database_url)
        asyncio.run(create_table(db))
        asyncio.run(db.dispose())

    await asyncio.to_thread(use_and_dispose)


BEGINNING = """
    import asyncio, os, sys, time
    from sqlalchemy import text
    from hqt_async_db import DatabaseClosedError, DatabaseManager
    from tests.integration.test_connection.entries import Entry, create_table

    async def use(db):
        await create_table(db)
        session = db.session()
        session.add(Entry(name=f"{time.time()}"))
        await session.flush()
        return session

    def stamp():
        print(time.time(), flush=True)
"""
ENDINGS = {
    "disposed": """
        async def main(url):
            async with DatabaseManager(url) as db:
                session = await use(db)
                await session.commit()
            stamp()
    """,
    "disposed with a session open": """
        async def main(url):
            async with DatabaseManager(url) as db:
                session = await use(db)
            stamp()
    """,
    "never disposed": """
        async def main(url):
            db = DatabaseManager(url)
            session = await use(db)
            await session.commit()
            await session.close()
            stamp()
    """,
    "disposed in another loop": """
        async def main(url):
            global db
            db = DatabaseManager(url)
            session = await use(db)
            await session.commit()
            stamp()

        asyncio.run(main(sys.argv[1]))
        try:
            asyncio.run(db.ping())
        except DatabaseClosedError:
            asyncio.run(db.dispose())
    """,
    "crashed inside a session": """
        async def main(url):
            db = DatabaseManager(url)
            session = await use(db)
            stamp()
            raise LookupError("crash")
    """,
    "left by sys.exit": """
        async def main(url):
            async with DatabaseManager(url) as db, db.session() as session:
                await session.execute(text("SELECT 1"))
                stamp()
                sys.exit("crash")
    """,
    "crashed with statements running": """
        async def main(url):
            db = DatabaseManager(url)
            await use(db)
            async def work():
                async with db.session(read_only=True) as session:
                    await session.execute(text(os.environ["LONG_STATEMENT"]))
            tasks = [asyncio.create_task(work()) for _ in range(3)]
            await asyncio.sleep(0.1)
            stamp()
            raise LookupError("crash")
    """,
}
RUN = "\nasyncio.run(main(sys.argv[1]))\n"
ON_EVERY_BACKEND = {"never disposed", "disposed in another loop", "crashed inside a session"}
# A process costs most of a second, and the others end alike everywhere.
on_a_file = pytest.mark.backends("sqlite-file")


async def python(script: str, url: str, backend: str) -> tuple[float, int, str, str]:
    """Run a script; return how long it lived after its stamp, its code and its texts."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": ":".join(sys.path), "LONG_STATEMENT": LONG_STATEMENT[backend]},
    )
    output, errors = await process.communicate()
    ended = time.time()
    lines = output.decode().splitlines()
    assert lines, errors.decode()
    return ended - float(lines[0]), process.returncode or 0, output.decode(), errors.decode()


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param(ending, marks=() if ending in ON_EVERY_BACKEND else on_a_file)
        for ending in ENDINGS
    ],
)
async def test_the_process_ends_at_once(database_url: str, backend: str, ending: str) -> None:
    script = textwrap.dedent(BEGINNING) + textwrap.dedent(ENDINGS[ending])
    script += "" if "asyncio.run(" in script else RUN
    took_s, code, _, errors = await python(script, database_url, backend)
    assert took_s < 2
    crashed = "crash" in script.partition("async def main")[2]
    assert bool(code) == crashed, errors
    assert ("crash" in errors) == crashed, errors
    assert "was destroyed" not in errors
    if not crashed and "loop" not in ending:  # whose drivers cannot say goodbye without it
        assert not errors


FORK = """
    async def main(url):
        db = DatabaseManager(url)
        await create_table(db)
        await db.ping()
        if not (child := os.fork()):
            print(0)
            for use in (db.ping, db.dispose, db.session):
                try:
                    result = use()
                    if result is not None:
                        await result
                except DatabaseClosedError as error:
                    print(error)
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)
        await db.ping()
        async with db.session() as session:
            session.add(Entry(name="parent"))
        await db.dispose()
        print("parent goes on")
"""


async def test_a_fork(database_url: str, backend: str) -> None:
    script = textwrap.dedent(BEGINNING) + textwrap.dedent(FORK) + RUN
    _, code, output, errors = await python(script, database_url, backend)
    assert code == 0, errors
    assert output.count("made before a fork") == 2
    assert "parent goes on" in output
