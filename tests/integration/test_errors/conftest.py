"""A manager on each driver of each backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest
from sqlalchemy import insert, make_url

from hqt_async_db.connection.manager import DatabaseManager
from hqt_async_db.models import Strategy, User

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy import URL

_DRIVERS = {
    "hqt": ("sqlite-file", "sqlite"),
    "asyncpg": ("postgresql", "postgresql+asyncpg"),
    "psycopg": ("postgresql", "postgresql+psycopg"),
    "asyncmy": ("mariadb", "mysql+asyncmy"),
    "aiomysql": ("mariadb", "mysql+aiomysql"),
}


class OpenManager(Protocol):
    """Make a manager on the test's database, disposed of at the end."""

    def __call__(self, *, url: URL | None = None, **options: object) -> DatabaseManager:
        """Return it; ``url`` replaces the test's own."""


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", "drivers(*names): run with these drivers only")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test on every driver, or on those that its mark names."""
    if "driver" not in metafunc.fixturenames:
        return
    mark = metafunc.definition.get_closest_marker("drivers")
    names = mark.args if mark else tuple(_DRIVERS)
    metafunc.parametrize("driver", names, indirect=True)


@pytest.fixture
def driver(request: pytest.FixtureRequest) -> str:
    """The driver under test."""
    return str(request.param)


@pytest.fixture
def backend(driver: str) -> str:
    """The backend that the driver talks to, in place of all backends in turn."""
    return _DRIVERS[driver][0]


@pytest.fixture
def url(database_url: str, driver: str) -> URL:
    """The URL of an empty database, for the driver."""
    return make_url(database_url).set(drivername=_DRIVERS[driver][1])


@pytest.fixture
async def open_manager(url: URL) -> AsyncIterator[OpenManager]:
    """Managers on one database."""
    managers: list[DatabaseManager] = []
    own_url = url

    def open_one(*, url: URL | None = None, **options: Any) -> DatabaseManager:
        managers.append(DatabaseManager(url or own_url, **options))
        return managers[-1]

    yield open_one
    for manager in managers:
        await manager.dispose()


@pytest.fixture
def empty_db(open_manager: OpenManager) -> DatabaseManager:
    """A manager on a database without any table."""
    return open_manager()


@pytest.fixture
async def db(open_manager: OpenManager) -> DatabaseManager:
    """A manager on a database with the schema, one user and one strategy, both number 1."""
    manager = open_manager(lock_timeout_s=1.0)
    await manager.create_all()
    async with manager.session() as session:
        await session.execute(
            insert(User).values(username="ann", email="ann@example.com", password_hash="x")
        )
        await session.execute(insert(Strategy).values(user_id=1, name="cross"))
    return manager
