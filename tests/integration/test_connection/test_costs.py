"""What a session costs: hops to SQLite's thread, messages to a server."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aiosqlite
import pytest
from sqlalchemy import insert, select

from hqt_async_db import DatabaseManager
from hqt_async_db.connection.backends.sqlite.thread import ConnectionThread
from hqt_async_db.repositories import BaseRepository
from tests.integration.test_connection.entries import Entry
from tests.integration.test_connection.lines import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    Use = Callable[[DatabaseManager], Awaitable[object]]

ROWS = 100


@pytest.fixture(autouse=True)
async def _rows(ledger: DatabaseManager) -> None:
    """A hundred rows, a connection of each pool, and every statement compiled."""
    async with ledger.session() as session:
        session.add_all([Entry(name=f"{number:03}") for number in range(ROWS)])


async def do_nothing(db: DatabaseManager) -> None:
    async with db.session():
        pass


async def commit_nothing(db: DatabaseManager) -> None:
    session = db.session()
    await session.commit()
    await session.rollback()
    await session.close()


async def read(db: DatabaseManager) -> None:
    async with db.session() as session:
        assert await session.get(Entry, 1)


async def read_thrice(db: DatabaseManager) -> None:
    async with db.session() as session:
        for number in (1, 2, 3):
            assert await session.get(Entry, number)


async def read_only(db: DatabaseManager) -> None:
    async with db.session(read_only=True) as session:
        assert await session.get(Entry, 1)


async def read_once(db: DatabaseManager) -> None:
    assert await BaseRepository(db, Entry).get_by_id(1)


async def create_once(db: DatabaseManager) -> None:
    entry = await BaseRepository(db, Entry).create(name=uuid4().hex)
    assert entry.id


async def get_or_create_once(db: DatabaseManager) -> None:
    _, is_new = await BaseRepository(db, Entry).get_or_create(name=uuid4().hex)
    assert is_new


async def get_once(db: DatabaseManager) -> None:
    _, is_new = await BaseRepository(db, Entry).get_or_create(name="000")
    assert not is_new


async def update_once(db: DatabaseManager) -> None:
    entries = BaseRepository(db, Entry)
    entry = await entries.get_by_id(1)
    assert entry is not None
    await entries.update(entry, amount=entry.amount + 1)


async def delete_once(db: DatabaseManager) -> None:
    assert not await BaseRepository(db, Entry).delete_by_id(10**6)


async def upsert_once(db: DatabaseManager) -> None:
    await BaseRepository(db, Entry).upsert(["name"], name="000", amount=1)


async def create_one_of_many(db: DatabaseManager) -> None:
    await BaseRepository(db, Entry).create_many([{"name": uuid4().hex}], returning=True)


async def create_a_thousand(db: DatabaseManager) -> None:
    rows = [{"name": uuid4().hex} for _ in range(1000)]
    assert len(await BaseRepository(db, Entry).create_many(rows, returning=True)) == 1000


async def upsert_a_thousand(db: DatabaseManager) -> None:
    rows = [{"name": f"upserted {number}", "amount": number} for number in range(1000)]
    assert len(await BaseRepository(db, Entry).upsert_many(rows, ["name"])) == 1000


async def read_a_snapshot(db: DatabaseManager) -> None:
    async with db.session(snapshot=True) as session:
        assert await session.get(Entry, 1)


async def read_and_write_exclusively(db: DatabaseManager) -> None:
    async with db.session(write=True) as session:
        entry = await session.get(Entry, 1)
        assert entry is not None
        entry.amount += 1


async def write(db: DatabaseManager) -> None:
    async with db.session() as session:
        session.add(Entry(name=uuid4().hex))


async def write_and_roll_back(db: DatabaseManager) -> None:
    async with db.session() as session:
        session.add(Entry(name="undone"))
        await session.flush()
        await session.rollback()


async def write_many(db: DatabaseManager) -> None:
    async with db.session() as session:
        rows = [{"name": uuid4().hex, "amount": 0} for _ in range(1000)]
        await session.execute(insert(Entry), rows)


async def stream(db: DatabaseManager) -> None:
    async with db.session(read_only=True) as session:
        query = select(Entry.id).limit(ROWS)
        rows = await session.stream(query, execution_options={"yield_per": 10})
        assert len([row async for row in rows]) == ROWS


@pytest.mark.backends("sqlite-file", "sqlite-memory")
@pytest.mark.parametrize(
    ("use", "hops"),
    [
        (do_nothing, 0),
        (commit_nothing, 0),
        (read, 1),
        (read_thrice, 3),
        (read_only, 1),
        (read_once, 1),
        (create_once, 1),
        (get_or_create_once, 1 + 1),  # to look for it, and to store it
        (get_once, 1),
        (update_once, 1 + 1),  # to read it, and to update it
        (delete_once, 1),
        (read_a_snapshot, 2),  # its transaction has an end
        (read_and_write_exclusively, 3),
        (write, 2),
        (write_and_roll_back, 2),
        (write_many, 2),
        (stream, 1 + 1 + ROWS // 10 + 1),  # SQLAlchemy fetches one row first; the last finds none
    ],
)
async def test_hops(
    ledger: DatabaseManager, monkeypatch: pytest.MonkeyPatch, use: Use, hops: int
) -> None:
    await use(ledger)
    await use(ledger)
    with counted_hops(monkeypatch) as counted:
        await use(ledger)
    assert len(counted) == hops, counted


@contextlib.contextmanager
def counted_hops(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Collect what goes through the queues of aiosqlite's threads."""
    counted: list[object] = []
    original = aiosqlite.Connection._execute  # noqa: SLF001 - every hop passes it

    async def count(self: aiosqlite.Connection, function: Any, *arguments: Any) -> Any:
        counted.append(function)
        return await original(self, function, *arguments)  # type: ignore[no-untyped-call]  # it has no types

    post = ConnectionThread.post

    def count_posted(self: ConnectionThread, function: Callable[[], Any]) -> None:
        counted.append(function)
        post(self, function)

    with monkeypatch.context() as patch:
        patch.setattr(aiosqlite.Connection, "_execute", count)
        patch.setattr(ConnectionThread, "post", count_posted)
        yield counted


# psycopg prepares what it runs for the fifth time.
_WARM = 8


# What is used, and how many messages it sends to PostgreSQL and to MariaDB.
_MESSAGES: list[tuple[Use, int, int]] = [
    (do_nothing, 0, 0),
    (commit_nothing, 0, 0),
    (read, 1, 1),
    (read_thrice, 3, 3),
    (read_only, 1, 1),
    (read_once, 1, 1),
    (create_once, 1, 1),
    (get_or_create_once, 1 + 1, 1 + 1),  # to look for it, and to store it
    (get_once, 1, 1),
    (update_once, 1 + 1, 1 + 1),  # to read it, and to update it
    (delete_once, 1, 1),
    (upsert_once, 1, 4),  # to look, to write, to read and to commit
    (create_one_of_many, 1, 2),
    (write, 3, 2),  # only PostgreSQL is sent a BEGIN
    (write_and_roll_back, 3, 2),
    # BEGIN, 1500 values of a column for each row and its key, COMMIT.
    (create_a_thousand, 1 + 2 + 1, 8),
    (upsert_a_thousand, 1 + 2 + 1, 22),
]


@pytest.mark.backends("postgresql", "mariadb")
@pytest.mark.parametrize(("use", "on_postgresql", "on_mariadb"), _MESSAGES)
async def test_messages(
    database_url: str, backend: str, use: Use, on_postgresql: int, on_mariadb: int
) -> None:
    expected = on_postgresql if backend == "postgresql" else on_mariadb
    assert await messages_of(use, database_url) == expected


@pytest.mark.backends("postgresql", "mariadb")
@pytest.mark.parametrize("drive", ["second"], indirect=True)
async def test_messages_of_the_second_driver(driven_url: str, backend: str) -> None:
    column = 1 if backend == "postgresql" else 2
    for row in _MESSAGES:
        assert await messages_of(row[0], driven_url) == row[column], row


async def messages_of(use: Use, url: str) -> int:
    """Return how many messages a use sends once everything is warm."""
    async with opened_through_proxy(url) as (db, proxy):
        for _ in range(_WARM):
            await use(db)
        before = proxy.requests
        await use(db)
        return proxy.requests - before


@contextlib.asynccontextmanager
async def opened_through_proxy(url: str) -> AsyncIterator[tuple[DatabaseManager, Proxy]]:
    async with Proxy(url) as proxy, DatabaseManager(proxy.url) as db:
        yield db, proxy
