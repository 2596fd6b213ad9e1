"""Upgrade, downgrade, stamp and inspect a schema from code, awaitable."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from alembic.autogenerate import compare_metadata
from sqlalchemy.exc import NoSuchTableError

from hqt_async_db import models
from hqt_async_db.errors import ConnectionFailedError, SchemaMismatchError
from hqt_async_db.migrations.differences import describe_all
from hqt_async_db.migrations.environment import alembic_to_ourselves, configured, run_steps
from hqt_async_db.migrations.schema import (
    read_state,
    refuse_predecessor,
    write_revision,
)
from hqt_async_db.migrations.scripts import (
    Revision,
    describe,
    downgrade_steps,
    head_of,
    history_of,
    load_scripts,
    refuse_unknown,
    resolve,
    upgrade_steps,
)

T = TypeVar("T")

if TYPE_CHECKING:
    from collections.abc import Callable

    from alembic.runtime.migration import RevisionStep
    from alembic.script import ScriptDirectory
    from sqlalchemy import Connection

    from hqt_async_db.migrations.locks import Migratable

    Planner = Callable[[ScriptDirectory, str, str | None], list[RevisionStep]]


async def upgrade(db: Migratable, revision: str = "head") -> list[Revision]:
    """Bring the schema up to ``revision``; take a backup before.

    Any number of processes may call this at once: one does the work under
    the schema lock, the others wait and find it done. At the wanted revision
    it only reads. On SQLite and PostgreSQL everything is one transaction: an
    error, a cancellation or a killed process leaves the schema as it was. On
    MySQL and MariaDB each DDL statement commits by itself; a killed upgrade
    can leave a revision half applied, and the next one says so.

    Args:
        db: The database.
        revision: Where to go: ``head``, an identifier or the unique start of
            one, or ``+n``.

    Returns:
        The revisions that were applied, oldest first; empty if none was due.

    Raises:
        InvalidInputError: ``revision`` is unknown or below the current one.
        SchemaMismatchError: The database is at a revision that this version
            does not know, has tables of ours without any revision, or has a
            half-applied revision.
        DatabaseLockedError: Another process kept the schema lock.
    """
    return await _migrate(db, revision, upgrade_steps)


async def downgrade(db: Migratable, revision: str) -> list[Revision]:
    """Take the schema back to ``revision``; what newer revisions added is lost.

    Transactions, locks and errors are those of :func:`upgrade`. Down to
    ``base`` it is refused while tables that are not ours refer to ours; where
    DDL commits by itself, the lower revision is recorded first.

    Args:
        db: The database.
        revision: Where to go: ``base`` (drop everything), an identifier or
            the unique start of one, or ``-n``.

    Returns:
        The revisions that were undone, newest first.
    """
    return await _migrate(db, revision, downgrade_steps)


async def stamp(db: Migratable, revision: str) -> None:
    """Record that the schema is that of ``revision``, without changing it.

    Whatever revision was recorded before is replaced, known or not.

    Args:
        db: The database.
        revision: ``head``, ``base`` (none), or an identifier.

    Raises:
        InvalidInputError: ``revision`` is unknown.
        DatabaseLockedError: Another process kept the schema lock.
    """
    scripts = await load_scripts()
    target = resolve(scripts, revision)
    async with db.engine.connect() as connection, db.schema_lock(connection):
        await connection.run_sync(write_revision, scripts, target or "base")


async def current(db: Migratable) -> str | None:
    """Return the revision of the database, None where nothing was recorded.

    Raises:
        SchemaMismatchError: The database is at several revisions at once.
    """
    return (await _look(db, read_state)).revision


async def history(db: Migratable | None = None) -> list[Revision]:
    """Return every revision this version knows, newest first.

    Args:
        db: The database whose revision ``is_current`` marks; without one,
            ``is_current`` is None throughout.
    """
    revisions = history_of(await load_scripts())
    if db is None:
        return revisions
    at = await current(db)
    return [replace(entry, is_current=entry.revision == at) for entry in revisions]


async def check(db: Migratable) -> None:
    """Make sure that the schema is the newest, and the one of the models.

    Tables, columns, types, collations, defaults, indexes, foreign keys and
    the names of CHECK constraints are compared; tables that are not ours are
    left aside. It changes nothing and takes no lock. Comparing is pure Python
    in steps of some milliseconds: do it at start-up, not while trading.

    Raises:
        SchemaMismatchError: The database is not at the newest revision, or
            its schema differs or is just being changed; the message lists
            every difference.
    """
    scripts = await load_scripts()
    await _look(db, lambda connection: _check(connection, scripts))


async def _look(db: Migratable, read: Callable[[Connection], T]) -> T:
    """Return what is read from the schema; a SQLite file that is there stays as it is."""
    if db.engine.dialect.name == "sqlite":
        with suppress(ConnectionFailedError):  # there is no file yet
            async with db.session(read_only=True) as session:
                found: T = await (await session.connection()).run_sync(read)
                return found
    async with db.engine.connect() as connection:
        return await connection.run_sync(read)


async def _migrate(db: Migratable, revision: str, plan: Planner) -> list[Revision]:
    scripts = await load_scripts()
    async with db.engine.connect() as connection:
        steps = await connection.run_sync(_plan, scripts, revision, plan)
        if not steps:
            return []
        await connection.rollback()
        # A relative target means one revision, however long the lock takes.
        target = (*steps[-1].to_revisions, "base")[0]
        async with db.schema_lock(connection), alembic_to_ourselves():
            return await connection.run_sync(_run, scripts, target, plan)


def _plan(
    connection: Connection, scripts: ScriptDirectory, revision: str, plan: Planner
) -> list[RevisionStep]:
    current_revision = read_state(connection).revision
    refuse_unknown(scripts, current_revision)
    return plan(scripts, revision, current_revision)


def _run(
    connection: Connection, scripts: ScriptDirectory, revision: str, plan: Planner
) -> list[Revision]:
    # Only now: where DDL is not transactional, tables without a revision can
    # be another process at work. And it may have left nothing to do.
    refuse_predecessor(read_state(connection), connection.dialect.name)
    steps = _plan(connection, scripts, revision, plan)
    run_steps(connection, scripts, steps)
    head = head_of(scripts)
    return [describe(step.revision, head) for step in steps]


def _check(connection: Connection, scripts: ScriptDirectory) -> None:
    state, head = read_state(connection), head_of(scripts)
    refuse_unknown(scripts, state.revision)
    if state.revision != head:
        msg = f"the database is at revision {state.revision or 'base'}, the newest is {head}"
        raise SchemaMismatchError(msg)
    try:
        differences = compare_metadata(configured(connection, scripts), models.Base.metadata)
    except NoSuchTableError as gone:
        msg = f"the table {gone} went while the schema was compared: somebody is changing it"
        raise SchemaMismatchError(msg) from gone
    if differences:
        found = "\n  ".join(describe_all(differences))
        msg = f"the schema of the database differs from the models:\n  {found}"
        raise SchemaMismatchError(msg)
