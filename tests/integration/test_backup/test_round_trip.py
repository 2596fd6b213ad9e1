"""Every row of all 13 tables, from one backend to the next and back."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from hqt_async_db import DatabaseManager
from hqt_async_db.backup.copying import copy_database
from tests.integration.test_backup.generated import Rows, databases, exactly, read, store

if TYPE_CHECKING:
    from tests.fixtures.backends import FindDatabases

ROUND = ("sqlite-file", "postgresql", "mariadb", "sqlite-file")


@pytest.mark.timeout(60)
# To make a failing example smaller would take minutes, at four databases each.
@settings(max_examples=6, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(rows=databases())
def test_every_row_comes_back_as_it_was(rows: Rows, find_databases: FindDatabases) -> None:
    makers = [find_databases(backend) for backend in ROUND]
    urls = [databases.create(with_schema=True) for databases in makers]
    try:
        asyncio.run(_go_round(urls, rows))
    finally:
        left = [maker.drop(url) for maker, url in zip(makers, urls, strict=True)]
    assert left == [[]] * len(ROUND)


async def _go_round(urls: list[str], rows: Rows) -> None:
    async with DatabaseManager(urls[0]) as first:
        await store(first, rows)
        stored = await read(first)
    results = [await copy_database(source, target) for source, target in pairwise(urls)]
    assert results == [results[0]] * len(results)
    for url in urls[1:]:
        async with DatabaseManager(url) as db:
            assert exactly(await read(db)) == exactly(stored)
