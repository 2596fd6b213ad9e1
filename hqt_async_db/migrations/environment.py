"""How alembic runs here: for ``alembic/env.py`` and for this package's functions."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import RevisionStep
from sqlalchemy import (
    Column,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    delete,
    insert,
    inspect,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles

from hqt_async_db import models
from hqt_async_db.errors import SchemaMismatchError
from hqt_async_db.migrations import cooperation
from hqt_async_db.migrations.references import refuse_references
from hqt_async_db.migrations.rendering import compare_type, render_item

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping

    from alembic.runtime.migration import MigrationContext, MigrationStep
    from alembic.script import ScriptDirectory
    from sqlalchemy import Connection
    from sqlalchemy.schema import SchemaItem
    from sqlalchemy.sql.compiler import DDLCompiler

VERSION_TABLE: Final = "alembic_version"
version = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32)))

_POLL_S: Final = 0.01
_LEFT_BY_BATCH: Final = "_alembic_tmp_"
# alembic's "op" and "context" are global to the process: of two migrations at
# once, one would write into the other's database.
_alembic: Final = threading.Lock()


def our_tables() -> dict[str, Table]:
    """Return this package's own tables by name, without those of users' models.

    A user's model that derives from our Base shares its metadata, but no
    revision of ours creates its table.
    """
    tables = (inspect(model).local_table for model in our_models())
    return {table.name: table for table in tables if isinstance(table, Table)}


def our_models() -> list[type[Any]]:
    """Return this package's own models, without those of users that derive from our Base."""
    found = [mapper.class_ for mapper in models.Base.registry.mappers]
    return [one for one in found if f"{one.__module__}.".startswith(f"{models.__name__}.")]


def options(dialect_name: str) -> dict[str, Any]:
    """Return the arguments of ``context.configure`` for one kind of database."""
    return {
        "target_metadata": models.Base.metadata,
        "include_name": _include_name,
        "include_object": _include_object,
        "compare_type": compare_type,
        "compare_server_default": True,
        "render_item": render_item,
        "render_as_batch": True,
        "autogenerate_plugins": [
            "alembic.autogenerate.*",
            "alembic.ext.checkconstraint_byname",
            cooperation.PLUGIN,
        ],
        "version_table": VERSION_TABLE,
        # alembic takes SQLite for a database that commits every DDL
        # statement, as the driver's old transaction control did.
        "transactional_ddl": is_transactional(dialect_name),
    }


def is_transactional(dialect_name: str) -> bool:
    """Tell whether a failed migration leaves nothing behind."""
    return dialect_name in ("postgresql", "sqlite")


def _include_name(name: str | None, kind: str, parents: Mapping[str, str | None]) -> bool:
    """Leave alone what is not ours, but show what a broken batch left behind."""
    del parents
    if name is None:
        return True
    if kind == "table":
        return name in our_tables() or name.startswith(_LEFT_BY_BATCH)
    # MariaDB adds a CHECK of its own to every JSON column.
    return kind != "check_constraint" or name.startswith("ck_")


def _include_object(
    item: SchemaItem,
    name: str | None,
    kind: str,
    reflected: bool,  # noqa: FBT001 - alembic passes it by position
    compared: SchemaItem | None,
) -> bool:
    """Leave users' models alone that derive from our Base."""
    del item, compared
    return kind != "table" or reflected or name in our_tables()


@asynccontextmanager
async def alembic_to_ourselves() -> AsyncIterator[None]:
    """Keep other tasks and threads of this process out of alembic meanwhile."""
    while not _alembic.acquire(blocking=False):  # noqa: ASYNC110 - other loops hold it too
        await asyncio.sleep(_POLL_S)
    try:
        yield
    finally:
        _alembic.release()


def configured(connection: Connection, scripts: ScriptDirectory) -> MigrationContext:
    """Return a context that can compare or stamp, outside of any script."""
    environment = EnvironmentContext(Config(), scripts)
    environment.configure(connection=connection, **options(connection.dialect.name))
    return environment.get_context()


def run_steps(connection: Connection, scripts: ScriptDirectory, steps: list[RevisionStep]) -> None:
    """Run migration steps, each with its change of the version table.

    Raises:
        SchemaMismatchError: A step failed on a server that commits every DDL
            statement by itself, so the step is half applied; or other tables
            refer to those that would be dropped, and nothing was changed.
    """
    watched = _Watched(steps)
    environment = EnvironmentContext(Config(), scripts, fn=guarded(watched.each))
    is_safe = is_transactional(connection.dialect.name)
    if not is_safe:
        connection.commit()  # so that alembic commits after every step
    with environment:
        environment.configure(connection=connection, **options(connection.dialect.name))
        try:
            with environment.begin_transaction():
                environment.run_migrations()
        except Exception as error:
            if connection.invalidated:
                _raise_cancellation_behind(error)
            if watched.running is None:
                raise
            if is_safe or not isinstance(error, DBAPIError):
                error.add_note(f"while running '{watched.running}'")
                raise
            raise SchemaMismatchError(half_applied(f"'{watched.running}'")) from error


def guarded(steps_of: Callable[..., Iterable[MigrationStep]]) -> Callable[..., Any]:
    """Return what plans the same steps, those downwards under the rules that protect data.

    Args:
        steps_of: What alembic calls ``fn``: takes the heads and the context.
    """

    def each(heads: object, context: MigrationContext) -> Iterator[MigrationStep]:
        connection = None if context.as_sql else context.connection
        for step in steps_of(heads, context):
            if connection is not None and isinstance(step, RevisionStep) and not step.is_upgrade:
                _guard(step, connection)
            yield step

    return each


def _guard(step: RevisionStep, connection: Connection) -> None:
    run, (revision,) = step.migration_fn, step.from_revisions
    below = next(iter(step.to_revisions_no_deps), None)

    @wraps(run)
    def guarded_downgrade(**arguments: Any) -> None:
        if below is None:
            refuse_references(connection, our_tables())
        if is_transactional(connection.dialect.name):
            run(**arguments)
            return
        # The first DDL statement commits this: whatever becomes of the others, nothing will
        # take what they leave for the whole schema.
        _replace_version(connection, revision, below)
        run(**arguments)
        _replace_version(connection, below, revision)  # where alembic looks for it

    step.migration_fn = guarded_downgrade


def _replace_version(connection: Connection, old: str | None, new: str | None) -> None:
    if old is not None:
        connection.execute(delete(version).where(version.c.version_num == old))
    if new is not None:
        connection.execute(insert(version).values(version_num=new))


class _Watched:
    """Steps that remember which of them is running."""

    def __init__(self, steps: list[RevisionStep]) -> None:
        self._steps = steps
        self.running: str | None = None

    def each(self, heads: object, context: object) -> Iterator[RevisionStep]:
        del heads, context
        for step in self._steps:
            self.running = str(step)
            yield step


def _raise_cancellation_behind(error: BaseException) -> None:
    """Let a cancellation go on that alembic replaced with an error of its own.

    When rebuilding a table fails, for whatever reason, it drops the new table
    first - on a connection that the cancellation has already discarded.
    """
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, asyncio.CancelledError):
            raise behind from None
        behind = behind.__context__


def half_applied(step: str) -> str:
    """Return what to do about a step that a server applied only in part."""
    return (
        f"{step} stopped half-way, now or in an earlier run that was killed: this server "
        "commits every DDL statement by itself, so some of the step's changes are in the "
        "database though its revision is not. Restore the backup taken before and upgrade "
        "again; or undo the changes by hand and upgrade again; or finish them by hand and stamp. "
        "Of a downgrade the lower revision is recorded: finish it by hand"
    )


@compiles(PrimaryKeyConstraint, "mysql", "mariadb")
def _unnamed_key(constraint: PrimaryKeyConstraint, compiler: DDLCompiler, **kw: object) -> str:
    """Leave out the name: these servers ignore it, with a warning per table."""
    written = compiler.visit_primary_key_constraint(constraint, **kw)
    return written.removeprefix(compiler.define_constraint_preamble(constraint, **kw))
