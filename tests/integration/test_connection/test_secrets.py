"""Nothing that the loop, the driver or the pool logs shows a value."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, update

from hqt_async_db import DuplicateKeyError
from tests.integration.test_connection.entries import Entry

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager

WRITTEN = "Zq7-written"
READ = "Zq7-read"


async def test_in_debug_mode(ledger: DatabaseManager, caplog: pytest.LogCaptureFixture) -> None:
    async with ledger.session() as session:
        session.add(Entry(name=READ))
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0  # each callback is logged, with what it is called with
    async with ledger.session() as session:
        session.add(Entry(name=WRITTEN))
        await session.flush()
        await session.execute(update(Entry).where(Entry.name == WRITTEN).values(amount=1))
        assert READ in (await session.scalars(select(Entry.name))).all()
    for options in ({"read_only": True}, {"snapshot": True}):
        async with ledger.session(**options) as session:
            rows = await session.stream(select(Entry.name), execution_options={"yield_per": 1})
            assert len([row async for row in rows]) == 2
    with pytest.raises(DuplicateKeyError):
        async with ledger.session() as session:
            session.add(Entry(name=WRITTEN))
    with suppress(TimeoutError):
        async with asyncio.timeout(0.001), ledger.session() as session:
            await session.execute(select(Entry).where(Entry.name == WRITTEN))
    loop.set_debug(False)
    told = [record.getMessage() for record in caplog.records]
    assert any("Executing <" in line for line in told), "the loop told nothing"
    assert not [line for line in told if "Zq7" in line]
