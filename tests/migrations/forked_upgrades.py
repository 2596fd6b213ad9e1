"""Upgrade ``HQT_DATABASE_URL`` in forked processes that race, or are killed.

A program of its own, because it forks: what it needs is imported once, and
all children start at the same moment. Arguments: ``race`` or ``sweep``, and
the directory of the scripts.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import event

from hqt_async_db import DatabaseManager, migrations
from hqt_async_db.migrations import scripts
from tests.migrations.schemas import schema_of

if TYPE_CHECKING:
    from collections.abc import Coroutine


async def upgrade(kill_at: int = 0) -> None:
    """Upgrade; die before the statement with that number is sent."""
    async with DatabaseManager() as db:
        number = count(1)

        @event.listens_for(db.engine.sync_engine, "before_cursor_execute")
        def _die(*_: object) -> None:
            if next(number) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        for revision in await migrations.upgrade(db):
            print(revision.revision, flush=True)  # noqa: T201 - the test reads it


async def state() -> tuple[str | None, dict[str, list[str]]]:
    """Return the revision and the schema."""
    async with DatabaseManager() as db:
        return await migrations.current(db), await schema_of(db.engine)


def fork(work: Coroutine[object, object, None]) -> int:
    """Run ``work`` in a child process; return its number."""
    child = os.fork()
    if child:
        work.close()
        return child
    code = 1
    try:
        asyncio.run(work)
        code = 0
    finally:
        sys.stdout.flush()
        os._exit(code)


def race() -> None:
    """Upgrade in four processes at once."""
    for child in [fork(upgrade()) for _ in range(4)]:
        _, status = os.waitpid(child, 0)
        print("exit", os.waitstatus_to_exitcode(status))  # noqa: T201 - the test reads it


def sweep() -> None:
    """Kill an upgrade before each of its statements; each must leave nothing."""
    before = asyncio.run(state())
    for kill_at in count(1):
        _, status = os.waitpid(fork(upgrade(kill_at)), 0)
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            break
        after = asyncio.run(state())
        if after[0] != before[0]:
            break  # killed once the upgrade was committed
        assert after == before, kill_at
        print("killed", kill_at, flush=True)  # noqa: T201 - the test reads it


vars(scripts)["_PLACES"] = (Path(sys.argv[2]),)
{"race": race, "sweep": sweep}[sys.argv[1]]()
