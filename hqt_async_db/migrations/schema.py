"""Make and drop the whole schema at once, under the rules that protect old data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import MetaData, Table, delete, inspect, select

from hqt_async_db import models
from hqt_async_db.errors import InvalidInputError, SchemaMismatchError
from hqt_async_db.migrations.environment import (
    VERSION_TABLE,
    configured,
    is_transactional,
    our_tables,
    version,
)
from hqt_async_db.migrations.references import refuse_references
from hqt_async_db.migrations.scripts import head_of, load_scripts, refuse_unknown

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory
    from sqlalchemy import Connection
    from sqlalchemy.orm import DeclarativeBase

    from hqt_async_db.migrations.locks import Migratable


@dataclass(frozen=True, slots=True)
class State:
    """What the database holds: its revision and the tables it has."""

    revision: str | None
    tables: frozenset[str]

    @property
    def ours(self) -> list[str]:
        """Return the names of our tables that exist."""
        return sorted(self.tables & our_tables().keys())


def read_state(connection: Connection) -> State:
    """Read the revision and the names of the tables, in two statements.

    Raises:
        SchemaMismatchError: The database is at several revisions at once.
    """
    tables = frozenset(inspect(connection).get_table_names())
    found = _recorded(connection) if VERSION_TABLE in tables else []
    if len(found) > 1:
        msg = (
            f"{VERSION_TABLE} names several revisions ({', '.join(sorted(found))}), but the "
            "history of this schema has no branches. If another Alembic project keeps its own "
            "there, give it a version_table of its own and take its row out: to stamp would "
            "delete it. If not, stamp the one that holds"
        )
        raise SchemaMismatchError(msg)
    return State(found[0] if found else None, tables)


def _recorded(connection: Connection) -> list[str]:
    return [str(revision) for revision in connection.scalars(select(version.c.version_num))]


def write_revision(connection: Connection, scripts: ScriptDirectory, revision: str) -> None:
    """Make ``revision`` the one and only revision of the database."""
    if inspect(connection).has_table(VERSION_TABLE):
        connection.execute(delete(version))
    configured(connection, scripts).stamp(scripts, revision)


def refuse_predecessor(state: State, dialect_name: str) -> None:
    """Refuse tables of ours that no revision accounts for.

    Raises:
        SchemaMismatchError: There are such tables.
    """
    if state.revision is not None or not state.ours:
        return
    msg = (
        f"the database has the tables {', '.join(state.ours)} but no revision: a predecessor, "
        "or another program, made them. If they are exactly the schema of a revision, stamp "
        "it and upgrade; otherwise create the schema in an empty database and import the data"
    )
    if not is_transactional(dialect_name):
        msg += (
            ". If they are empty, they are what a killed first upgrade left, because this "
            "server commits every DDL statement by itself: drop them and try again. So they "
            "can be what a downgrade or a drop left that did not reach its end"
        )
    raise SchemaMismatchError(msg)


async def create_schema(
    db: Migratable, base_or_metadata: type[DeclarativeBase] | MetaData | None = None
) -> None:
    """Create the tables of a metadata and stamp ours at the newest revision.

    On a database at the newest revision it does nothing but read, in a few
    statements. Tables that are not ours - of a foreign metadata, or of users'
    models that derive from our Base - are created where they are missing and
    never stamped. Everything happens under the schema lock, on SQLite and
    PostgreSQL in one transaction.

    Args:
        db: The database.
        base_or_metadata: A declarative base or its metadata; None is ours.

    Raises:
        SchemaMismatchError: The database is at an older revision (upgrade
            it), at one this version does not know, or has unstamped tables
            of ours.
        InvalidInputError: The argument is neither, or holds some of our
            tables but not all.
        DatabaseLockedError: Another process is changing the schema.
    """
    wanted = _Wanted.of(base_or_metadata)
    scripts = await load_scripts()
    async with db.engine.connect() as connection:
        if await connection.run_sync(_is_complete, scripts, wanted):
            return
        await connection.rollback()
        async with db.schema_lock(connection):
            await connection.run_sync(_create, scripts, wanted)


async def drop_schema(
    db: Migratable, base_or_metadata: type[DeclarativeBase] | MetaData | None = None
) -> None:
    """Drop the tables of a metadata with all their rows, and our revision.

    Args:
        db: The database.
        base_or_metadata: A declarative base or its metadata; None is ours.

    Raises:
        SchemaMismatchError: The database is at a revision this version does
            not know, so that it would leave tables behind; or a table that
            is not of the metadata refers to one that is. Nothing was dropped.
        InvalidInputError: As for :func:`create_schema`.
        DatabaseLockedError: Another process is changing the schema.
    """
    wanted = _Wanted.of(base_or_metadata)
    scripts = await load_scripts()
    async with db.engine.connect() as connection, db.schema_lock(connection):
        await connection.run_sync(_drop, scripts, wanted)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The tables to make or to drop, and whether ours are among them."""

    metadata: MetaData
    has_ours: bool

    @classmethod
    def of(cls, base_or_metadata: object) -> _Wanted:
        if base_or_metadata is None:
            base_or_metadata = models.Base
        metadata = getattr(base_or_metadata, "metadata", base_or_metadata)
        if isinstance(metadata, MetaData):
            return cls(metadata, _has_ours(metadata))
        msg = (
            "expected a declarative base class or a MetaData, "
            f"not a value of type {type(base_or_metadata).__name__}"
        )
        raise InvalidInputError(msg, field="base_or_metadata")

    @property
    def theirs(self) -> list[Table]:
        known = our_tables() if self.has_ours else {}
        return [table for table in self.metadata.tables.values() if table.name not in known]


def _has_ours(metadata: MetaData) -> bool:
    """Tell whether ``metadata`` is ours, or holds copies of all our tables."""
    if metadata is models.Base.metadata:
        return True
    known = our_tables()
    copies = {table.name for table in metadata.tables.values() if _is_copy(table, known)}
    if copies and copies != known.keys():
        missing = ", ".join(sorted(known.keys() - copies))
        msg = f"the metadata holds some tables of hqt_async_db but not {missing}; add all or none"
        raise InvalidInputError(msg, field="base_or_metadata")
    return bool(copies)


def _is_copy(table: Table, known: dict[str, Table]) -> bool:
    original = known.get(table.name)
    return original is not None and table.columns.keys() == original.columns.keys()


def _is_complete(connection: Connection, scripts: ScriptDirectory, wanted: _Wanted) -> bool:
    state = read_state(connection)
    if wanted.has_ours and state.revision != head_of(scripts):
        return False
    return all(table.schema is None and table.name in state.tables for table in wanted.theirs)


def _create(connection: Connection, scripts: ScriptDirectory, wanted: _Wanted) -> None:
    state, head = read_state(connection), head_of(scripts)
    if not wanted.has_ours or state.revision == head:
        wanted.metadata.create_all(connection, tables=wanted.theirs)
        return
    refuse_unknown(scripts, state.revision)
    refuse_predecessor(state, connection.dialect.name)
    _refuse_older(state, head)
    wanted.metadata.create_all(connection)
    write_revision(connection, scripts, head)


def _drop(connection: Connection, scripts: ScriptDirectory, wanted: _Wanted) -> None:
    if wanted.has_ours:
        refuse_unknown(scripts, read_state(connection).revision)
    refuse_references(connection, [table.name for table in wanted.metadata.tables.values()])
    if wanted.has_ours:
        # First, so that nothing takes what a broken connection leaves for the whole schema.
        version.drop(connection, checkfirst=True)
    wanted.metadata.drop_all(connection)


def _refuse_older(state: State, head: str) -> None:
    if state.revision is not None:
        msg = (
            f"the database is at revision {state.revision}, this version works with {head}; "
            "run migrations.upgrade, or 'alembic upgrade head', after a backup"
        )
        raise SchemaMismatchError(msg)
