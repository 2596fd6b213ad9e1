"""What runs on a SQLite connection's own thread, one hop at a time."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

# Not SQLITE_BUSY_SNAPSHOT: that one never goes away by waiting.
_WORTH_WAITING: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY})
_OUTSIDE: Final = ("PRAGMA", "VACUUM", "ATTACH", "DETACH", "BEGIN")
_ENDING: Final = ("COMMIT", "END", "ROLLBACK")


class Call:
    """One statement: its transaction, its rows and what became of it.

    The event loop fills in ``begin`` and the limits, hands :meth:`run` to the
    connection's thread and reads the results once ``done`` is True.
    """

    __slots__ = (
        "_cursor",
        "_stopped",
        "began",
        "begin",
        "description",
        "done",
        "keep_open",
        "lastrowid",
        "many",
        "parameters",
        "patience_s",
        "rowcount",
        "rows",
        "sql",
        "takes_turn",
    )

    def __init__(self, sql: str, parameters: Any, *, many: bool = False) -> None:
        self.sql = sql
        self.parameters = parameters
        self.many = many
        self.begin: str | None = None
        self.takes_turn = False
        self.patience_s = 0.0
        self.keep_open = False
        self.began = False
        self.done = False
        self.rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self._cursor: sqlite3.Cursor | None = None
        self._stopped = False

    @property
    def stays_outside(self) -> bool:
        """Tell whether the statement means nothing inside a transaction."""
        return self.sql.lstrip()[:8].upper().startswith(_OUTSIDE)

    @property
    def ends_transaction(self) -> bool:
        """Tell whether the user's own SQL may end the transaction."""
        return self.sql.lstrip()[:8].upper().startswith(_ENDING)

    def stop(self) -> None:
        """Keep a call that still waits for a lock, or for the thread, from running."""
        self._stopped = True

    def run(self, connection: sqlite3.Connection) -> None:
        """Begin if asked to, execute, and fetch and close unless streaming."""
        try:
            if self.begin is not None:
                self._patiently(lambda: connection.execute(self.begin or ""))
                self.began = True
                self._execute(connection)
            elif connection.in_transaction:
                self._execute(connection)
            else:
                self._patiently(lambda: self._execute(connection))
                self.began = connection.in_transaction
        finally:
            self.done = True

    def fetch(self, size: int) -> list[Any]:
        """Return up to ``size`` rows of an open cursor, all of them for -1."""
        if self._cursor is None:
            return []
        return self._cursor.fetchall() if size < 0 else self._cursor.fetchmany(size)

    def close(self) -> None:
        """Close the cursor, which ends the statement's view of the data."""
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None

    def _execute(self, connection: sqlite3.Connection) -> None:
        execute = connection.executemany if self.many else connection.execute
        cursor = execute(self.sql, self.parameters)
        self.description = cursor.description
        if self.keep_open:
            self._cursor = cursor
            return
        if self.description is not None:
            self.rows = cursor.fetchall()
        self.rowcount, self.lastrowid = cursor.rowcount, cursor.lastrowid
        cursor.close()

    def _patiently(self, attempt: Callable[[], object]) -> None:
        patiently(attempt, self.patience_s, is_stopped=lambda: self._stopped)


def patiently(
    attempt: Callable[[], T],
    patience_s: float,
    *,
    is_stopped: Callable[[], bool] = lambda: False,
) -> T:
    """Try until another process lets go of its lock, or patience ends.

    SQLite's own busy handler paces the attempts; it is set to a fraction of
    a second, because it cannot be interrupted while it sleeps.
    """
    deadline = time.monotonic() + patience_s
    while True:
        if is_stopped():
            msg = "interrupted"
            raise sqlite3.OperationalError(msg)
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            code = getattr(error, "sqlite_errorcode", None)
            if code not in _WORTH_WAITING or time.monotonic() >= deadline:
                raise


def end_transaction(connection: sqlite3.Connection, verb: str, patience_s: float) -> None:
    """Send COMMIT or ROLLBACK."""
    patiently(lambda: connection.execute(verb).close(), patience_s)


def close_cursors(calls: Iterable[Call]) -> None:
    """Close the cursors of streams that were left open."""
    for call in calls:
        call.close()


def abandon(connection: sqlite3.Connection, calls: Iterable[Call]) -> None:
    """Give back every lock, so that closing leaves nothing to a later collection."""
    close_cursors(calls)
    if connection.in_transaction:
        connection.execute("ROLLBACK").close()


def set_up(connection: sqlite3.Connection, pragmas: Iterable[str], patience_s: float) -> None:
    """Apply the settings of a new connection."""
    for pragma in pragmas:
        patiently(lambda sql=pragma: connection.execute(sql).close(), patience_s)  # type: ignore[misc]  # mypy cannot type a lambda's default
