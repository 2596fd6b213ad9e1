"""stats and health."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hqt_async_db import DatabaseManager
from tests.integration.test_repository.samples import add_user

if TYPE_CHECKING:
    from tests.integration.test_cli.conftest import Run, RunJson

pytestmark = pytest.mark.backends("sqlite-file", "postgresql", "mariadb")


def test_stats_count_rows(hqt_db: Run, hqt_db_json: RunJson, database_url: str) -> None:
    hqt_db("init")
    asyncio.run(add_one_user(database_url))
    (users,) = (line for line in hqt_db("stats").splitlines() if " users " in line)
    assert users.split()[3] == "1"
    found = hqt_db_json("stats")
    assert found["total_rows"] == 1
    assert found["newest"]["users"].endswith("+00:00")


def test_health_gives_figures(hqt_db: Run, hqt_db_json: RunJson, backend: str) -> None:
    hqt_db("init")
    assert "latency_ms" in hqt_db("health")
    assert hqt_db_json("health")["dialect"] in {"mysql": "mysql"}.get(backend, backend)


def test_a_database_without_the_schema_says_so(hqt_db: Run) -> None:
    hqt_db("upgrade")
    hqt_db("downgrade", "base", "--yes")
    assert "is the schema there?" in hqt_db("stats", code=1)


async def add_one_user(url: str, name: str = "trader") -> None:
    async with DatabaseManager(url) as db:
        await add_user(db, name)
