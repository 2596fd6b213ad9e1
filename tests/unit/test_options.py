"""Options are checked when the manager is made, by name."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy.pool import NullPool, StaticPool

from hqt_async_db.connection.backends.backend import Role
from hqt_async_db.connection.backends.mysql.backend import MySQL
from hqt_async_db.connection.backends.postgresql.backend import PostgreSQL
from hqt_async_db.connection.manager import DatabaseManager
from hqt_async_db.connection.options import Options
from hqt_async_db.connection.urls import resolve
from hqt_async_db.errors import ConfigurationError, InvalidInputError


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("pool_size", 0),
        ("pool_size", "5"),
        ("pool_size", True),
        ("max_overflow", -2),
        ("pool_timeout", 0),
        ("pool_timeout", float("nan")),
        ("connect_timeout_s", -1),
        ("lock_timeout_s", "10"),
        ("commit_timeout_s", float("inf")),
        ("statement_timeout_s", 0),
        ("sqlite_synchronous", "SOMETIMES"),
        ("sqlite_wal_limit_mb", 0),
        ("isolation_level", "SERIALIZABLE"),
        ("execution_options", {"isolation_level": "AUTOCOMMIT"}),
        ("no_such_option", 1),
        ("echo", "debug"),
        ("logging_name", "mine"),
        ("pgbouncer", True),
        ("pgbouncer", "false"),
        ("pool_pre_ping", "no"),
        ("poolclass", "NullPool"),
        ("poolclass", int),
        ("sqlite_synchronous", None),
        ("sqlite_synchronous", 1),
        ("connect_args", "x"),
        ("connect_args", [1]),
    ],
)
def test_an_option_that_cannot_work_is_refused_by_name(option: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=option):
        DatabaseManager("sqlite:///x.db", **{option: value})


def test_static_pool_is_refused_with_the_reason() -> None:
    with pytest.raises(ConfigurationError, match="one transaction"):
        DatabaseManager("sqlite:///x.db", poolclass=StaticPool)


@pytest.mark.parametrize("driver", ["postgresql+asyncpg", "postgresql+psycopg", "mariadb+asyncmy"])
def test_no_limit_is_so_short_that_it_is_none(driver: str) -> None:
    limits = Options(lock_timeout_s=1e-7, statement_timeout_s=1e-7)
    target = resolve(f"{driver}://user@nowhere.invalid/d")
    backend = (MySQL if target.backend == "mariadb" else PostgreSQL)(target, limits)
    arguments = str(backend.engine_arguments(Role.WRITE)["connect_args"])
    found = re.findall(r"(?:_timeout|_time)\b['=: ]+([\d.e-]+)", arguments)
    assert len(found) >= 2
    assert all(float(limit) >= 0.001 for limit in found)


def test_options_of_the_old_layer_are_accepted() -> None:
    DatabaseManager(
        url="sqlite:///hqt.db",
        echo=False,
        pool_size=5,
        max_overflow=10,
        pool_timeout=30,
        pool_recycle=3600,
        connect_args={"check_same_thread": False},
        poolclass=NullPool,
    )


def test_making_a_manager_touches_no_file_and_shows_no_password() -> None:
    db = DatabaseManager("postgresql://user:hunter2@nowhere.invalid/d")
    assert repr(db) == "DatabaseManager('postgresql+asyncpg://user:***@nowhere.invalid/d')"


async def test_modes_exclude_each_other() -> None:
    db = DatabaseManager("sqlite:///:memory:")
    with pytest.raises(InvalidInputError, match="exclude"):
        db.session(write=True, snapshot=True)
    await db.dispose()
