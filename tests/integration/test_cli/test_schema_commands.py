"""init, upgrade, downgrade, current, history and check."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from hqt_async_db import DatabaseManager
from tests.integration.test_cli.conftest import invoke

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.test_cli.conftest import Run, RunJson

# In memory every command has a database of its own.
pytestmark = pytest.mark.backends("sqlite-file", "postgresql", "mariadb")


def test_a_schema_is_made_compared_and_taken_back(hqt_db: Run) -> None:
    for _ in range(2):
        assert hqt_db("init") == "The schema is at revision hqt_0001.\n"
    assert hqt_db("current") == "hqt_0001\n"
    assert hqt_db("check") == "The schema is the one of the models.\n"
    assert hqt_db("upgrade") == "applied: nothing to do\n"
    assert hqt_db("downgrade", "-1", "--yes") == "undone: hqt_0001\n"
    assert hqt_db("current") == "base\n"
    assert "at revision base, the newest is hqt_0001" in hqt_db("check", code=3)
    assert hqt_db("upgrade", "+1") == "applied: hqt_0001\n"
    assert hqt_db("current") == "hqt_0001\n"


@pytest.mark.backends("sqlite-file")
def test_an_upgrade_says_that_it_made_the_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/typo.db"
    for url_given, is_new in ((url, True), (url, False), (f"{url}.file", True)):
        done = invoke("upgrade", url=url_given)
        assert done.exit_code == 0
        assert (f"{tmp_path}/typo.db" in done.stdout and "is new" in done.stdout) is is_new


def test_scripts_get_one_document_of_each(hqt_db_json: RunJson) -> None:
    assert hqt_db_json("upgrade") == {"applied": ["hqt_0001"]}
    assert hqt_db_json("current") == {"revision": "hqt_0001"}
    assert hqt_db_json("init") == {"revision": "hqt_0001"}
    assert hqt_db_json("check") == {"matches": True}
    (newest, *_) = hqt_db_json("history")
    assert newest["revision"] == "hqt_0001"
    assert newest["is_current"]
    assert hqt_db_json("downgrade", "base", "--yes") == {"undone": ["hqt_0001"]}
    assert hqt_db_json("current") == {"revision": None}


def test_the_history_marks_the_current_revision(hqt_db: Run) -> None:
    for command, is_current in (("init",), "yes"), (("downgrade", "base", "--yes"), "no"):
        hqt_db(*command)
        (line,) = (line for line in hqt_db("history").splitlines() if "hqt_0001" in line)
        assert is_current in line


def test_every_difference_is_named(hqt_db: Run, database_url: str) -> None:
    hqt_db("init")
    asyncio.run(_execute(database_url, "ALTER TABLE users DROP COLUMN full_name"))
    assert "users.full_name is missing in the database" in hqt_db("check", code=3)


def test_a_downgrade_needs_its_yes(hqt_db: Run) -> None:
    hqt_db("init")
    assert "--yes" in hqt_db("downgrade", "base", code=2)
    assert hqt_db("current") == "hqt_0001\n"


def test_an_unknown_revision_is_wrong_use(hqt_db: Run) -> None:
    assert "nowhere" in hqt_db("upgrade", "nowhere", code=2)


async def _execute(url: str, statement: str) -> None:
    async with DatabaseManager(url) as db, db.session() as session:
        await session.execute(text(statement))
