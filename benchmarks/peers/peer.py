"""What every peer is asked to do.

A peer is one library, written as its own documentation recommends and in the
fastest way it documents. Each call is complete in itself: it takes what it
needs from the peer's pool, and when it returns, what was written is committed.
Nothing is kept from one call to the next but the pool and what the library
itself caches of statements.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.databases import Database
    from benchmarks.table import Row

GET: Final = "get"
INSERT: Final = "insert"
UPDATE: Final = "update"
LIST: Final = "list"
ROWS: Final = "rows"
BULK: Final = "bulk insert"
STREAM: Final = "stream"
OPERATIONS: Final = (GET, INSERT, UPDATE, LIST, ROWS, BULK, STREAM)

# Who a peer is to the others.
BARE: Final = "bare driver"
ORM: Final = "ORM"
MAPPER: Final = "SQL mapper"
OTHER: Final = "for comparison only"
OURS: Final = "this library"


class Peer(ABC):
    """One library on one database.

    Attributes:
        name: As it is shown.
        kind: One of the constants above.
        packages: The distributions whose versions matter; the first is its own.
        how: How it is written here, in a sentence.
        backends: Where it works.
        operations: What it offers.
        time_suffix: What it writes behind a time in SQLite's text.
        is_untyped: It returns what SQLite stores: text for times, numbers for truth.
    """

    name: ClassVar[str]
    kind: ClassVar[str] = ORM
    packages: ClassVar[tuple[str, ...]]
    how: ClassVar[str]
    backends: ClassVar[tuple[str, ...]] = ("SQLite", "PostgreSQL")
    operations: ClassVar[tuple[str, ...]] = OPERATIONS
    time_suffix: ClassVar[str] = ""
    is_untyped: ClassVar[bool] = False

    def __init__(self, database: Database) -> None:
        """Remember the database; connect to nothing."""
        self.database = database

    @abstractmethod
    async def open(self) -> None:
        """Connect."""

    @abstractmethod
    async def close(self) -> None:
        """Close every connection."""

    @abstractmethod
    async def scalar(self, sql: str) -> object:
        """Return the first column of the first row, over a connection that writes."""

    @abstractmethod
    async def get(self, key: int) -> Any:
        """Return the row with this key as an instance."""

    @abstractmethod
    async def insert(self, row: Row) -> Any:
        """Insert one row, commit, and return its key or the instance with it."""

    @abstractmethod
    async def update(self, key: int, change: Row) -> None:
        """Set columns of the row with this key, and commit."""

    @abstractmethod
    async def list(self, limit: int) -> Sequence[Any]:
        """Return the first rows by key, as instances."""

    @abstractmethod
    async def bulk_insert(self, rows: Sequence[Row]) -> None:
        """Insert many rows in one transaction, and commit."""

    async def rows(self, limit: int) -> Sequence[Any]:
        """Return the first rows by key, typed, but not as instances."""
        raise NotImplementedError

    async def stream(self) -> tuple[int, Any]:
        """Go through all typed rows one by one; return how many, and the last."""
        raise NotImplementedError
