"""The same again through the other driver of each server: psycopg, aiomysql."""

from __future__ import annotations

import pytest
from sqlalchemy import make_url

from tests.integration.test_one_shot.test_same_errors import (
    prepared,
    test_the_error_is_the_same_and_shows_no_value,
    test_the_short_way_is_taken_by_what_the_database_refuses,
)
from tests.integration.test_one_shot.test_same_many import (
    test_more_rows_than_one_statement_takes,
    test_rows_that_are_created,
    test_rows_that_may_exist,
)
from tests.integration.test_one_shot.test_same_reads import (
    stored,
    test_counts_and_single_rows,
    test_instances,
    test_lists,
    test_lists_of_pairs_and_by_name,
    test_rows_by_name,
)
from tests.integration.test_one_shot.test_same_writes import (
    test_each_verb_takes_its_way,
    test_many_rows_at_once,
    test_one_row_from_its_creation_to_its_end,
)

pytestmark = [pytest.mark.timeout(60), pytest.mark.backends("postgresql", "mariadb")]

__all__ = [
    "prepared",
    "stored",
    "test_counts_and_single_rows",
    "test_each_verb_takes_its_way",
    "test_instances",
    "test_lists",
    "test_lists_of_pairs_and_by_name",
    "test_many_rows_at_once",
    "test_more_rows_than_one_statement_takes",
    "test_one_row_from_its_creation_to_its_end",
    "test_rows_by_name",
    "test_rows_that_are_created",
    "test_rows_that_may_exist",
    "test_the_error_is_the_same_and_shows_no_value",
    "test_the_short_way_is_taken_by_what_the_database_refuses",
]

# MySQL has no short way for many rows.
for of_many in (
    test_more_rows_than_one_statement_takes,
    test_rows_that_are_created,
    test_rows_that_may_exist,
):
    pytest.mark.backends("postgresql")(of_many)

SECOND = {"postgresql": "postgresql+psycopg", "mariadb": "mysql+aiomysql"}


@pytest.fixture
def database_url(database_url: str, backend: str) -> str:
    """The database through the other driver."""
    url = make_url(database_url).set(drivername=SECOND[backend])
    return url.render_as_string(hide_password=False)
