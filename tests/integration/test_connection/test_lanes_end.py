"""The lanes of one-shot calls: cancelled at random, opened in vain, left by their loop."""

from __future__ import annotations

import asyncio
import gc
import random
import secrets
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.pool import NullPool

from hqt_async_db import (
    BaseRepository,
    DatabaseManager,
    DuplicateKeyError,
    HqtDbError,
)
from hqt_async_db.connection.backends.sqlite.gate import gate_of
from tests.integration.test_connection.entries import (
    Entry,
    create_table,
    names_in,
    require_idle,
    require_write_lock_free,
)
from tests.integration.test_connection.holding import Held, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fixtures.managers import MakeDb

pytestmark = pytest.mark.backends("sqlite-file")
ROUNDS = 12
TASKS = 24


def repository(db: DatabaseManager) -> BaseRepository[Entry]:
    """Return the repository of these tests."""
    return BaseRepository(db, Entry)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Switch the collector off: nothing may be left for it to find."""
    gc.disable()
    yield
    gc.enable()


class Storm:
    """One-shot writes of which many are cancelled at random moments; the seed repeats it.

    Attributes:
        told: What the caller of each was told: ``stored``, ``refused`` or ``cancelled``.
    """

    def __init__(self, db: DatabaseManager) -> None:
        self.seed = secrets.randbits(32)
        self._random = random.Random(self.seed)
        self._db = db
        self.told: dict[str, str] = {}

    async def round(self, number: int) -> None:
        """Run tasks side by side to their end, or to their cancellation."""
        await asyncio.gather(*(self._one(f"{number}-{task}") for task in range(TASKS)))

    async def _one(self, name: str) -> None:
        stored_name = "taken" if self._random.random() < 0.1 else name
        delay_s = None if self._random.random() < 0.4 else self._random.uniform(0, 0.02)
        await asyncio.sleep(self._random.uniform(0, 0.01))
        try:
            async with asyncio.timeout(delay_s):
                await repository(self._db).create(name=stored_name)
        except TimeoutError:
            self.told[name] = "cancelled"
        except DuplicateKeyError:
            self.told[name] = "refused"
        else:
            self.told[name] = "stored"


@pytest.mark.usefixtures("no_collector")
async def test_a_storm_of_cancellations(ledger: DatabaseManager, database_url: str) -> None:
    await repository(ledger).create(name="taken")
    before = await ledger.health()
    storm = Storm(ledger)
    print(f"seed {storm.seed}")  # noqa: T201 - pytest shows it when the test fails
    for number in range(ROUNDS):
        await storm.round(number)
        # At once: neither a collector nor a little later.
        assert gate_of(str(make_url(database_url).database)).holder is None, storm.seed
        await require_write_lock_free(database_url)
    after = await ledger.health()
    stored = await names_in(ledger) - {"taken"}
    told = storm.told
    assert len(told) == ROUNDS * TASKS
    assert {name for name in told if told[name] == "stored"} <= stored
    assert not {name for name in told if told[name] == "refused"} & stored
    assert set(told.values()) == {"stored", "refused", "cancelled"}
    # Two looks at the health read twice each, which counts as well.
    counted = after["commits"] - before["commits"] - len(stored)
    assert 0 <= counted <= 4
    assert after["rollbacks"] - before["rollbacks"] == len(told) - len(stored)
    assert after["unknown_outcomes"] == 0
    await require_idle(ledger, ledger)


def _spoil(path: Path, how: str) -> None:
    if how == "directory":
        path.mkdir()
    elif how == "no database":
        path.write_bytes(b"no database" * 1000)


@pytest.mark.parametrize("how", ["directory", "missing folder", "no database"])
async def test_where_no_lane_can_be_opened_the_error_is_that_of_a_session(
    tmp_path: Path, how: str
) -> None:
    path = tmp_path / ("folder/file.db" if how == "missing folder" else "file.db")
    await asyncio.to_thread(_spoil, path, how)
    async with DatabaseManager(f"sqlite:///{path}") as db:
        async with db.session() as session:
            with pytest.raises(HqtDbError) as plain:
                await session.execute(text("SELECT 1 FROM entries"))
        calls: list[Any] = [repository(db).count(), repository(db).create(name="a")]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {type(plain.value)}


async def test_where_a_lane_could_not_be_opened_the_next_call_tries_again(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.db"
    async with DatabaseManager(f"sqlite:///{path}") as db:
        with pytest.raises(HqtDbError):
            await repository(db).create(name="a")
        task = asyncio.create_task(repository(db).count())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.to_thread(path.parent.mkdir)
        await create_table(db)
        await repository(db).create(name="a")
        assert await repository(db).count() == 1


def test_one_loop_after_the_other(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'file.db'}"

    async def use(number: int) -> None:
        async with DatabaseManager(url) as db, DatabaseManager(url) as other:
            await create_table(db)
            await asyncio.gather(
                *(repository(db).create(name=f"{number} {n}") for n in range(20)),
                *(repository(other).create(name=f"{number} other {n}") for n in range(20)),
            )
            assert await repository(other).count() == 40 * (number + 1)

    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(3):
        asyncio.run(use(number))
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    assert [path.name for path in tmp_path.iterdir()] == ["file.db"]


def test_after_the_last_connection_no_log_is_left(tmp_path: Path) -> None:
    """Whoever closes last moves the log into the file, which a reader cannot."""

    async def use() -> None:
        url = f"sqlite:///{tmp_path / 'file.db'}"
        async with DatabaseManager(url) as db:
            await create_table(db)
        async with DatabaseManager(url) as db:
            await repository(db).create(name="a")
            await repository(db).count()
            await db.ping()

    asyncio.run(use())
    assert [path.name for path in tmp_path.iterdir()] == ["file.db"]


@pytest.mark.parametrize("loops", [1, 2])
def test_nor_where_only_readers_are_left(tmp_path: Path, loops: int) -> None:
    db = DatabaseManager(f"sqlite:///{tmp_path / 'file.db'}")

    async def use() -> None:
        await use_and_keep_readers(db)
        if loops == 1:
            await db.dispose()

    asyncio.run(use())
    if loops == 2:
        asyncio.run(db.dispose())
    assert [path.name for path in tmp_path.iterdir()] == ["file.db"]
    with closing(sqlite3.connect(tmp_path / "file.db")) as connection:
        assert connection.execute("SELECT name FROM entries").fetchall() == [("a",)]


async def test_a_file_that_is_gone_is_not_made_again_for_its_log(tmp_path: Path) -> None:
    path = tmp_path / "file.db"
    async with DatabaseManager(f"sqlite:///{path}") as db:
        await use_and_keep_readers(db)
        await asyncio.to_thread(path.unlink)
    assert not await asyncio.to_thread(path.exists)


async def use_and_keep_readers(db: DatabaseManager) -> None:
    """Commit, and close the connection that wrote before those that read."""
    await create_table(db)
    await db.ping()
    async with db.session() as session:
        session.add(Entry(name="a"))
        await session.commit()
        await session.connection()
        await session.invalidate()


@pytest.mark.parametrize("has_commit", [True, False], ids=["COMMIT", "commits itself"])
def test_a_loop_that_ends_in_mid_commit_leaves_nobody_waiting(
    tmp_path: Path, *, has_commit: bool
) -> None:
    db = DatabaseManager(f"sqlite:///{tmp_path / 'file.db'}")
    held = Held(db)
    told: list[BaseException | None] = []

    async def write(name: str) -> None:
        try:
            if has_commit:
                await repository(db).create_many([{"name": name}])
            else:
                await repository(db).create(name=name)
        except asyncio.CancelledError as error:
            told.append(error.__cause__)
            raise

    async def end_late() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.2)
            held.release_commits()  # before the loop is closed, so that the thread can report
            await asyncio.sleep(0.2)

    async def use() -> None:
        await create_table(db)
        await repository(db).create(name="warm")
        held.hold_commits()
        tasks.append(asyncio.create_task(end_late()))
        tasks.append(asyncio.create_task(write("in commit")))
        await until(held.in_commit.is_set)
        tasks.append(asyncio.create_task(write("waiting")))
        await asyncio.sleep(0.01)

    tasks: list[asyncio.Task[None]] = []
    asyncio.run(use())
    assert told == [None, None]  # neither is in doubt
    with closing(sqlite3.connect(tmp_path / "file.db")) as connection:
        names = connection.execute("SELECT name FROM entries ORDER BY id").fetchall()
    # A statement that was held before it did anything is interrupted, a COMMIT is not.
    assert names == [("warm",), ("in commit",)][: 1 + has_commit]
    asyncio.run(db.dispose())


@pytest.mark.usefixtures("ledger")
async def test_without_a_pool_no_connection_is_kept(make_db: MakeDb) -> None:
    threads = threading.active_count()  # each connection has one
    db = make_db(poolclass=NullPool)
    await repository(db).create(name="a")
    assert await repository(db).count() == 1
    await until(lambda: threading.active_count() == threads)
