"""Fixtures of the connection layer's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest
from sqlalchemy import make_url

from tests.integration.test_connection.entries import create_table

if TYPE_CHECKING:
    from hqt_async_db.connection.manager import DatabaseManager
    from tests.fixtures.managers import MakeDb

_SECOND = {"postgresql": "postgresql+psycopg", "mariadb": "mysql+aiomysql"}


class Drive(Protocol):
    """Give the URL of a server's database a driver."""

    def __call__(self, url: str) -> str:
        """Return the URL."""


@pytest.fixture(params=["first", "second"])
def drive(request: pytest.FixtureRequest, backend: str) -> Drive:
    """Each of the two drivers of the test's server."""

    def drive(url: str) -> str:
        if request.param == "first":
            return url
        name = _SECOND[backend]
        return make_url(url).set(drivername=name).render_as_string(hide_password=False)

    return drive


@pytest.fixture
def driven_url(database_url: str, drive: Drive) -> str:
    """The test's database through each driver."""
    return drive(database_url)


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
