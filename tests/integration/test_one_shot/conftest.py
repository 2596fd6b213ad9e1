"""Both ways on databases with parents for the rows of all tables."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.integration.test_one_shot.rows import PARENTS
from tests.integration.test_one_shot.ways import CountingManager, Ways

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hqt_async_db import DatabaseManager
    from tests.fixtures.managers import CreateInMemory, RecordStatements


@pytest.fixture
async def ways(
    backend: str,
    db: DatabaseManager,
    database_url: str,
    create_in_memory: CreateInMemory,
    statements: RecordStatements,
) -> AsyncIterator[Ways]:
    """Both managers; in memory each has a database of its own, with the same rows."""
    del db  # the schema is there
    short, plain = CountingManager(database_url), CountingManager(database_url)
    in_memory = backend == "sqlite-memory"
    with ExitStack() as listening:
        for manager in (short, plain)[: 2 if in_memory else 1]:
            if in_memory:
                await create_in_memory(manager)
            async with manager.session() as session:
                for model, row in PARENTS:
                    session.add(model(**row))
                    await session.flush()
        listening.enter_context(statements(plain))
        yield Ways(short, plain, is_short=True)
    await short.dispose()
    await plain.dispose()
