"""Rows set aside in temporary tables, which the database then moves in one statement.

A stage has the columns of its target without their constraints, and the
number of each row, so that a refusal can name the row.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import count, islice
from typing import TYPE_CHECKING, Any, Final, Protocol

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, insert, text
from sqlalchemy.schema import CreateTable

from hqt_async_db.backup.loading.binding import Binder, has_default
from hqt_async_db.backup.loading.locking import is_alone
from hqt_async_db.errors import ImportDataError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sqlalchemy import Dialect

    from hqt_async_db.backup.formats.rows import Batch
    from hqt_async_db.connection.sessions.session import Session

ROW: Final = "hqt_row"
# What SQLAlchemy and the driver prepare in a millisecond or two.
_VALUES_PER_STATEMENT: Final = 250
_ROWS_PER_GROUP: Final = 1000
# Batches of a few rows are as large as a batch may be.
_BATCHES_PER_GROUP: Final = 10
# Of all models, for files with all columns and with some.
_MOST_TABLES: Final = 200
_numbers = count(1)


class Stage:
    """Where the rows for one table are set aside.

    Args:
        target: The table.
        given: The columns that the rows have.
        source: What to call the rows in an error.
        keyed: Whether the rows will be looked for by their primary key.

    Attributes:
        table: The temporary table.
        filled: The columns that get their default.
        rows: How many there are.
        is_made: Whether the temporary table may be there.

    Raises:
        ImportDataError: A column that must have a value is missing.
    """

    def __init__(
        self, target: Table, given: Sequence[Column[Any]], source: str, *, keyed: bool
    ) -> None:
        self.target = target
        self.given = tuple(given)
        self.source = source
        # In a tuple each look would make an expression of SQL for every column before.
        known = frozenset(given)
        missing = [column for column in target.columns if column not in known]
        self.filled = tuple(column for column in missing if given and has_default(column))
        self.columns = self.given + self.filled
        self.rows = 0
        self.is_made = False
        if given:
            self._require(missing, keyed=keyed)
        key = frozenset(target.primary_key.columns if keyed else ())
        self.table = _table(target, frozenset(self.columns) or key, key)

    @property
    def row(self) -> Column[Any]:
        """Return the column with the number of the row."""
        return self.table.columns[ROW]

    def binder(self, dialect: Dialect) -> Binder:
        """Return what makes rows ready for the driver."""
        return Binder(self.given, self.filled, dialect)

    def _require(self, missing: Sequence[Column[Any]], *, keyed: bool) -> None:
        filled = frozenset(self.filled)
        for column in missing:
            reason = f"and {self.target.name} has no default for it, of the server or of Python"
            if keyed and column.primary_key:
                reason, may_lack = "which the rows are looked for by", False
            elif column is self.target.autoincrement_column or column in filled:
                may_lack = True
            else:
                by_database = (column.computed, column.server_default)
                may_lack = bool(column.nullable) or by_database != (None, None)
            if not may_lack:
                msg = f"{self.source}: the column {column.name!r} is missing, {reason}"
                raise ImportDataError(msg, source=self.source, column=column.name)


@lru_cache(_MOST_TABLES)
def _table(target: Table, staged: frozenset[Column[Any]], key: frozenset[Column[Any]]) -> Table:
    """Return the temporary table, the same each time, so that its SQL is compiled once."""
    return Table(
        f"hqt_import_{next(_numbers)}",
        MetaData(),
        *[
            Column(c.name, c.type, primary_key=c in key, autoincrement=False, nullable=True)
            for c in target.columns
            if c in staged
        ],
        Column(
            ROW, BigInteger().with_variant(Integer(), "sqlite"), primary_key=True,
            autoincrement=False,
        ),
        prefixes=["TEMPORARY"],
        postgresql_on_commit="DROP",
    )  # fmt: skip


async def in_groups(batches: AsyncIterator[Batch]) -> AsyncIterator[list[Batch]]:
    """Yield batches together, so that the way to a thread and back is worth it."""
    group: list[Batch] = []
    async for batch in batches:
        group.append(batch)
        if (
            len(group) == _BATCHES_PER_GROUP
            or sum(batch.size for batch in group) >= _ROWS_PER_GROUP
        ):
            yield group
            group = []
    if group:
        yield group


class Staging(Protocol):
    """What sets rows aside on one backend."""

    async def create(self, stage: Stage) -> None:
        """Make the temporary table."""

    async def insert(self, stage: Stage, batches: AsyncIterator[Batch]) -> None:
        """Set rows aside."""

    async def drop(self, stage: Stage) -> None:
        """Let go of the temporary table, in the transaction that moved its rows."""

    async def discard(self, stages: Sequence[Stage]) -> None:
        """Leave nothing behind, neither of the transaction."""


class PlainStaging:
    """Any backend, through SQLAlchemy: MariaDB and MySQL, and further drivers."""

    def __init__(self, session: Session) -> None:
        self._session = session
        name = session.get_bind().dialect.name
        self._is_mysql, self._is_sqlite = name in {"mysql", "mariadb"}, name == "sqlite"

    async def create(self, stage: Stage) -> None:
        """Make the temporary table, which commits nothing."""
        if self._is_sqlite:  # where one is back if the commit fails that dropped it
            name = self._session.get_bind().dialect.identifier_preparer.format_table(stage.table)
            # A look at the other schema would be a read, after which others may write.
            await self._session.execute(text(f"DROP TABLE IF EXISTS temp.{name}"))
        await self._session.execute(CreateTable(stage.table))

    async def insert(self, stage: Stage, batches: AsyncIterator[Batch]) -> None:
        """Set rows aside, in statements that are quickly prepared."""
        statement = insert(stage.table)
        names = [ROW, *(column.name for column in stage.columns)]
        binder = stage.binder(self._session.get_bind().dialect)
        size = max(1, _VALUES_PER_STATEMENT // len(names))
        async for batch in batches:
            rows = binder.unbound(batch)
            while part := [dict(zip(names, row, strict=True)) for row in islice(rows, size)]:
                await self._session.execute(statement, part)

    async def drop(self, stage: Stage) -> None:
        """Drop the temporary table; without that word MySQL would commit."""
        kind = "TEMPORARY TABLE" if self._is_mysql else "TABLE"
        name = self._session.get_bind().dialect.identifier_preparer.format_table(stage.table)
        await self._session.execute(text(f"DROP {kind} {name}"))

    async def discard(self, stages: Sequence[Stage]) -> None:
        """Close the connection, and with it everything that was temporary.

        A database in memory would end with it: there each table is dropped.
        """
        if not stages:
            return
        if not is_alone(self._session):
            await self._session.invalidate()
            return
        await self._session.rollback()
        quote = self._session.get_bind().dialect.identifier_preparer
        for stage in stages:
            name = quote.format_table(stage.table)
            await self._session.execute(text(f"DROP TABLE IF EXISTS temp.{name}"))
