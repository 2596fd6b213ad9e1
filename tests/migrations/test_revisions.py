"""What revision scripts say, without any database: also for MySQL, which has no server here."""

from __future__ import annotations

import ast
import io
from importlib.util import module_from_spec, spec_from_file_location
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from alembic.autogenerate.api import AutogenContext
from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_mock_engine
from sqlalchemy.dialects import mysql

from hqt_async_db.migrations import script_location
from hqt_async_db.migrations.environment import options, our_tables
from hqt_async_db.migrations.rendering import render_item
from hqt_async_db.migrations.scripts import upgrade_steps
from hqt_async_db.models import Base
from hqt_async_db.models.types import ColumnType

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from sqlalchemy.engine.mock import MockConnection
    from sqlalchemy.schema import ExecutableDDLElement

REVISIONS = sorted((script_location() / "versions").glob("*.py"))
on_every_dialect = pytest.mark.parametrize("name", ["sqlite", "postgresql", "mysql", "mariadb"])


@pytest.mark.parametrize("path", REVISIONS, ids=lambda path: path.stem)
def test_a_revision_does_not_depend_on_this_package(path: Path) -> None:
    """It must make the same schema for ever, however the models move on."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
        assert not [name for name in names if name.startswith("hqt_async_db")]


@on_every_dialect
def test_the_models_types_are_written_out_as_they_are(name: str) -> None:
    context = MigrationContext.configure(dialect_name=name, opts={"as_sql": True})
    known = {"sa": sa, "mysql": mysql, "text": _first_revision().text}
    for table in our_tables().values():
        for column in table.columns:
            written = render_item("type", column.type, AutogenContext(context, autogenerate=False))
            assert written, column
            with Operations.context(context):
                plain = eval(written, known)  # noqa: S307 - our own text
            assert plain.compile(context.dialect) == column.type.compile(context.dialect), column


def test_a_type_that_nobody_taught_is_not_written_as_something_else() -> None:
    class Unknown(ColumnType[str]):
        impl = sa.String
        cache_ok = True

    context = AutogenContext(MigrationContext.configure(dialect_name="sqlite"), autogenerate=False)
    with pytest.raises(NotImplementedError, match="Unknown"):
        render_item("type", Unknown(), context)


@on_every_dialect
def test_the_first_revision_is_what_the_models_would_create(name: str) -> None:
    """Until a second one exists; from then on only real servers can compare."""
    if len(REVISIONS) > 1:
        pytest.skip("later revisions alter what the first one created")
    assert _statements(_upgrade_script(name)) == _statements(_models_script(name))


def _first_revision() -> ModuleType:
    spec = spec_from_file_location("hqt_0001", REVISIONS[0])
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _upgrade_script(name: str) -> str:
    scripts = ScriptDirectory(script_location())
    written = io.StringIO()
    environment = EnvironmentContext(
        Config(), scripts, fn=lambda *_: upgrade_steps(scripts, "head", None), as_sql=True
    )
    with environment:
        environment.configure(dialect_name=name, output_buffer=written, **options(name))
        environment.run_migrations()
    return written.getvalue()


def _models_script(name: str) -> str:
    written: list[str] = []

    def write(ddl: ExecutableDDLElement, *_: object, **__: object) -> None:
        written.append(str(ddl.compile(dialect=engine.dialect)))

    engine: MockConnection = create_mock_engine(f"{name}://", write)
    Base.metadata.create_all(engine, tables=list(our_tables().values()), checkfirst=False)
    return ";\n".join(written)


def _statements(script: str) -> list[list[str]]:
    """Return the statements about our tables, in any order, each with its lines in any order."""
    found = [statement.strip() for statement in script.split(";")]
    return sorted(
        sorted(line.strip().rstrip(",") for line in statement.splitlines() if _says(line))
        for statement in found
        if "CREATE" in statement and "alembic_version" not in statement
    )


def _says(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("--")
