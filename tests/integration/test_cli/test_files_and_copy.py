"""export, import and copy."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from hqt_async_db import DatabaseManager
from tests.integration.test_cli.conftest import invoke
from tests.integration.test_cli.test_figures import add_one_user

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.test_cli.conftest import Run, RunJson

pytestmark = pytest.mark.backends("sqlite-file", "postgresql", "mariadb")


@pytest.fixture
def users(hqt_db: Run, database_url: str) -> None:
    """Two users in the test's database."""
    hqt_db("init")
    for name in ("trader", "Händler, der"):
        asyncio.run(add_one_user(database_url, name))


@pytest.mark.usefixtures("users")
def test_a_table_is_exported_as_the_name_of_the_file_tells(hqt_db: Run, tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    assert hqt_db("export", path, "--table", "users", "--columns", "id,username") == (
        f"2 rows exported to {path}\n"
    )
    assert path.read_text() == 'id,username\n1,trader\n2,"Händler, der"\n'


@pytest.mark.usefixtures("users")
def test_conditions_have_the_type_of_their_column(hqt_db_json: RunJson, tmp_path: Path) -> None:
    path = tmp_path / "users.jsonl"
    for conditions, rows in (
        (("id=2", "is_active=true", "full_name="), 1),
        (("username=Händler, der",), 1),
        (("username=handler",), 0),
        (("created_at=2024-01-01",), 0),
    ):
        options = [part for condition in conditions for part in ("--where", condition)]
        told = hqt_db_json("export", path, "--table", "users", *options)
        assert told == {"path": str(path), "tables": {"users": rows}, "total_rows": rows}
        assert len(path.read_text().splitlines()) == rows


@pytest.mark.usefixtures("users")
def test_all_tables_are_exported_to_a_directory(hqt_db: Run, tmp_path: Path) -> None:
    told = hqt_db("export", tmp_path / "all", "--format", "jsonl", "--compression", "gzip")
    assert told.endswith(f"2 rows exported to {tmp_path / 'all'}\n")
    assert (tmp_path / "all" / "users.jsonl.gz").exists()
    assert (tmp_path / "all" / "manifest.json").exists()


@pytest.mark.usefixtures("users")
@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("users.txt", "--table", "users"), "--format"),
        (("users.csv", "--table", "nowhere"), "nowhere"),
        (("users.csv", "--table", "users", "--columns", "id,nothing"), "nothing"),
        (("users.csv", "--table", "users", "--where", "id=first"), "--where id"),
        (("users.csv", "--table", "users", "--where", "full_name"), "full_name= for NULL"),
        (("users.csv", "--table", "users", "--where", "id=1", "--where", "id=2"), "--where id"),
        (("strategies.csv", "--table", "strategies", "--where", "parameters={}"), "JSON"),
        (("users.csv", "--table", "users", "--compression", "gzip"), "users.csv.gz"),
        (("users.json", "--table", "users", "--formula-guard"), "this is json"),
        (("all", "--formula-guard"), "for CSV"),
        (("all", "--columns", "id"), "--table"),
        (("users.csv",), "--table"),
        (("users.json.gz", "--format", "json"), "--table"),
        (("all", "--format", "xml"), "xml"),
    ],
)
def test_what_cannot_be_exported_is_wrong_use(
    hqt_db: Run, tmp_path: Path, arguments: tuple[str, ...], names: str
) -> None:
    name, *options = arguments
    assert names in hqt_db("export", tmp_path / name, *options, code=2)
    assert list(tmp_path.glob("[!.]*.*")) == []


@pytest.mark.usefixtures("users")
def test_what_was_exported_is_imported(
    hqt_db: Run, hqt_db_json: RunJson, database_url: str, tmp_path: Path
) -> None:
    path, everything = tmp_path / "users.csv.gz", tmp_path / "all"
    hqt_db("export", path, "--table", "users")
    hqt_db("export", everything)
    asyncio.run(add_one_user(database_url, "third"))
    assert "row 1" in hqt_db("import", path, code=1)  # it is there already
    assert hqt_db("import", path, "--upsert") == f"2 rows imported from {path}\n"
    assert hqt_db_json("stats")["tables"]["users"] == 3
    told = hqt_db_json("import", path, "--table", "users", "--replace", "--require-manifest")
    assert told == {"path": str(path), "tables": {"users": 2}, "total_rows": 2}
    assert hqt_db_json("stats")["tables"]["users"] == 2
    assert hqt_db_json("import", everything, "--replace")["tables"]["users"] == 2


def test_formulas_are_guarded_against_and_come_back(
    hqt_db: Run, database_url: str, tmp_path: Path
) -> None:
    hqt_db("init")
    asyncio.run(add_one_user(database_url, "=1+1"))
    path, plain = tmp_path / "users.csv", tmp_path / "plain.csv"
    everything = tmp_path / "all"
    chosen = ("--table", "users", "--columns", "id,username")
    hqt_db("export", path, "--table", "users", "--formula-guard")
    hqt_db("export", everything, "--format", "csv", "--formula-guard")
    assert all(",'=1+1," in one.read_text() for one in (path, everything / "users.csv"))
    hqt_db("import", path, "--replace", "--formula-guard")
    hqt_db("export", plain, *chosen)
    assert plain.read_text() == "id,username\n1,=1+1\n"
    told = hqt_db("import", everything, "--replace", "--formula-guard", code=2)
    assert "one file after the other" in told
    hqt_db("import", everything, "--replace")
    hqt_db("export", plain, *chosen)
    assert plain.read_text() == "id,username\n1,=1+1\n"
    hqt_db("export", tmp_path / "users.json", "--table", "users")
    told = hqt_db("import", tmp_path / "users.json", "--replace", "--formula-guard", code=2)
    assert "this is json" in told


@pytest.mark.usefixtures("users")
def test_a_directory_is_not_imported_for_one_table(
    hqt_db: Run, hqt_db_json: RunJson, database_url: str, tmp_path: Path
) -> None:
    hqt_db("export", tmp_path / "all")
    asyncio.run(add_one_user(database_url, "third"))
    told = hqt_db("import", tmp_path / "all", "--table", "strategies", "--replace", code=2)
    assert "name one of them" in told
    assert hqt_db_json("stats")["tables"]["users"] == 3


@pytest.mark.usefixtures("users")
def test_files_that_were_changed_are_told_by_the_exit_code(hqt_db: Run, tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    hqt_db("export", path, "--table", "users")
    path.write_text(path.read_text().replace("trader", "Trader"))
    assert "users.csv" in hqt_db("import", path, "--upsert", code=3)
    (tmp_path / "users.csv.manifest.json").unlink()
    assert "manifest" in hqt_db("import", path, "--upsert", "--require-manifest", code=3)
    assert "2 rows" in hqt_db("import", path, "--upsert")


@pytest.mark.usefixtures("users")
def test_a_database_is_copied_once(hqt_db: Run, hqt_db_json: RunJson, tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path}/copy.db"
    assert "2 rows copied" in hqt_db("copy", target)
    assert "holds rows already, in users" in hqt_db("copy", target, code=1)
    assert hqt_db_json("copy", f"{target}.json")["tables"]["users"] == 2
    counted = json.loads(invoke("stats", "--json", url=target).stdout)
    assert counted["tables"]["users"] == 2


@pytest.mark.usefixtures("users")
def test_a_copy_says_what_it_left_out(
    hqt_db: Run, hqt_db_json: RunJson, database_url: str, tmp_path: Path
) -> None:
    asyncio.run(make_table(database_url))
    told = hqt_db("copy", f"sqlite:///{tmp_path}/copy.db")
    assert "not copied, as they are of no model of this library: fills" in told
    assert hqt_db_json("copy", f"sqlite:///{tmp_path}/other.db")["left_out"] == ["fills"]


async def make_table(url: str) -> None:
    """Make a table of another model."""
    async with DatabaseManager(url) as db, db.session() as session:
        await session.execute(text("CREATE TABLE fills (id INTEGER)"))


@pytest.mark.usefixtures("users")
def test_the_secret_of_a_target_is_not_shown(hqt_db: Run) -> None:
    complaint = hqt_db("copy", "postgresql://demo:planted@127.0.0.1:1/hqt", code=1)
    assert "planted" not in complaint
