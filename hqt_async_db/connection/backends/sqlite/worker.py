"""What runs on a SQLite connection's own thread, one job at a time."""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeVar

from hqt_async_db.connection.backends.sqlite.keeping import explain
from hqt_async_db.connection.backends.sqlite.statements import ends_transaction, stays_outside
from hqt_async_db.errors import DatabaseLockedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

# Not SQLITE_BUSY_SNAPSHOT: that one never goes away by waiting.
_WORTH_WAITING: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY})
_CHECKPOINT_PAUSE_S: Final = 0.005


class Interruptible:
    """Work that a thread does for the loop, which may stop it at any time.

    Attributes:
        stopped: The loop asked for its end.
        done: It has ended.
    """

    __slots__ = ("done", "stopped")

    def __init__(self) -> None:
        self.stopped = False
        self.done = False

    def go_on(self) -> None:
        """Raise what SQLite raises for an interrupt, if it was stopped."""
        if self.stopped:
            raise interrupted()

    def patiently(self, attempt: Callable[[], T], patience_s: float) -> T:
        """Try until another process lets go of its lock, or patience ends.

        SQLite's own busy handler paces the attempts; it is set to a fraction
        of a second, because it cannot be interrupted while it sleeps.

        Raises:
            DatabaseLockedError: Patience ended.
        """
        deadline = time.monotonic() + patience_s
        while True:
            self.go_on()
            try:
                return attempt()
            except sqlite3.OperationalError as error:
                code = getattr(error, "sqlite_errorcode", None)
                if code not in _WORTH_WAITING:
                    raise
                if time.monotonic() >= deadline:
                    raise _locked(patience_s, error) from None


def _locked(waited_s: float, error: sqlite3.OperationalError) -> DatabaseLockedError:
    return DatabaseLockedError(
        f"waited {waited_s:g} s for the write lock of the file, which another process or event "
        "loop holds; keep write transactions short there, or raise lock_timeout_s",
        orig=error,
    )


class Job(Interruptible):
    """One function on its way to the thread, through it and back.

    The result waits here and not in a future, whose content asyncio's debug
    mode would log.

    Attributes:
        result: What the function returned.
        log_bytes: Size of the write-ahead log after a commit; 0 if nobody looked.
    """

    __slots__ = ("_arguments", "_function", "_measure", "log_bytes", "result")

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        measure: Callable[[], int] | None = None,
    ) -> None:
        super().__init__()
        self._function = function
        self._arguments = arguments
        self._measure = measure
        self.log_bytes = 0
        self.result: Any = None

    def __call__(self) -> None:
        """Run, unless it was stopped before its turn came."""
        try:
            self.go_on()
            self.result = self._function(self, *self._arguments)
        finally:
            self.done = True

    def measure_log(self) -> None:
        """Look how large the write-ahead log is, if it is time to; for use after a commit."""
        if self._measure is not None:
            self.log_bytes = self._measure()


def executed(
    connection: sqlite3.Connection, sql: str, parameters: Any, *, many: bool
) -> sqlite3.Cursor:
    """Execute a statement, for each of the parameters if there are ``many``."""
    execute = connection.executemany if many else connection.execute
    try:
        return execute(sql, parameters)
    except sqlite3.DataError as error:
        explain(error)
        raise


def interrupted() -> sqlite3.OperationalError:
    """Return what SQLite raises for an interrupt."""
    error = sqlite3.OperationalError("interrupted")
    error.sqlite_errorcode = sqlite3.SQLITE_INTERRUPT
    error.sqlite_errorname = "SQLITE_INTERRUPT"
    return error


class Call:
    """One statement: its transaction, its rows and what became of it.

    The event loop fills in what precedes the statement and the limits, hands
    :meth:`run` to the thread, and reads the results once ``done`` is True.
    A stream that its transaction ended has ``was_cut_off``.
    """

    __slots__ = (
        "_cursor",
        "_rest",
        "began",
        "begin",
        "description",
        "done",
        "is_script",
        "keep_open",
        "lastrowid",
        "many",
        "open_streams",
        "parameters",
        "patience_s",
        "query_only",
        "rowcount",
        "rows",
        "sql",
        "was_cut_off",
    )

    def __init__(self, sql: str, parameters: Any, *, many: bool = False) -> None:
        self.sql = sql
        self.parameters = parameters
        self.many = many
        self.begin: str | None = None
        self.query_only: bool | None = None
        self.open_streams: tuple[Call, ...] = ()
        self.patience_s = 0.0
        self.keep_open = False
        self.is_script = False
        self.began = False
        self.done = False
        self.rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self._cursor: sqlite3.Cursor | None = None
        self._rest: deque[Any] = deque()
        self.was_cut_off = False

    @property
    def stays_outside(self) -> bool:
        """Tell whether the statement means nothing inside a transaction."""
        return stays_outside(self.sql)

    @property
    def ends_transaction(self) -> bool:
        """Tell whether the user's own SQL may end the transaction."""
        return ends_transaction(self.sql)

    @property
    def is_open(self) -> bool:
        """Tell whether a stream may have rows left."""
        return self._cursor is not None or bool(self._rest)

    def run(self, job: Job, connection: sqlite3.Connection) -> None:
        """Begin if asked to, execute, and fetch and close unless streaming."""
        try:
            if self.query_only is not None:
                connection.execute(f"PRAGMA query_only={int(self.query_only)}").close()
            if self.begin is not None:
                self._begin(job, connection, self.begin)
                job.go_on()
                self._execute(connection)
            elif connection.in_transaction:
                self._execute(connection)
            else:
                job.patiently(lambda: self._execute(connection), self.patience_s)
                self.began = connection.in_transaction
        finally:
            self.done = True

    def _begin(self, job: Job, connection: sqlite3.Connection, verb: str) -> None:
        """Begin; what open streams have left is read first.

        They hold the state in which they began, from which SQLite lets no
        write transaction begin once another connection has written.
        """
        for stream in self.open_streams:
            stream.read_rest()
        job.patiently(lambda: connection.execute(verb).close(), self.patience_s)
        self.began = True

    def _execute(self, connection: sqlite3.Connection) -> None:
        if self.is_script:
            connection.executescript(self.sql).close()
            return
        cursor = executed(connection, self.sql, self.parameters, many=self.many)
        self.description = cursor.description
        if self.keep_open:
            self._cursor = cursor
            return
        if self.description is not None:
            self.rows = cursor.fetchall()
        self.rowcount, self.lastrowid = cursor.rowcount, cursor.lastrowid
        cursor.close()

    def fetch(self, _job: Job, size: int) -> list[Any]:
        """Return up to ``size`` rows of a stream, all of them for -1."""
        if self._cursor is None:
            count = len(self._rest) if size < 0 else min(size, len(self._rest))
            return [self._rest.popleft() for _ in range(count)]
        rows = self._cursor.fetchall() if size < 0 else self._cursor.fetchmany(size)
        if size < 0 or len(rows) < size:
            self.close()
        return rows

    def read_rest(self) -> None:
        """Read the rows that a stream has left, and let go of its state."""
        if self._cursor is not None:
            self._rest.extend(self._cursor.fetchall())
            self._close_cursor()

    def cut_off(self) -> None:
        """Close a stream whose transaction ends; fetching on will be an error."""
        self.was_cut_off = self.is_open
        self.close()

    def close(self, _job: Job | None = None) -> None:
        """Close a stream, which ends its view of the data."""
        self._rest.clear()
        self._close_cursor()

    def _close_cursor(self) -> None:
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None


def commit(
    job: Job, connection: sqlite3.Connection, patience_s: float, streams: Iterable[Call] = ()
) -> None:
    """Send COMMIT, or roll back what was refused; see how large the log has become.

    After a COMMIT that failed SQLAlchemy rolls nothing back, and SQLite only
    sometimes does: the lock would stay with an idle connection of the pool.
    """
    try:
        job.patiently(lambda: connection.execute("COMMIT").close(), patience_s)
    except BaseException:
        abandon(job, connection, streams)
        raise
    job.measure_log()


def checkpoint(job: Job, connection: sqlite3.Connection, patience_s: float) -> bool:
    """Move the log into the file and empty it; tell whether that was possible.

    Waits for readers of an older state, in steps of SQLite's busy timeout. No
    writer of any process can commit meanwhile, so that new readers see the
    latest state and are in nobody's way: only a long reader is.
    """
    deadline = time.monotonic() + patience_s
    while True:
        job.go_on()
        (is_busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not is_busy:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_CHECKPOINT_PAUSE_S)


def roll_back(_job: Job, connection: sqlite3.Connection, streams: Iterable[Call]) -> None:
    """Close the streams that were left open, and roll back what is open."""
    for stream in streams:
        stream.cut_off()
    if connection.in_transaction:
        connection.execute("ROLLBACK").close()


def abandon(job: Job, connection: sqlite3.Connection, streams: Iterable[Call]) -> None:
    """Give back every lock, so that closing leaves nothing to a later collection."""
    try:
        roll_back(job, connection, streams)
    except sqlite3.OperationalError:
        # An interrupt that was meant for the statement before hit this one.
        roll_back(job, connection, streams)


def set_up(
    job: Job,
    connection: sqlite3.Connection,
    new_file_pragmas: Iterable[str],
    pragmas: Iterable[str],
    patience_s: float,
) -> str:
    """Apply the settings of a new connection; return the file as SQLite names it.

    Some can be chosen only as long as the file is empty.
    """

    def execute(sql: str) -> Any:
        return job.patiently(lambda: connection.execute(sql).fetchone(), patience_s)

    if new_file_pragmas and execute("PRAGMA page_count") == (0,):
        for pragma in new_file_pragmas:
            execute(pragma)
    for pragma in pragmas:
        execute(pragma)
    return str(execute("PRAGMA database_list")[2])
