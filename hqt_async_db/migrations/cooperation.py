"""Let the event loop run while alembic compares a schema with the models.

Reading a schema awaits the database, comparing it is pure Python: some 20 ms
for our tables, in one step. A comparator that compares nothing and yields to
the loop cuts that into pieces.
"""

from __future__ import annotations

import asyncio
from typing import Final

from alembic.runtime.plugins import Plugin
from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy.util.concurrency import await_, in_greenlet

PLUGIN: Final = "hqt_async_db.cooperation"


def _yield_to_loop(*_: object) -> PriorityDispatchResult:
    if in_greenlet():
        await_(asyncio.sleep(0))
    return PriorityDispatchResult.CONTINUE


def _register() -> None:
    plugin = Plugin(PLUGIN)
    for target, element in (("table", "hqt_yield"), ("column", "hqt_yield")):
        plugin.add_autogenerate_comparator(
            _yield_to_loop, target, element, priority=DispatchPriority.FIRST
        )


_register()
