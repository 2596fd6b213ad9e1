"""The manager itself: health, pools, options that reach the server, and the schema."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
import signal
import subprocess
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import String, make_url, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hqt_async_db import (
    Base,
    ConnectionFailedError,
    DatabaseLockedError,
    DatabaseManager,
    DeadlineExceededError,
    HqtDbError,
    InvalidInputError,
    PoolTimeoutError,
    User,
    UserRepository,
)
from tests.servers.process import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Dialect

    from tests.fixtures.managers import MakeDb, RecordStatements

TRADER = {"username": "trader1", "email": "t@example.com", "password_hash": "hash"}


async def test_no_connection_is_opened_before_the_first_statement(make_db: MakeDb) -> None:
    db = make_db()
    async with db, db.session():
        assert all(pool["in_use"] == 0 == pool["idle"] for pool in db.pool_status().values())


async def test_health_tells_what_a_dashboard_needs(db: DatabaseManager, backend: str) -> None:
    await UserRepository(db).create(**TRADER)
    health = await db.health()
    assert health["commits"] >= 1
    assert health["unknown_outcomes"] == 0
    assert 0 < health["latency_ms"] < 10_000
    assert "***" in health["url"] or backend.startswith("sqlite")
    assert health["server_version"]
    assert health["pools"]["write"]["size"] >= 1


async def test_pool_status_names_who_holds_a_connection(db: DatabaseManager) -> None:
    async with db.session() as session:
        await session.execute(text("SELECT 1"))
        (holder,) = db.pool_status()["write"]["holders"]
    assert "session of task" in holder
    assert "test_manager.py:" in holder
    assert db.pool_status()["write"]["holders"] == []


async def test_an_exhausted_pool_names_the_holders(make_db: MakeDb) -> None:
    db = make_db(pool_size=1, max_overflow=0, pool_timeout=0.2)
    async with db.session() as session:
        await session.execute(text("SELECT 1"))
        waiting = asyncio.create_task(_read(db), name="second bot")
        with pytest.raises(PoolTimeoutError, match=r"session of task .*test_manager\.py:\d+") as e:
            await waiting
        assert e.value.retryable


async def _read(db: DatabaseManager) -> None:
    async with db.session() as session:
        await session.execute(text("SELECT 1"))


async def test_warm_up_leaves_a_connection_of_each_pool(db: DatabaseManager) -> None:
    await db.warm_up()
    assert all(pool["idle"] >= 1 for pool in db.pool_status().values())


async def test_warm_up_reads_the_models_of_a_base_of_ones_own(make_db: MakeDb) -> None:
    class OwnBase(DeclarativeBase):
        pass

    class Tick(OwnBase):
        __tablename__ = "ticks"
        symbol: Mapped[str] = mapped_column(String(20), primary_key=True)
        number: Mapped[int] = mapped_column(primary_key=True)

    db = make_db()
    wrong: Any = OwnBase.metadata
    with pytest.raises(InvalidInputError, match="declarative base"):
        await db.warm_up(wrong)
    with pytest.raises(HqtDbError, match="ticks"):
        await db.warm_up(OwnBase)
    await db.create_all(OwnBase)
    await db.warm_up(OwnBase)
    assert all(pool["idle"] >= 1 for pool in db.pool_status().values())


@pytest.mark.backends("sqlite-file")
async def test_a_file_is_opened_as_promised(db: DatabaseManager) -> None:
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    async with db.session() as session:
        for pragma, value in expected.items():
            assert await session.scalar(text(f"PRAGMA {pragma}")) == value


@pytest.mark.backends("sqlite-file")
async def test_synchronous_can_be_relaxed(make_db: MakeDb) -> None:
    db = make_db(sqlite_synchronous="normal")
    async with db.session() as session:
        assert await session.scalar(text("PRAGMA synchronous")) == 1


@pytest.mark.backends("postgresql", "mariadb", "sqlite-file", "sqlite-memory")
async def test_a_statement_is_ended_at_its_timeout(make_db: MakeDb, backend: str) -> None:
    db = make_db(statement_timeout_s=0.2)
    slow = {
        "postgresql": "SELECT pg_sleep(5)",
        "mariadb": "SELECT sum(a.seq * b.seq) FROM seq_1_to_100000 a, seq_1_to_100000 b",
    }.get(
        backend,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) "
        "SELECT count(*) FROM n",
    )
    started = time.monotonic()
    with pytest.raises(DeadlineExceededError, match="statement_timeout_s"):
        async with db.session() as session:
            await session.execute(text(slow))
    assert time.monotonic() - started < 4


@pytest.mark.backends("postgresql", "mariadb")
async def test_a_row_lock_is_waited_for_no_longer_than_asked(make_db: MakeDb) -> None:
    db = make_db(lock_timeout_s=1)
    await db.create_all()
    user = await UserRepository(db).create(**TRADER)
    async with db.session() as first:
        assert await UserRepository(first).get_by_id(user.id, for_update=True)
        with pytest.raises(DatabaseLockedError):
            async with db.session() as second:
                await UserRepository(second).get_by_id(user.id, for_update=True)


async def test_a_listener_that_never_answers_ends_at_the_connect_timeout() -> None:
    async def ignore(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    writers: list[asyncio.StreamWriter] = []
    listener = await asyncio.start_server(ignore, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    for scheme in ("postgresql", "postgresql+psycopg", "mysql", "mysql+aiomysql"):
        async with DatabaseManager(
            f"{scheme}://u:hunter2@127.0.0.1:{port}/d", connect_timeout_s=0.3
        ) as db:
            started = time.monotonic()
            with pytest.raises(ConnectionFailedError) as caught:
                await db.ping()
            assert time.monotonic() - started < 5
            assert "hunter2" not in str(caught.value)
    listener.close()
    for writer in writers:
        writer.close()


async def test_like_tells_case_apart_and_ilike_does_not(db: DatabaseManager) -> None:
    users = UserRepository(db)
    await users.create(**TRADER)
    assert await users.count(User.username.like("trader%")) == 1
    assert await users.count(User.username.like("TRADER%")) == 0
    assert await users.count(User.username.ilike("TRADER%")) == 1


async def test_drop_all_asks_first(db: DatabaseManager) -> None:
    await UserRepository(db).create(**TRADER)
    with pytest.raises(InvalidInputError, match="confirm=True"):
        await db.drop_all()
    assert await UserRepository(db).count() == 1
    await db.drop_all(confirm=True)
    await db.create_all()
    assert await UserRepository(db).count() == 0


async def test_create_all_takes_a_base_or_its_metadata(make_db: MakeDb) -> None:
    db = make_db()
    await db.create_all(Base)
    await db.create_all(Base.metadata)
    assert await UserRepository(db).count() == 0


async def test_echo_shows_statements_and_no_values(
    make_db: MakeDb, caplog: pytest.LogCaptureFixture
) -> None:
    db = make_db(echo=True)
    await db.create_all()
    await UserRepository(db).create(**TRADER | {"password_hash": "hunter2-planted"})
    assert "INSERT INTO users" in caplog.text
    assert "hunter2-planted" not in caplog.text


async def test_rows_that_are_read_are_never_logged(
    make_db: MakeDb, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "sqlalchemy.engine")
    db = make_db()
    await db.create_all()
    await UserRepository(db).create(**TRADER | {"password_hash": "hunter2-planted"})
    found = await UserRepository(db).get_one(username="trader1")
    assert found.password_hash == "hunter2-planted"
    assert "SELECT" in caplog.text
    assert "hunter2-planted" not in caplog.text


@pytest.mark.backends("mariadb")
@pytest.mark.parametrize("driver", ["asyncmy", "aiomysql"])
async def test_server_warnings_are_not_logged_with_their_values(
    database_url: str, driver: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = make_url(database_url).set(drivername=f"mysql+{driver}")
    async with DatabaseManager(url) as db, db.session() as session:
        assert await session.scalar(text("SELECT 'hunter2-planted' = 1")) == 0
    assert "hunter2-planted" not in caplog.text.replace("SELECT 'hunter2-planted'", "")


@pytest.mark.parametrize(
    ("backend", "driver"),
    [
        ("sqlite-file", "sqlite+aiosqlite"),
        ("postgresql", "postgresql+psycopg"),
        ("mariadb", "mysql+aiomysql"),
        ("mariadb", "mariadb+asyncmy"),
    ],
)
async def test_every_driver_that_a_url_may_name_works(
    database_url: str, driver: str, statements: RecordStatements
) -> None:
    url = make_url(database_url).set(drivername=driver)
    async with DatabaseManager(url) as db:
        await db.create_all()
        users = UserRepository(db)
        stored = await users.create(**TRADER)
        await users.update(stored, full_name="John Trader")
        with statements(db) as sent:
            found = await users.get_by_id(stored.id, load=(User.strategies,))
        assert len(sent) == 2
        assert found is not None
        assert (found.full_name, found.strategies) == ("John Trader", [])
        assert found.created_at == stored.created_at
        async with db.session(write=True) as session:
            await UserRepository(session).delete_by_id(stored.id)
        assert await users.count() == 0


@pytest.fixture
def pgbouncer_url(database_url: str, tmp_path: Path) -> Iterator[str]:
    """URL of the test's database behind a pgbouncer in transaction mode."""
    program = shutil.which("pgbouncer") or shutil.which(
        "pgbouncer", path="/usr/sbin:/usr/local/sbin"
    )
    if program is None:
        pytest.skip("pgbouncer is not installed")
    url = make_url(database_url)
    port = free_port()
    configuration = tmp_path / "pgbouncer.ini"
    configuration.write_text(
        f"[databases]\n{url.database} = host={url.host} port={url.port} user={url.username} "
        f"password={url.password}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
        "auth_type = any\npool_mode = transaction\ndefault_pool_size = 2\nunix_socket_dir =\n"
    )
    command = [program, str(configuration)]
    if os.geteuid() == 0:  # it refuses to run as root
        tmp_path.chmod(0o755)
        command = [program, "-u", "nobody", str(configuration)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    yield url.set(port=port).render_as_string(hide_password=False)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=10)


@pytest.mark.backends("postgresql")
async def test_pgbouncer_in_transaction_mode_works(pgbouncer_url: str) -> None:
    async with DatabaseManager(
        pgbouncer_url, pgbouncer=True, statement_timeout_s=2, lock_timeout_s=1.5
    ) as db:
        await _until_it_answers(db)
        await db.create_all()
        users = UserRepository(db)

        async def work(number: int) -> None:
            name = f"trader{number}"
            for _ in range(5):
                await users.upsert(
                    ["username"], username=name, email=f"{name}@example.com", password_hash="h"
                )
                assert await users.get_by_username(name)

        await asyncio.gather(*(work(number) for number in range(8)))
        assert await users.count() == 8
        async with db.session() as session:
            assert await session.scalar(text("SHOW lock_timeout")) == "1500ms"
        with pytest.raises(DeadlineExceededError):
            async with db.session() as session:
                await session.execute(text("SELECT pg_sleep(10)"))


async def _until_it_answers(db: DatabaseManager) -> None:
    deadline = time.monotonic() + 5
    while True:
        try:
            await db.ping()
        except ConnectionFailedError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            return


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
@pytest.mark.usefixtures("db")
async def test_what_repositories_keep_for_a_manager_ends_with_it(database_url: str) -> None:
    async def use() -> weakref.ref[Dialect]:
        async with DatabaseManager(database_url) as db:
            users = UserRepository(db)
            await users.get_by_id(1)
            await users.get_many(username="a", limit=1)
            await users.delete_by_id(1)
            return weakref.ref(db.engine.dialect)

    gone = await use()
    gc.collect()
    assert gone() is None
