"""Listeners and functions of the user's that fail: their errors are not the database's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event

from tests.integration.test_connection.entries import Entry, names_in

if TYPE_CHECKING:
    from sqlalchemy.orm import Session as SyncSession

    from hqt_async_db import DatabaseManager, Session

pytestmark = pytest.mark.backends("sqlite-file", "postgresql")
FAILURES = (FileNotFoundError("no config"), ConnectionResetError("no feed"), TimeoutError("slow"))


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
async def test_what_a_function_of_the_user_raises_is_not_retried(
    ledger: DatabaseManager, failure: OSError
) -> None:
    calls: list[None] = []

    def fail(_session: SyncSession) -> None:
        calls.append(None)
        raise failure

    async def work(session: Session) -> None:
        await session.run_sync(fail)

    with pytest.raises(type(failure)) as caught:
        await ledger.run(work)
    assert caught.value is failure
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("before_flush", "rolled_back"),
        ("before_commit", "rolled_back"),
        ("after_commit", "committed"),
    ],
)
async def test_an_outcome_is_told_in_spite_of_a_listener(
    ledger: DatabaseManager, name: str, outcome: str
) -> None:
    def fail(*_: object) -> None:
        msg = "the message bus is down"
        raise ConnectionRefusedError(msg)

    session = ledger.session()
    event.listen(session.sync_session, name, fail)
    with pytest.raises(ConnectionRefusedError):
        async with session:
            session.add(Entry(name="mine"))
    assert session.outcome == outcome
    assert await names_in(ledger) == ({"mine"} if outcome == "committed" else set())
