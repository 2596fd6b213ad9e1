"""What dispose() waits for, and what it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event
from sqlalchemy.util import await_only

from tests.integration.test_connection.entries import Entry, names_in
from tests.integration.test_connection.holding import until

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager

pytestmark = pytest.mark.timeout(60)


async def test_who_disposes_again_waits_for_a_commit_as_well(
    ledger: DatabaseManager, witness: DatabaseManager
) -> None:
    is_committing, may_commit = asyncio.Event(), asyncio.Event()

    @event.listens_for(ledger.engine.sync_engine, "commit")
    def _hold(_connection: object) -> None:
        is_committing.set()
        await_only(may_commit.wait())

    session = ledger.session()
    session.add(Entry(name="mine"))
    commit = asyncio.create_task(session.commit())
    await until(is_committing.is_set)
    disposals = [asyncio.create_task(ledger.dispose()) for _ in range(3)]
    done, _ = await asyncio.wait(disposals, timeout=0.02)
    assert not done
    disposals[1].cancel()
    may_commit.set()
    await asyncio.wait(disposals)
    assert commit.done()
    assert session.outcome == "committed"
    assert [disposal.cancelled() for disposal in disposals] == [False, True, False]
    await ledger.dispose()
    if witness is not ledger:
        assert await names_in(witness) == {"mine"}
