"""What the package promises by its metadata, its names and the cost of importing it."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from sqlalchemy.dialects import registry

import hqt_async_db
from hqt_async_db import errors, models, repositories

CHECKOUT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
CORE = {"SQLAlchemy", "aiosqlite", "asyncpg", "alembic", "greenlet", "orjson", "tenacity"}
# What somebody who uses SQLite alone need not have, or need not load.
OPTIONAL = {
    "aiomysql",
    "anyio",
    "asyncmy",
    "asyncpg",
    "backtesting",
    "matplotlib",
    "psycopg",
    "pyarrow",
    "pymysql",
    "rich",
    "typer",
}


def test_the_installed_metadata_are_those_of_the_project() -> None:
    metadata = importlib.metadata.metadata("hqt-async-db")
    assert metadata["Version"] == PROJECT["version"]
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert metadata["License-Expression"] == "MIT"


def test_every_python_from_3_11_is_served() -> None:
    served = SpecifierSet(PROJECT["requires-python"])
    assert [Version(f"3.{minor}") in served for minor in (10, 11, 12, 13)] == [
        False,
        True,
        True,
        True,
    ]


def test_the_core_asks_for_nothing_beyond_two_drivers_and_alembic() -> None:
    assert {Requirement(line).name for line in PROJECT["dependencies"]} == CORE


def test_every_requirement_states_the_oldest_version_that_works() -> None:
    extras = PROJECT["optional-dependencies"]
    lines = PROJECT["dependencies"] + [line for group in extras.values() for line in group]
    requirements = [Requirement(line) for line in lines]
    unbounded = [
        str(requirement)
        for requirement in requirements
        if requirement.name != PROJECT["name"]
        and not any(bound.operator == ">=" for bound in requirement.specifier)
    ]
    assert unbounded == []


def test_no_asyncmy_that_lets_a_dict_key_inject_sql_is_accepted() -> None:
    (asyncmy,) = (
        requirement
        for requirement in map(Requirement, PROJECT["optional-dependencies"]["mysql"])
        if requirement.name == "asyncmy"
    )
    assert "0.2.11" not in asyncmy.specifier


def test_the_extra_all_is_all_extras() -> None:
    extras = PROJECT["optional-dependencies"]
    (everything,) = map(Requirement, extras["all"])
    assert everything.extras == extras.keys() - {"all"}


def test_the_dialect_is_found_by_its_url() -> None:
    from_entry_point = [
        point
        for point in importlib.metadata.entry_points(group="sqlalchemy.dialects", name="sqlite.hqt")
        if point.dist is not None and point.dist.name == "hqt-async-db"
    ]
    assert {point.load() for point in from_entry_point} == {registry.load("sqlite.hqt")}


def test_importing_the_package_loads_nothing_optional() -> None:
    script = "import sys, hqt_async_db; print(*sorted({n.partition('.')[0] for n in sys.modules}))"
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        check=True,
        capture_output=True,
        cwd=CHECKOUT,
        text=True,
    )
    assert OPTIONAL & set(finished.stdout.split()) == set()
    assert finished.stderr == ""


def test_all_is_one_sorted_literal() -> None:
    tree = ast.parse(Path(hqt_async_db.__file__).read_text())
    assigned = [
        ast.literal_eval(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    assert assigned == [sorted(set(hqt_async_db.__all__))]


def test_all_names_what_is_there_and_nothing_else_is() -> None:
    modules = {module.name for module in pkgutil.iter_modules(hqt_async_db.__path__)}
    there = {name for name in vars(hqt_async_db) if not name.startswith("_")}
    assert set(hqt_async_db.__all__) - there == set()
    assert there - modules - set(hqt_async_db.__all__) == set()


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (errors, errors.HqtDbError),
        (models, models.Base),
        (repositories, repositories.BaseRepository),
    ],
    ids=["errors", "models", "repositories"],
)
def test_all_is_complete(module: object, kind: type) -> None:
    public = {
        name
        for name, member in vars(module).items()
        if isinstance(member, type) and issubclass(member, kind) and not name.startswith("_")
    }
    assert public - set(hqt_async_db.__all__) == set()


def test_every_public_name_is_documented() -> None:
    undocumented = []
    for name in hqt_async_db.__all__:
        member = getattr(hqt_async_db, name)
        if isinstance(member, type):
            undocumented += [name] * (not member.__dict__.get("__doc__"))
            undocumented += [f"{name}.{method}" for method in _undocumented_methods(member)]
        elif inspect.ismodule(member):
            undocumented += [name] * (not member.__doc__)
    assert undocumented == []


def _undocumented_methods(owner: type) -> list[str]:
    return [
        name
        for name, member in vars(owner).items()
        if not name.startswith("_")
        and (
            inspect.isfunction(member) or isinstance(member, property | classmethod | staticmethod)
        )
        and not inspect.getdoc(getattr(owner, name))
    ]


def test_every_module_can_be_imported_by_itself() -> None:
    names = [
        module.name
        for module in pkgutil.walk_packages(hqt_async_db.__path__, "hqt_async_db.")
        if "._alembic" not in module.name
    ]
    assert len(names) > 20
    for name in names:
        assert importlib.import_module(name).__doc__ or name.endswith("__main__"), name


def test_no_file_names_a_place_of_the_machine_it_was_written_on() -> None:
    private = re.compile(r"(?<![\w.])/(?:home|root|Users|work)/\w")
    folders = ("hqt_async_db", "alembic", "examples", "tests", ".ci")
    files = [path for folder in folders for path in (CHECKOUT / folder).rglob("*.*")]
    files += [path for path in CHECKOUT.glob("*.*") if path.is_file()]
    texts = {".ini", ".mako", ".md", ".py", ".sh", ".toml"}
    named = [path for path in files if path.suffix in texts and private.search(path.read_text())]
    assert named == []
