"""The same again through the other driver of each server: psycopg, aiomysql."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url

from hqt_async_db.models import LiveTrade, OptimizationResult
from tests.integration.test_one_shot.rows import MODELS
from tests.integration.test_one_shot.test_same_errors import (
    CASES,
    prepared,
    test_the_short_way_is_taken_by_what_the_database_refuses,
)
from tests.integration.test_one_shot.test_same_errors import (
    test_the_error_is_the_same_and_shows_no_value as require_same_error,
)
from tests.integration.test_one_shot.test_same_many import (
    test_more_rows_than_one_statement_takes as require_same_rows,
)
from tests.integration.test_one_shot.test_same_many import (
    test_rows_that_are_created,
    test_rows_that_may_exist,
)
from tests.integration.test_one_shot.test_same_reads import (
    stored,
    test_counts_and_single_rows,
    test_instances,
    test_lists,
    test_rows_by_name,
)
from tests.integration.test_one_shot.test_same_writes import (
    test_each_verb_takes_its_way as require_short_verbs,
)
from tests.integration.test_one_shot.test_same_writes import (
    test_many_rows_at_once,
    test_one_row_from_its_creation_to_its_end,
)

if TYPE_CHECKING:
    from tests.integration.test_one_shot.ways import Ways

pytestmark = [pytest.mark.timeout(60), pytest.mark.backends("postgresql", "mariadb")]

__all__ = [
    "prepared",
    "stored",
    "test_counts_and_single_rows",
    "test_instances",
    "test_lists",
    "test_many_rows_at_once",
    "test_one_row_from_its_creation_to_its_end",
    "test_rows_by_name",
    "test_rows_that_are_created",
    "test_rows_that_may_exist",
    "test_the_short_way_is_taken_by_what_the_database_refuses",
]

SECOND = {"postgresql": "postgresql+psycopg", "mariadb": "mysql+aiomysql"}

# MySQL has no short way for many rows.
for of_many in (test_rows_that_are_created, test_rows_that_may_exist):
    pytest.mark.backends("postgresql")(of_many)


@pytest.fixture
def database_url(database_url: str, backend: str) -> str:
    """The database through the other driver."""
    url = make_url(database_url).set(drivername=SECOND[backend])
    return url.render_as_string(hide_password=False)


async def test_each_verb_of_each_model_takes_its_way(ways: Ways) -> None:
    for model in MODELS:
        await require_short_verbs(ways, model)


async def test_every_error_is_the_same(prepared: Ways) -> None:
    for call in CASES:
        await require_same_error(prepared, call)


@pytest.mark.backends("postgresql")
async def test_more_rows_than_one_statement_takes(ways: Ways) -> None:
    for model in (LiveTrade, OptimizationResult):
        await require_same_rows(ways, model)
