"""An independent look at the database: another driver, no event loop, no ORM.

It fills the table before anything is measured, and reads back what others
claim to have written, over a connection of its own: what it sees was
committed.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Self

import psycopg
import pymysql
from sqlalchemy import make_url

from benchmarks.errors import WrongWorkError
from benchmarks.table import COLUMNS, TABLE, VALUES, make_rows, normal, schema, values_of

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from benchmarks.table import Row

_SELECT: Final = f"SELECT {', '.join(COLUMNS)} FROM {TABLE}"
_PATIENCE_S: Final = 60.0


class Witness:
    """A synchronous connection in autocommit mode, and what it can attest.

    Args:
        backend: The kind of database.
        url: As a user would paste it.
        time_suffix: What the library under test writes behind a time where
            the database knows no such type, an offset or nothing.
    """

    def __init__(self, backend: str, url: str, *, time_suffix: str = "") -> None:
        self.backend = backend
        self._suffix = time_suffix
        self._mark = "?" if backend == "SQLite" else "%s"
        self._connection = _connect(backend, url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()

    def execute(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        cursor = self._connection.cursor()
        try:
            cursor.execute(sql, tuple(values))
            return list(cursor.fetchall()) if cursor.description else []
        finally:
            cursor.close()

    def create_table(self) -> None:
        """Make the table; a SQLite file gets its journal mode, which it keeps."""
        if self.backend == "SQLite":
            self.execute("PRAGMA journal_mode=WAL")
        for statement in schema(self.backend):
            self.execute(statement)

    def fill(self, rows: Iterable[Row]) -> None:
        """Insert rows in one transaction."""
        marks = ", ".join([self._mark] * len(VALUES))
        insert = f"INSERT INTO {TABLE} ({', '.join(VALUES)}) VALUES ({marks})"
        cursor = self._connection.cursor()
        cursor.execute("BEGIN")
        cursor.executemany(insert, [self._stored(row) for row in rows])
        cursor.execute("COMMIT")
        cursor.close()
        self.settle()

    def grow(self, size: int, chance: random.Random) -> None:
        """Add rows until there are so many, the keys without a gap.

        Beyond the first thousand they repeat: the database copies its own.
        """
        have = self.count()
        if not have:
            self.fill(make_rows(chance, min(size, 1000)))
            have = self.count()
        names = ", ".join(VALUES)
        while have < size:
            more = min(have, size - have)
            self.execute(
                f"INSERT INTO {TABLE} (id, {names}) SELECT id + {have}, {names} "
                f"FROM {TABLE} WHERE id <= {more}"
            )
            have += more
        if self.backend == "PostgreSQL":
            self.execute(f"SELECT setval(pg_get_serial_sequence('{TABLE}', 'id'), {size})")
        self.settle()

    def settle(self) -> None:
        """Do now what the database would do at some time of its own choice."""
        if self.backend == "SQLite":
            self.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        elif self.backend == "PostgreSQL":
            self.execute(f"VACUUM ANALYZE {TABLE}")
            self.execute("CHECKPOINT")

    def _stored(self, row: Row) -> tuple[Any, ...]:
        values = tuple(row[column] for column in VALUES)
        if self.backend == "PostgreSQL":
            return values
        return tuple(self._stored_time(v) if isinstance(v, datetime) else v for v in values)

    def _stored_time(self, value: datetime) -> object:
        naive = value.replace(tzinfo=None)
        if self.backend == "MariaDB":
            return naive
        return naive.isoformat(" ", "microseconds") + self._suffix

    def count(self) -> int:
        """Return how many rows there are."""
        return int(self.execute(f"SELECT count(*) FROM {TABLE}")[0][0])

    def last_id(self) -> int:
        """Return the highest key."""
        return int(self.execute(f"SELECT coalesce(max(id), 0) FROM {TABLE}")[0][0])

    def rows(self, ids: Sequence[int]) -> dict[int, tuple[Any, ...]]:
        """Return rows by key, in a form that compares."""
        found: dict[int, tuple[Any, ...]] = {}
        for start in range(0, len(ids), 500):
            chunk = ids[start : start + 500]
            marks = ", ".join([self._mark] * len(chunk))
            for row in self.execute(f"{_SELECT} WHERE id IN ({marks})", chunk):
                found[row[0]] = normal(row, is_raw=True)
        return found

    def rows_after(self, last_id: int) -> list[tuple[Any, ...]]:
        """Return the rows that were added, in a form that compares."""
        added = self.execute(f"{_SELECT} WHERE id > {self._mark}", (last_id,))
        return [normal(row, is_raw=True) for row in added]

    def delete_after(self, last_id: int) -> None:
        """Remove the rows that were added."""
        self.execute(f"DELETE FROM {TABLE} WHERE id > {self._mark}", (last_id,))
        self.settle()

    def require_same(self, record: Any, *, who: str, is_raw: bool = False) -> None:
        """Compare a row that somebody read with what is stored.

        Raises:
            WrongWorkError: It is nothing, or something else.
        """
        if record is None:
            msg = f"{who} found no row where there is one"
            raise WrongWorkError(msg)
        got = normal(values_of(record), is_raw=is_raw)
        stored = self.rows([got[0]]).get(got[0])
        if got != stored:
            msg = f"{who} returned {got}, but stored is {stored}"
            raise WrongWorkError(msg)


def _connect(backend: str, url: str) -> Any:
    address = make_url(url)
    if backend == "SQLite":
        return sqlite3.connect(str(address.database), isolation_level=None, timeout=_PATIENCE_S)
    if backend == "PostgreSQL":
        plain = address.set(drivername="postgresql").render_as_string(hide_password=False)
        return psycopg.connect(plain, autocommit=True)
    return pymysql.connect(
        host=address.host,
        port=address.port or 3306,
        user=address.username,
        password=address.password or "",
        database=address.database,
        charset="utf8mb4",
        autocommit=True,
    )
