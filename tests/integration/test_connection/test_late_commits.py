"""One-shot writes of a SQLite file whose COMMIT does not come back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from hqt_async_db import CommitOutcomeUnknownError, DatabaseLockedError, DuplicateKeyError
from tests.integration.test_connection.entries import names_in
from tests.integration.test_connection.holding import Held, locked_by_another_program, until
from tests.integration.test_connection.test_write_lane import create, outcomes_of, repository

if TYPE_CHECKING:
    from tests.fixtures.managers import MakeDb

pytestmark = pytest.mark.backends("sqlite-file")


async def release(held: Held) -> None:
    """Let the commit go on, and wait until its connection, which was given up, is closed."""
    held.release_commits()
    await until(lambda: not any("SQLite lane" in t.get_name() for t in asyncio.all_tasks()))


@pytest.mark.usefixtures("ledger")
async def test_a_commit_that_does_not_come_back(make_db: MakeDb) -> None:
    db = make_db(commit_timeout_s=0.2, lock_timeout_s=0.4)
    held = Held(db)
    await repository(db).create(name="warm")
    held.hold_commits()
    with pytest.raises(CommitOutcomeUnknownError):
        await repository(db).create(name="slow")
    with pytest.raises(DatabaseLockedError, match="held by one-shot write of task 'no task'"):
        await repository(db).create(name="meanwhile")
    assert (await outcomes_of(db))[2] == 1
    await release(held)
    await repository(db).create(name="later")
    assert await names_in(db) - {"slow"} == {"warm", "later"}
    assert (await outcomes_of(db))[2] == 1


@pytest.mark.usefixtures("ledger")
async def test_a_refused_write_beside_a_commit_that_does_not_come_back(make_db: MakeDb) -> None:
    db = make_db(commit_timeout_s=0.2)
    held = Held(db)
    await repository(db).create(name="warm")
    async with db.session(write=True) as session:
        await session.execute(text("SELECT 1"))
        tasks = [create(db, "warm"), create(db, "slow")]
        await asyncio.sleep(0)
        held.hold_commits()
        before = held.commits
        await session.rollback()  # which is not held
    refused, unknown = await asyncio.gather(*tasks, return_exceptions=True)
    await release(held)
    assert held.commits == before + 1  # they share it
    assert isinstance(refused, DuplicateKeyError)
    assert isinstance(unknown, CommitOutcomeUnknownError)
    assert (await outcomes_of(db))[2] == 1


@pytest.mark.usefixtures("ledger")
async def test_a_cancelled_write_whose_commit_does_not_come_back(make_db: MakeDb) -> None:
    db = make_db(commit_timeout_s=0.2)
    held = Held(db)
    await repository(db).create(name="warm")
    held.hold_commits()
    task = create(db, "slow")
    await until(held.in_commit.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await task
    assert isinstance(cancelled.value.__cause__, CommitOutcomeUnknownError)
    await release(held)


@pytest.mark.usefixtures("ledger")
async def test_nothing_goes_on_looking_at_the_clock(make_db: MakeDb, database_url: str) -> None:
    db = make_db(commit_timeout_s=0.05)
    await repository(db).create(name="warm")
    async with locked_by_another_program(database_url):
        task = create(db, "slow")
        await asyncio.sleep(0.2)
    await task
    await asyncio.sleep(0.1)
    loop: Any = asyncio.get_running_loop()
    timers = [str(timer) for timer in loop._scheduled if not timer.cancelled()]  # noqa: SLF001 - no public way
    assert not [timer for timer in timers if "WriteLane" in timer]
