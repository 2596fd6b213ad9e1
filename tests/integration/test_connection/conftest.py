"""Fixtures of the connection layer's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.test_connection.entries import create_table

if TYPE_CHECKING:
    from hqt_async_db.connection.manager import DatabaseManager
    from tests.fixtures.managers import MakeDb


@pytest.fixture
async def ledger(make_db: MakeDb) -> DatabaseManager:
    """A manager on a database with the one table of these tests."""
    manager = make_db()
    await create_table(manager)
    return manager


@pytest.fixture
def witness(backend: str, ledger: DatabaseManager, make_db: MakeDb) -> DatabaseManager:
    """A second manager on the same database; in memory there can be none but the first."""
    return ledger if backend == "sqlite-memory" else make_db()
