"""One-shot statements on a SQLite connection's thread, each a transaction of its own."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING, Any, Final

from hqt_async_db.connection.backends.sqlite.worker import Interruptible, commit, executed
from hqt_async_db.connection.usage import Usage

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from hqt_async_db.connection.backends.direct import Write
    from hqt_async_db.connection.backends.sqlite.lanes import Lane
    from hqt_async_db.connection.backends.sqlite.worker import Job

# A rollback that meets an interrupt meant for the statement before is repeated.
_MOST_ROLLBACKS: Final = 10


class Shot(Interruptible):
    """One statement on its way to a thread, through it and back.

    Attributes:
        sql: The statement.
        parameters: Its parameters; a sequence of these for ``many``.
        many: Whether to run it for each of ``parameters``.
        rows: What it returned.
        rowcount: How many rows it changed, or -1.
        error: What it raised instead.
        future: Done once the loop may read the rest.
    """

    __slots__ = ("_unclaimed", "error", "future", "many", "parameters", "rowcount", "rows", "sql")

    def __init__(self, sql: str, parameters: Any, *, many: bool = False) -> None:
        super().__init__()
        self.sql = sql
        self.parameters = parameters
        self.many = many
        self.rows: list[Any] = []
        self.rowcount = -1
        self.error: BaseException | None = None
        self.future: asyncio.Future[None] | None = None
        self._unclaimed = [True]

    def claim(self) -> bool:
        """Tell whether the caller is the first to ask; from any thread.

        The thread claims a shot to run it, a cancelled task to withdraw it:
        only one of the two may.
        """
        try:
            return self._unclaimed.pop()
        except IndexError:
            return False

    def execute(self, connection: sqlite3.Connection) -> None:
        """Run the statement and fetch its rows."""
        cursor = executed(connection, self.sql, self.parameters, many=self.many)
        if cursor.description is not None:
            self.rows = cursor.fetchall()
        self.rowcount = cursor.rowcount
        cursor.close()


class ReadShot(Shot):
    """A SELECT, in no transaction but its own.

    Attributes:
        failure: What its task is told instead of rows.
        lane: Whose thread has it.
        since: When the thread began with it, by ``time.monotonic``.
        timer: What will look whether it takes too long.
    """

    __slots__ = ("failure", "lane", "since", "timer")

    def __init__(self, sql: str, parameters: Any) -> None:
        super().__init__(sql, parameters)
        self.failure: BaseException | None = None
        self.lane: Lane | None = None
        self.since: float | None = None
        self.timer: asyncio.TimerHandle | None = None

    def run(self, connection: sqlite3.Connection, patience_s: float) -> None:
        """Read; wait while another process recovers the log."""
        self.since = time.monotonic()
        try:
            while not self.done:
                try:
                    self.rows = self.patiently(lambda: self._fetch(connection), patience_s)
                    self.done = True
                except sqlite3.OperationalError as error:
                    # An interrupt that was meant for the statement before hit this one.
                    if self.stopped or error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                        raise
        except Exception as error:  # noqa: BLE001 - raised again on the loop
            self.error = error
        finally:
            self.done = True

    def _fetch(self, connection: sqlite3.Connection) -> list[Any]:
        return connection.execute(self.sql, self.parameters).fetchall()


class WriteShot(Shot):
    """An INSERT, UPDATE or DELETE, committed together with others or alone.

    Attributes:
        tables: What it writes to, for the receipt.
        joins: Whether it is short, and may share a commit with others.
        usage: Who asked for it, and since when.
        is_in_doubt: Whether it may have been committed in spite of ``error``.
        is_unwanted: Whether nobody waits for it any more.
        answered: Whether its task knows what became of it.
    """

    __slots__ = ("answered", "is_in_doubt", "is_unwanted", "joins", "tables", "usage")

    def __init__(self, write: Write) -> None:
        super().__init__(write.sql, write.parameters, many=write.many)
        self.tables = write.tables
        self.joins = write.joins
        self.usage = Usage("one-shot write")
        self.is_in_doubt = False
        self.is_unwanted = False
        self.answered = False

    def begin_again_alone(self) -> None:
        """Make it as new, to be claimed again and committed alone."""
        self.rows, self.rowcount, self.error = [], -1, None
        self.joins = False
        self._unclaimed = [True]


class Batch:
    """Writes that one task after the other asked for, in one transaction.

    They follow each other as if each had committed before the next began;
    the disk is waited for once. A statement that fails undoes only itself.
    Where the transaction as a whole fails, each is to be run again, alone, so
    that the error reaches the task that caused it. A short one by itself
    commits as it ends, without BEGIN and COMMIT.

    Attributes:
        shots: The writes, in their order.
        committing_since: When what commits was sent, by ``time.monotonic``;
            None before and after.
        is_to_be_split: Whether it failed as a whole: nothing was committed,
            and no shot knows its fate.
    """

    __slots__ = ("_commits_itself", "committing_since", "is_to_be_split", "shots")

    def __init__(self, shots: Sequence[WriteShot]) -> None:
        self.shots = shots
        self.committing_since: float | None = None
        self._commits_itself = len(shots) == 1 and shots[0].joins
        self.is_to_be_split = False

    @property
    def is_unwanted(self) -> bool:
        """Tell whether nobody waits for any of it."""
        return all(shot.is_unwanted for shot in self.shots)

    @property
    def can_be_stopped(self) -> bool:
        """Tell whether an interrupt undoes it; a COMMIT that was sent is let to its end.

        A statement that commits as it ends is undone, or done by then.
        """
        return self._commits_itself or self.committing_since is None

    def run(self, job: Job, connection: sqlite3.Connection, patience_s: float) -> None:
        """Commit what was not withdrawn; every shot learns what became of it."""
        if self._commits_itself:
            self._run_alone(job, connection, patience_s, self.shots[0])
            return
        failure = _begin(job, connection, patience_s)
        taken: list[WriteShot] = []
        for shot in self.shots:
            if not shot.claim():
                continue  # its task was cancelled
            taken.append(shot)
            if failure is not None:
                shot.error = failure
                continue
            try:
                shot.execute(connection)
            except Exception as error:  # noqa: BLE001 - raised again on the loop
                shot.error = error
            if not connection.in_transaction:  # undone by SQLite, with what was before it
                self.is_to_be_split = len(self.shots) > 1
                return
        if failure is None:
            self._end(job, connection, patience_s, taken)

    def _run_alone(
        self, job: Job, connection: sqlite3.Connection, patience_s: float, shot: WriteShot
    ) -> None:
        """Run a statement that is a transaction by itself."""

        def attempt() -> None:
            self.committing_since = time.monotonic()
            try:
                shot.execute(connection)
            finally:
                self.committing_since = None

        if not shot.claim():
            return
        try:
            job.patiently(attempt, patience_s)
        except Exception as error:  # noqa: BLE001 - raised again on the loop
            shot.is_in_doubt, shot.error = is_doubtful(error), error
        else:
            job.measure_log()

    def _end(
        self,
        job: Job,
        connection: sqlite3.Connection,
        patience_s: float,
        taken: Sequence[WriteShot],
    ) -> None:
        """Commit what succeeded."""
        succeeded = [shot for shot in taken if shot.error is None]
        if not succeeded:
            _roll_back(connection)
            return
        try:
            job.go_on()
            self.committing_since = time.monotonic()
            commit(job, connection, patience_s)
        except Exception as error:  # noqa: BLE001 - raised again on the loop
            _roll_back(connection)
            if len(taken) > 1 and not is_doubtful(error):
                self.is_to_be_split = True
                return
            for shot in succeeded:
                shot.is_in_doubt, shot.error = is_doubtful(error), error
        finally:
            self.committing_since = None


def _begin(job: Job, connection: sqlite3.Connection, patience_s: float) -> Exception | None:
    try:
        job.patiently(lambda: connection.execute("BEGIN IMMEDIATE").close(), patience_s)
    except Exception as error:  # noqa: BLE001 - raised again on the loop
        return error
    return None


def is_doubtful(error: BaseException) -> bool:
    """Tell whether a COMMIT that raised ``error`` may have reached the disk."""
    return (getattr(error, "sqlite_errorname", None) or "").startswith("SQLITE_IOERR")


def _roll_back(connection: sqlite3.Connection) -> None:
    for _ in range(_MOST_ROLLBACKS):
        if not connection.in_transaction:
            return
        try:
            connection.execute("ROLLBACK").close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
