"""One-shot writes that a server is asked to end: it hears of it, and what it says is told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import aiomysql
import pytest
from sqlalchemy import make_url, text

from hqt_async_db import (
    CommitOutcomeUnknownError,
    DatabaseManager,
    DeadlineExceededError,
    HqtDbError,
    InvalidInputError,
    NotificationRepository,
    UserRepository,
)
from tests.integration.test_connection.entries import Entry, amount_of, names_in
from tests.integration.test_connection.lines import Proxy
from tests.integration.test_connection.locked import (
    cancel_what_waits,
    change,
    locked_row,
    repository,
    until_so_many_wait,
)

if TYPE_CHECKING:
    from tests.fixtures.managers import MakeDb

pytestmark = pytest.mark.backends("postgresql", "mariadb")


@pytest.fixture
def database_url(driven_url: str) -> str:
    """The test's database, through each driver."""
    return driven_url


async def test_one_that_waits_for_too_long_is_ended_and_not_committed_later(
    ledger: DatabaseManager, make_db: MakeDb
) -> None:
    db = make_db(commit_timeout_s=0.3)
    entry = await repository(db).create(name="locked")
    async with locked_row(ledger, "locked"):
        started = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            await change(db, entry, 7)
        assert time.monotonic() - started < 1.3
        await until_so_many_wait(ledger, 0)
    assert await amount_of(ledger, "locked") == 0
    health = await db.health()
    assert (health["rollbacks"], health["unknown_outcomes"]) == (1, 0)
    await change(db, entry, 8)
    assert await amount_of(ledger, "locked") == 8


async def test_one_that_is_cancelled_behind_a_proxy_ends_at_once(
    ledger: DatabaseManager, database_url: str
) -> None:
    async with Proxy(database_url) as proxy:
        await _require_prompt_end(ledger, proxy.url)


@pytest.mark.backends("mariadb")
async def test_one_that_is_cancelled_on_a_unix_socket_ends_at_once(
    ledger: DatabaseManager, database_url: str
) -> None:
    async with ledger.session(read_only=True) as session:
        socket = await session.scalar(text("SELECT @@socket"))
    url = make_url(database_url).update_query_dict({"unix_socket": socket})
    await _require_prompt_end(ledger, url.render_as_string(hide_password=False))


async def _require_prompt_end(ledger: DatabaseManager, url: str) -> None:
    async with DatabaseManager(url) as db:
        entry = await repository(db).create(name="locked")
        async with locked_row(ledger, "locked"):
            assert await cancel_what_waits(db, ledger, entry) < 1
            await until_so_many_wait(ledger, 0)
        assert await amount_of(ledger, "locked") == 0
        assert (await db.health())["rollbacks"] == 1


@pytest.mark.backends("mariadb")
async def test_what_was_rolled_back_goes_with_no_later_commit(
    ledger: DatabaseManager, make_db: MakeDb
) -> None:
    """Also where the driver sends statements that it has prepared, past what sends the others."""
    is_asyncmy = ledger.engine.dialect.driver == "asyncmy"
    arguments = {"stmt_cache_size": 100} if is_asyncmy else {}
    db = make_db(pool_size=1, max_overflow=0, connect_args=arguments)
    insert = text("INSERT INTO entries (name, amount) VALUES (:name, 0)")
    for number in range(3):
        async with db.session() as session:
            await session.execute(insert, {"name": f"kept {number}"})
        async with db.session() as session:
            await session.execute(insert, {"name": f"undone {number}"})
            await session.rollback()
        await repository(db).create(name=f"one-shot {number}")
    names = {f"{kind} {number}" for kind in ("kept", "one-shot") for number in range(3)}
    assert await names_in(ledger) == names


@pytest.mark.backends("mariadb")
async def test_a_row_too_large_for_the_server_leaves_no_doubt(db: DatabaseManager) -> None:
    async with db.session(read_only=True) as session:
        most = int(await session.scalar(text("SELECT @@max_allowed_packet")) or 0)
    user = await UserRepository(db).create(username="a", email="a@b.org", password_hash="-")
    notifications = NotificationRepository(db)
    values = {"user_id": user.id, "level": "info", "title": "large"}
    with pytest.raises(HqtDbError) as refused:
        await notifications.create(**values, message="x" * (most + 1))
    assert not isinstance(refused.value, InvalidInputError | CommitOutcomeUnknownError)
    assert await notifications.count() == 0
    await notifications.create(**values, message="x")


@pytest.mark.backends("mariadb")
async def test_the_cursors_of_a_connection_may_be_of_another_kind(
    ledger: DatabaseManager, make_db: MakeDb
) -> None:
    # With asyncmy SQLAlchemy itself takes whatever cursors the connection gives.
    is_aiomysql = ledger.engine.dialect.driver == "aiomysql"
    db = make_db(connect_args={"cursorclass": aiomysql.DictCursor} if is_aiomysql else {})
    created = await repository(db).create(name="a", amount=3)
    found = await repository(db).get_by_id(created.id)
    assert isinstance(found, Entry)
    assert found.amount == 3
