"""Statements handed straight to a driver, each a transaction of its own.

What a one-shot call needs of a backend, and no more: no session, no
SQLAlchemy connection, one hop or one round trip. A backend without such a
way has none of these, and one-shot calls go through a session.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy import Column, Table

    from hqt_async_db.connection.backends.backend import Role

    # In their order; by name for psycopg.
    Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any]


class NoWayError(Exception):
    """A direct connection cannot be had: go through a session, which says why."""


@dataclass(slots=True, kw_only=True)
class Write:
    """One INSERT, UPDATE or DELETE, a transaction of its own.

    Attributes:
        sql: Its text.
        parameters: Its parameters; a sequence of these for ``many``.
        tables: What it writes to, for the receipt.
        explain: Turns what a driver raises into an error of ours.
        returns: Whether it has a RETURNING.
        many: Whether to run it for each of ``parameters``, all or none.
        joins: Whether it is short, so that it may share the commit of others
            that wait at the same time.
    """

    sql: str
    parameters: Parameters
    tables: frozenset[str]
    explain: Callable[[BaseException], BaseException]
    returns: bool = False
    many: bool = False
    joins: bool = False


@dataclass(slots=True, kw_only=True)
class Rows:
    """Many new rows of one table, all or none.

    Attributes:
        sql: Their INSERT.
        table: The table.
        columns: Its columns, in the order of the values.
        values: What the driver takes for each row.
        explain: As for :class:`Write`.
    """

    sql: str
    table: Table
    columns: Sequence[Column[Any]]
    values: Sequence[tuple[Any, ...]]
    explain: Callable[[BaseException], BaseException]

    def as_write(self) -> Write:
        """Return the one statement that inserts them all."""
        return Write(
            sql=self.sql,
            parameters=self.values,
            tables=frozenset({self.table.name}),
            explain=self.explain,
            many=True,
        )


@dataclass(slots=True)
class Answer:
    """What a :class:`Write` returned.

    Attributes:
        rowcount: How many rows it changed, or -1.
        rows: The rows of its RETURNING.
    """

    rowcount: int = -1
    rows: Sequence[Any] = field(default=())


class Cursor(Protocol):
    """The rows of a SELECT that is being read.

    Attributes:
        most_rows: How many at a time the driver brings without keeping the
            loop busy for long.
    """

    most_rows: int

    async def fetch(self, size: int) -> Sequence[Any]:
        """Return the next rows, at most ``size``, none at the end; one hop or round trip."""


class Direct(Protocol):
    """A backend's way for one-shot statements."""

    async def ready(self) -> None:
        """Connect once, so that the dialect knows its server.

        Raises:
            NoWayError: There is no connection to be had.
        """

    async def warm_up(self) -> None:
        """Open what the first calls would have to open.

        Raises:
            NoWayError: There is no connection to be had.
        """

    async def read(self, sql: str, parameters: Parameters) -> Sequence[Any]:
        """Return all rows of a SELECT; the database itself refuses writes.

        Raises:
            NoWayError: It was not run.
            Exception: What the driver raised, or an error of ours.
        """

    async def write(self, write: Write) -> Answer:
        """Run one statement and commit; cancelled, the commit's fate is known first.

        Raises:
            NoWayError: It was not run.
            CommitOutcomeUnknownError: It may have been committed.
            Exception: What the driver raised, or an error of ours.
        """

    async def close(self, role: Role) -> None:
        """End before the engine of a role; what is on its way raises DatabaseClosedError."""


@runtime_checkable
class LendsCursors(Protocol):
    """A way for rows that are read piece by piece."""

    def cursor(self, sql: str, parameters: Parameters) -> AbstractAsyncContextManager[Cursor]:
        """Lend the rows of a SELECT, all of one snapshot, to be read piece by piece."""


@runtime_checkable
class TakesRows(Protocol):
    """A way for many rows that is quicker than a session's."""

    async def insert(self, rows: Rows) -> None:
        """Insert them in one transaction and commit; as :meth:`Direct.write`."""


@runtime_checkable
class TakesArrays(Protocol):
    """A way whose parameters may be arrays, of which ``unnest`` makes rows."""

    async def write_all(self, writes: Sequence[Write]) -> list[Answer]:
        """Run statements with a RETURNING, all or none, and commit; as :meth:`Direct.write`."""
