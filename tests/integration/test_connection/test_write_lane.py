"""One-shot writes of a SQLite file: they share commits, and each learns its own fate."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hqt_async_db import (
    BaseRepository,
    CheckViolationError,
    ConfigurationError,
    DatabaseClosedError,
    DatabaseLockedError,
    DatabaseManager,
    DeadlineExceededError,
    DuplicateKeyError,
    ForeignKeyViolationError,
    NestedSessionError,
)
from tests.integration.test_connection.entries import (
    Entry,
    create_table,
    names_in,
    require_idle,
    require_write_lock_free,
)
from tests.integration.test_connection.holding import (
    Held,
    count_of,
    endless,
    locked_by_another_program,
)

if TYPE_CHECKING:
    from tests.fixtures.managers import MakeDb

pytestmark = pytest.mark.backends("sqlite-file")

_BOOKINGS = """
CREATE TABLE bookings (
    id INTEGER PRIMARY KEY,
    name TEXT UNIQUE,
    amount INTEGER CHECK (amount >= 0),
    entry_id INTEGER REFERENCES entries (id),
    later_id INTEGER REFERENCES entries (id) DEFERRABLE INITIALLY DEFERRED,
    code TEXT UNIQUE ON CONFLICT ROLLBACK
)
"""


def repository(db: DatabaseManager) -> BaseRepository[Entry]:
    """Return the repository of these tests."""
    return BaseRepository(db, Entry)


def create(db: DatabaseManager, name: str) -> asyncio.Task[Entry]:
    """Begin to create an entry."""
    return asyncio.create_task(repository(db).create(name=name))


async def outcomes_of(db: DatabaseManager) -> tuple[int, int, int]:
    """Return how many transactions were committed, rolled back, and neither for sure."""
    health = await db.health()
    return health["commits"], health["rollbacks"], health["unknown_outcomes"]


async def test_writes_that_wait_together_share_a_commit(
    ledger: DatabaseManager, make_db: MakeDb
) -> None:
    db = make_db()
    held = Held(db)
    await repository(db).create(name="first")
    before = held.commits
    async with ledger.session(write=True) as session:
        await session.execute(text("SELECT 1"))
        tasks = [create(db, f"{number}") for number in range(64)]
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in tasks)
    entries = await asyncio.gather(*tasks)
    assert held.commits == before + 1
    assert [entry.id for entry in entries] == list(range(2, 66))  # in the order they came
    assert await count_of(db) == 65


class OwnBase(DeclarativeBase):
    """What is not created with the entries."""


class Booking(OwnBase):
    """A row of the table above."""

    __tablename__ = "bookings"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    amount: Mapped[int | None]
    entry_id: Mapped[int | None]
    later_id: Mapped[int | None]
    code: Mapped[str | None] = mapped_column(unique=True)


class Bookings:
    """A table that refuses rows in every way, and who books in it."""

    def __init__(self, db: DatabaseManager) -> None:
        self._db = db

    async def book(self, **values: Any) -> None:
        """Insert one row by a one-shot write."""
        await BaseRepository(self._db, Booking).create(**values)

    async def names(self) -> set[str]:
        """Return whose bookings are stored."""
        return {row.name for row in await BaseRepository(self._db, Booking).rows("name")}


GOOD: tuple[dict[str, Any], ...] = (
    {"name": "good 1"},
    {"name": "good 2", "code": "x"},
    {"name": "good 3", "amount": 1},
)
BAD: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "duplicate": ({"name": "taken"}, DuplicateKeyError),
    "check": ({"name": "bad", "amount": -1}, CheckViolationError),
    "foreign key": ({"name": "bad", "entry_id": 99}, ForeignKeyViolationError),
    "deferred foreign key": ({"name": "bad", "later_id": 99}, ForeignKeyViolationError),
    "rolled back": ({"name": "bad", "code": "taken"}, DuplicateKeyError),
}


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("case", BAD)
async def test_each_of_a_shared_commit_gets_its_own_error(
    ledger: DatabaseManager, case: str, place: int
) -> None:
    async with ledger.engine.begin() as connection:
        await connection.execute(text(_BOOKINGS))
    bookings = Bookings(ledger)
    await bookings.book(name="taken", code="taken")
    before = await outcomes_of(ledger)
    values, error = BAD[case]
    rows: list[dict[str, Any]] = list(GOOD)
    rows.insert(place, values)
    async with ledger.session(write=True) as session:
        await session.execute(text("SELECT 1"))
        tasks = [asyncio.create_task(bookings.book(**row)) for row in rows]
        await asyncio.sleep(0.005)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results].pop(place) is error
    assert [result for result in results if result is None] == [None] * len(GOOD)
    assert await bookings.names() == {"taken", *(str(row["name"]) for row in GOOD)}
    after = await outcomes_of(ledger)
    reads = 4  # of which two are in each look at the outcomes, and count as commits too
    assert after[1:] == (before[1] + 1, before[2])
    assert 0 <= after[0] - before[0] - len(GOOD) - 1 <= reads


async def test_two_that_fail_and_two_that_do_not(ledger: DatabaseManager) -> None:
    async with ledger.engine.begin() as connection:
        await connection.execute(text(_BOOKINGS))
    bookings = Bookings(ledger)
    await bookings.book(name="taken", code="taken")
    for round_, (one, other) in enumerate(itertools.permutations(BAD, 2)):
        rows = [BAD[one][0], {"name": f"a{round_}"}, BAD[other][0], {"name": f"b{round_}"}]
        async with ledger.session(write=True) as session:
            await session.execute(text("SELECT 1"))
            tasks = [asyncio.create_task(bookings.book(**row)) for row in rows]
            await asyncio.sleep(0)
        first, a, second, b = await asyncio.gather(*tasks, return_exceptions=True)
        assert (type(first), a, type(second), b) == (BAD[one][1], None, BAD[other][1], None)
        assert {f"a{round_}", f"b{round_}"} <= await bookings.names()
    assert "bad" not in await bookings.names()


async def test_who_came_first_is_served_first(ledger: DatabaseManager) -> None:
    order: list[str] = []

    async def session_write(name: str) -> None:
        async with ledger.session() as session:
            session.add(Entry(name=name))
            await session.flush()
            order.append(name)

    async def one_shot(name: str) -> None:
        await repository(ledger).create(name=name)
        order.append(name)

    await one_shot("warm")
    await asyncio.gather(*(session_write(f"warm {number}") for number in range(6)))
    order.clear()
    async with ledger.session() as holder:
        holder.add(Entry(name="holder"))
        await holder.flush()
        tasks = []
        for number in range(6):
            work = one_shot if number % 2 == 0 else session_write
            tasks.append(asyncio.create_task(work(f"{number}")))
            await asyncio.sleep(0.002)
    await asyncio.gather(*tasks)
    # One-shots that wait join the first of them, and keep no session from its turn.
    assert order[:3] == ["0", "2", "4"]
    assert order[3:] == ["1", "3", "5"]
    assert await count_of(ledger) == 7 + 7


async def test_a_write_inside_of_a_session_of_the_same_task(ledger: DatabaseManager) -> None:
    async with ledger.session() as session:
        session.add(Entry(name="outer"))
        await session.flush()
        started = time.monotonic()
        with pytest.raises(NestedSessionError, match="already holds the write lock"):
            await repository(ledger).create(name="inner")
        assert time.monotonic() - started < 5
    assert await names_in(ledger) == {"outer"}


@pytest.mark.usefixtures("ledger")
async def test_a_child_inside_of_its_parents_session_is_told_who_holds(make_db: MakeDb) -> None:
    db = make_db(lock_timeout_s=0.3)
    async with db.session() as session:
        session.add(Entry(name="outer"))
        await session.flush()
        with pytest.raises(DatabaseLockedError, match=r"waited 0\.3 s.*held by session of task"):
            await asyncio.gather(repository(db).create(name="inner"))
    assert await names_in(db) == {"outer"}
    await repository(db).create(name="later")


@pytest.mark.usefixtures("ledger")
async def test_nobody_waits_longer_than_the_time_limit(make_db: MakeDb) -> None:
    """Not even who came while another waited, whose patience ends before."""
    db = make_db(lock_timeout_s=1.0)
    await repository(db).create(name="warm")
    waited: list[float] = []

    async def wait(name: str) -> None:
        started = time.monotonic()
        with pytest.raises(DatabaseLockedError, match="waited 1 s"):
            await repository(db).create(name=name)
        waited.append(time.monotonic() - started)

    async with db.session() as session:
        session.add(Entry(name="outer"))
        await session.flush()
        first = asyncio.create_task(wait("first"))
        await asyncio.sleep(0.3)
        await asyncio.gather(first, asyncio.create_task(wait("second")))
    assert max(waited) < 1.5, waited
    assert min(waited) >= 0.99, waited


async def test_waiting_for_another_program_ends_at_once_when_cancelled(
    ledger: DatabaseManager, database_url: str
) -> None:
    await repository(ledger).create(name="warm")
    async with locked_by_another_program(database_url):
        task = create(ledger, "never")
        await asyncio.sleep(0.1)
        started = time.monotonic()
        task.cancel()
        await asyncio.wait([task])
        assert time.monotonic() - started < 2
        assert task.cancelled()
    # The thread's last attempt may get the lock yet, and lets go of it.
    await require_write_lock_free(database_url, within_s=1)
    await repository(ledger).create(name="later")
    assert await names_in(ledger) == {"warm", "later"}


async def test_a_long_write_is_interrupted_at_once(
    ledger: DatabaseManager, database_url: str
) -> None:
    await repository(ledger).create(name="warm")
    values = {"amount": 1}
    task = asyncio.create_task(repository(ledger).update_many(endless(), values=values))
    await asyncio.sleep(0.05)
    behind = create(ledger, "behind")
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await behind
    await require_write_lock_free(database_url)


@pytest.mark.usefixtures("ledger")
async def test_the_time_limit_of_a_write_is_about_that_write(make_db: MakeDb) -> None:
    db = make_db(statement_timeout_s=0.3)
    await repository(db).create(name="warm")
    values = {"amount": 1}
    long = asyncio.create_task(repository(db).update_many(endless(), values=values))
    await asyncio.sleep(0)
    behind = [create(db, f"{number}") for number in range(5)]
    with pytest.raises(DeadlineExceededError):
        await long
    await asyncio.gather(*behind)


@pytest.mark.usefixtures("ledger")
async def test_short_writes_that_together_take_too_long_run_alone(make_db: MakeDb) -> None:
    """A statement's time limit is not that of all who share the commit."""
    db = make_db(statement_timeout_s=0.4)
    held = Held(db)
    await repository(db).create(name="warm")
    async with db.engine.begin() as connection:
        await connection.execute(
            text(
                "CREATE TRIGGER slow AFTER INSERT ON entries BEGIN SELECT max(i) FROM (WITH "
                "RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) "
                "SELECT i FROM n); END"
            )
        )
    before = held.commits
    async with db.session(write=True) as session:
        await session.execute(text("SELECT 1"))
        tasks = [create(db, f"{number}") for number in range(60)]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert await count_of(db) == 61
    assert held.commits - before > 2


async def test_dispose_ends_a_write_that_waits_for_another_program(
    ledger: DatabaseManager, make_db: MakeDb, database_url: str
) -> None:
    db = make_db()
    await repository(db).create(name="warm")
    async with locked_by_another_program(database_url):
        tasks = [create(db, f"{number}") for number in range(3)]
        await asyncio.sleep(0.05)
        tasks += [create(db, f"{number}") for number in range(3, 6)]
        await asyncio.sleep(0)
        await asyncio.wait_for(db.dispose(), 5)
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, DatabaseClosedError)
    assert await names_in(ledger) == {"warm"}
    await require_idle(ledger, ledger)


async def test_a_task_whose_write_was_withdrawn_may_write_again(
    make_db: MakeDb, database_url: str
) -> None:
    db = make_db()
    await create_table(db)
    await create(db, "warm")
    async with locked_by_another_program(database_url):
        first = create(db, "first")
        await asyncio.sleep(0.05)  # it is tried, again and again

        async def try_twice() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await repository(db).create(name="late")
            await repository(db).create(name="again")

        late, last = asyncio.create_task(try_twice()), create(db, "last")
        await asyncio.sleep(0.05)
        first.cancel()
        await asyncio.sleep(0.3)
        assert not late.done()
    await asyncio.gather(late, last)
    assert {"again", "last"} <= set(await names_in(db))


async def test_the_timeout_that_sqlite3_knows_leaves_every_wait_cancellable(
    make_db: MakeDb, database_url: str
) -> None:
    db = make_db(connect_args={"timeout": 1})
    await create_table(db)
    async with locked_by_another_program(database_url):
        for use in (lambda: repository(db).create(name="a"), lambda: in_a_session(db, "b")):
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await use()
            assert time.monotonic() - began < 1
            began = time.monotonic()
            with pytest.raises(DatabaseLockedError):
                await use()
            assert 0.9 < time.monotonic() - began < 3


def test_a_timeout_in_the_url_is_one_and_must_be_a_number() -> None:
    with pytest.raises(ConfigurationError, match="lock_timeout_s must be a positive number"):
        DatabaseManager("sqlite:///x.db?timeout=soon")
    with pytest.raises(ConfigurationError, match="lock_timeout_s must be a positive number"):
        DatabaseManager("sqlite:///x.db", connect_args={"timeout": None})


async def in_a_session(db: DatabaseManager, name: str) -> None:
    """Store an entry in a session."""
    async with db.session() as session:
        session.add(Entry(name=name))
