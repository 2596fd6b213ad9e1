"""Rows into the database: all of them, in one transaction, or none."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sqlalchemy import text

from hqt_async_db.backup.loading import locking, merging
from hqt_async_db.backup.loading.faults import fault_of
from hqt_async_db.backup.loading.staging import PlainStaging, Stage, Staging
from hqt_async_db.backup.loading.staging_postgresql import PostgreSQLStaging
from hqt_async_db.backup.loading.staging_sqlite import SQLiteStaging
from hqt_async_db.backup.loading.strangers import refuse_strangers
from hqt_async_db.backup.progress import Report
from hqt_async_db.backup.tables import all_tables
from hqt_async_db.connection.backends.backend import Mode as SessionMode
from hqt_async_db.connection.backends.sqlite.connection import HqtSQLiteConnection
from hqt_async_db.errors import (
    ConnectionFailedError,
    IntegrityViolationError,
    InvalidInputError,
    ValueRefusedError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy import Table

    from hqt_async_db.backup.formats.rows import Batch, RowReader
    from hqt_async_db.backup.progress import ProgressCallback
    from hqt_async_db.connection.manager import DatabaseManager
    from hqt_async_db.connection.sessions.session import Session

Mode = Literal["append", "replace", "upsert", "restore"]


@dataclass(frozen=True, slots=True)
class TableSource:
    """Where the rows of one table come from.

    Attributes:
        table: The table.
        open: Lends the rows; called again where a constraint refuses one and
            it is to be found out which.
        name: What to call them in an error.
        total: How many there will be, None if that is not known.
    """

    table: Table
    open: Callable[[], AbstractAsyncContextManager[RowReader]]
    name: str
    total: int | None = None


async def load(  # noqa: PLR0913 - options by keyword
    db: DatabaseManager,
    sources: Sequence[TableSource],
    *,
    mode: Mode = "append",
    progress: ProgressCallback | None = None,
    when_locked: Callable[[Session], Awaitable[None]] | None = None,
    before_commit: Callable[[Session], Awaitable[None]] | None = None,
) -> dict[str, int]:
    """Write the rows of several tables in one transaction; return their numbers.

    ``append`` inserts, ``upsert`` updates the rows whose primary key exists,
    ``replace`` also deletes those that the source lacks, and ``restore``
    deletes every row of every table of the models before it inserts, while
    others may read but not write. On SQLite and MySQL the rows are first set
    aside in temporary tables; on a SQLite file other writers wait for the
    last step only, the move. Memory is constant. The next row that the
    database numbers gets a free number.

    Args:
        db: The database.
        sources: The rows, each table once, in any order.
        mode: What becomes of the rows that are there.
        progress: Told of the rows that were read.
        when_locked: Called by ``restore`` once nobody else can write any
            more, before anything is deleted; a database in memory can be
            read through the session only.
        before_commit: Looks at the outcome in the transaction; what it
            raises undoes everything.

    Raises:
        ImportDataError: A row does not fit or a constraint refuses it; names
            source, row and column. Nothing was written.
        InvalidInputError: A table is there twice, or has no key by which its
            rows could be found.
    """
    ordered = _in_order(sources)
    if mode in {"replace", "upsert"}:
        _require_keys(ordered)
    async with (
        db.open(_session_mode(db, mode), "import") as session,
        _staging(session) as (staging, stages),
    ):
        loader = _Loader(session, staging, stages, mode, progress, when_locked)
        if isinstance(staging, PostgreSQLStaging) and mode in ("append", "restore"):
            await loader.copy(ordered, staging)
        else:
            await loader.move(ordered)
        await _advance_sequences(session, stages)
        if before_commit is not None:
            await before_commit(session)
    return {stage.target.name: stage.rows for stage in stages}


def _session_mode(db: DatabaseManager, mode: Mode) -> SessionMode:
    """Return the isolation in which MySQL's locks keep new rows out, too."""
    is_mysql = db.dialect_name in {"mysql", "mariadb"}
    return SessionMode.WRITE if mode == "restore" and is_mysql else SessionMode.DEFAULT


@asynccontextmanager
async def _staging(session: Session) -> AsyncIterator[tuple[Staging, list[Stage]]]:
    """Lend what sets rows aside; nothing of it is left at the end."""
    staging, stages = await _staging_of(session), list[Stage]()
    try:
        yield staging, stages
        for stage in stages:
            if stage.is_made:
                await staging.drop(stage)
    except BaseException:
        # Where the connection is lost, so is all that was set aside on it.
        with suppress(ConnectionFailedError):
            await staging.discard([stage for stage in stages if stage.is_made])
        raise


async def _staging_of(session: Session) -> Staging:
    connection = await session.connection()
    pooled = await connection.get_raw_connection()
    if isinstance(pooled.dbapi_connection, HqtSQLiteConnection):
        return SQLiteStaging(session, pooled, pooled.dbapi_connection)
    if hasattr(pooled.driver_connection, "copy_to_table"):
        return PostgreSQLStaging(session)
    return PlainStaging(session)


def _in_order(sources: Sequence[TableSource]) -> list[TableSource]:
    """Return the sources, those of referenced tables first."""
    tables = list(all_tables())
    names = [source.table.name for source in sources]
    if len(set(names)) < len(names):
        msg = "each table can be loaded from one source only"
        raise InvalidInputError(msg, field="sources")
    return sorted(sources, key=lambda source: tables.index(source.table))


def _require_keys(sources: Sequence[TableSource]) -> None:
    """Refuse to look for the rows of a table of one's own that has no key."""
    for table in (source.table for source in sources):
        if not table.primary_key.columns:
            msg = f"{table.name} has no primary key; its rows can only be appended"
            raise InvalidInputError(msg, field=table.name)


class _Loader:
    """Moves the rows of sources into their tables, in one way or the other."""

    def __init__(  # noqa: PLR0913, PLR0917 - what load() was asked for
        self,
        session: Session,
        staging: Staging,
        stages: list[Stage],
        mode: Mode,
        progress: ProgressCallback | None,
        when_locked: Callable[[Session], Awaitable[None]] | None,
    ) -> None:
        self._session = session
        self._staging = staging
        self._stages = stages
        self._mode = mode
        self._progress = progress
        self._when_locked = when_locked

    async def move(self, sources: Sequence[TableSource]) -> None:
        """Set all rows aside, then move them."""
        is_alone = locking.is_alone(self._session)
        if is_alone:  # a cancelled statement may cost the connection, and the database with it
            await self._keep_writers_out()
        for source in sources:
            await self._set_aside(source, self._progress)
        if not is_alone:
            await self._keep_writers_out()
        await self._make_room()
        move = {"replace": merging.replace, "upsert": merging.upsert}
        await move.get(self._mode, merging.append)(self._session, self._stages)

    async def copy(self, sources: Sequence[TableSource], staging: PostgreSQLStaging) -> None:
        """Put the rows where they belong at once."""
        await self._keep_writers_out()
        await self._make_room()
        for source in sources:
            savepoint = merging.Savepoint(self._session)
            await savepoint.begin()
            try:
                await self._copy(source, staging)
            except (IntegrityViolationError, ValueRefusedError) as error:
                await savepoint.undo()
                await self._set_aside(source, None)
                fault = await fault_of(self._session, self._stages[-1], error, is_keyed=False)
                if fault is None:
                    raise
                raise fault from error

    async def _keep_writers_out(self) -> None:
        if self._mode == "restore":
            await locking.keep_writers_out(self._session)
            await refuse_strangers(self._session)
            if self._when_locked is not None:
                await self._when_locked(self._session)

    async def _make_room(self) -> None:
        if self._mode == "restore":
            await merging.empty(self._session)

    async def _copy(self, source: TableSource, staging: PostgreSQLStaging) -> None:
        async with source.open() as reader:
            stage = Stage(source.table, reader.columns, source.name, keyed=False)
            if reader.columns:
                batches = self._counted(stage, reader, source.total, self._progress)
                await staging.copy(stage, batches)
        self._stages.append(stage)

    async def _set_aside(self, source: TableSource, progress: ProgressCallback | None) -> None:
        is_keyed = self._mode in ("replace", "upsert")
        async with source.open() as reader:
            stage = Stage(source.table, reader.columns, source.name, keyed=is_keyed)
            self._stages.append(stage)
            stage.is_made = True
            await self._staging.create(stage)
            if reader.columns:
                batches = self._counted(stage, reader, source.total, progress)
                await self._staging.insert(stage, batches)

    async def _counted(
        self,
        stage: Stage,
        reader: RowReader,
        total: int | None,
        progress: ProgressCallback | None,
    ) -> AsyncIterator[Batch]:
        """Yield the batches; count their rows and tell, a few times a second."""
        report = Report(stage.target.name, total, progress)
        async for batch in reader:
            yield batch
            report.add(batch.size)
            stage.rows = report.rows
        report.end()


async def _advance_sequences(session: Session, stages: Sequence[Stage]) -> None:
    """Have PostgreSQL give out numbers beyond those that were given to it.

    The other backends look at the largest one by themselves. A sequence never
    goes back: a rollback would not undo that. One that is right is left alone,
    for others may take a number between the look and the change.
    """
    dialect = session.get_bind().dialect
    if dialect.name != "postgresql":
        return
    for stage in stages:
        table, key = stage.target, stage.target.autoincrement_column
        if key is None or key not in frozenset(stage.given):
            continue
        quote = dialect.identifier_preparer
        statement = text(
            "SELECT setval(sequence, largest) FROM (SELECT "  # noqa: S608 - quoted names of the metadata
            "CAST(pg_get_serial_sequence(:table, :column) AS regclass) AS sequence, "
            f"(SELECT max({quote.format_column(key)}) FROM {quote.format_table(table)}) AS largest"
            ") AS known WHERE sequence IS NOT NULL "
            "AND largest > COALESCE(pg_sequence_last_value(sequence), 0)"
        )
        names = {"table": quote.format_table(table), "column": key.name}
        await session.execute(statement, names)
