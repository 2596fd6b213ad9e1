"""The verdicts on a failure, and the error that each one becomes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import exc as sa_exc

from hqt_async_db import errors


@dataclass(frozen=True, slots=True)
class Verdict:
    """One kind of failure.

    Attributes:
        error: Its class.
        what: What happened, in a few words.
        advice: What to do about it.
        retryable: For a connection: whether trying again can succeed.
        lost: Whether the connection is of no use any more.
    """

    error: type[errors.HqtDbError]
    what: str
    advice: str
    retryable: bool = True
    lost: bool = False


DUPLICATE: Final = Verdict(
    errors.DuplicateKeyError,
    "a row with the same key exists already",
    "read that row, or use upsert or get_or_create",
)
FOREIGN_KEY: Final = Verdict(
    errors.ForeignKeyViolationError,
    "the row referred to does not exist, or the row is still referred to",
    "write the parent row first, delete the children first",
)
PARENT_MISSING: Final = replace(
    FOREIGN_KEY,
    what="the row referred to does not exist",
    advice="write that row first, or correct the reference",
)
STILL_REFERRED_TO: Final = replace(
    FOREIGN_KEY,
    what="the row is still referred to",
    advice="delete the rows that refer to it first",
)
CHECK: Final = Verdict(
    errors.CheckViolationError,
    "a value is outside what the column allows",
    "correct the value",
)
NOT_NULL: Final = Verdict(
    errors.NotNullViolationError,
    "a required column has no value",
    "give it one",
)
INTEGRITY: Final = Verdict(
    errors.IntegrityViolationError,
    "a constraint or a trigger refused the row",
    "correct the row",
)
DEADLOCK: Final = Verdict(
    errors.DeadlockError,
    "a deadlock was broken by ending this transaction",
    "roll back and run the whole transaction again (db.run does)",
)
SERIALIZATION: Final = Verdict(
    errors.SerializationFailureError,
    "concurrent transactions could not be put into any serial order",
    "roll back and run the whole transaction again (db.run does)",
)
LOCKED: Final = Verdict(
    errors.DatabaseLockedError,
    "another transaction held the lock until the timeout",
    "roll back and run the whole transaction again, keep write transactions short, "
    "or raise lock_timeout_s",
)
STALE_PLAN: Final = Verdict(
    errors.TransientError,
    "the schema changed under a prepared statement",
    "roll back and run the whole transaction again (db.run does)",
)
GONE_PLAN: Final = replace(
    STALE_PLAN,
    what="the server does not know a prepared statement any more, as after DISCARD ALL",
    lost=True,  # the driver goes on believing in it
)
DEADLINE: Final = Verdict(
    errors.DeadlineExceededError,
    "the statement was cancelled or ran into its timeout",
    "narrow the query, add an index, or raise statement_timeout_s",
)
IDLE_DEADLINE: Final = replace(
    DEADLINE,
    what="the server ended a transaction that was open for too long",
    advice="do not wait for anything else inside a transaction",
    lost=True,
)
READ_ONLY: Final = Verdict(
    errors.ReadOnlyViolationError,
    "a read-only session, file or server was asked to write",
    "write through db.session(), check the file's permissions, or connect to the primary",
)
FILE_REPLACED: Final = replace(
    READ_ONLY,
    what="the database file was moved, deleted or replaced while it was open",
    advice="dispose of the manager and open the file again",
)
DIRECTORY_READ_ONLY: Final = replace(
    READ_ONLY,
    what="SQLite keeps its log beside the file, and may not write to that directory",
    advice="give this user the right to write there, or copy the file to a directory of its own",
)
STORAGE_FULL: Final = Verdict(
    errors.StorageFullError,
    "the disk, the quota or the tablespace is full",
    "free space, then run the transaction again",
)
NOT_A_DATABASE: Final = Verdict(
    errors.NotADatabaseError,
    "the file is no SQLite database, or it is encrypted",
    "check the path in the URL",
)
CORRUPT: Final = Verdict(
    errors.NotADatabaseError,
    "the stored data is damaged",
    "stop writing, keep a copy of the file, and restore a backup",
)
DAMAGED: Final = Verdict(
    errors.StatementFailedError,
    "the server found its stored data damaged",
    "stop writing, and have the server checked or restored from a backup",
)
CANNOT_OPEN: Final = Verdict(
    errors.ConnectionFailedError,
    "the database file does not exist yet, or cannot be opened",
    "create it with await db.create_all(), or check that its directory exists and that this user "
    "may write to both",
    retryable=False,
)
MISSING_FILE: Final = Verdict(
    errors.ConnectionFailedError,
    "a file that the connection needs (socket, certificate, key) is missing or unreadable",
    "check the paths in the URL and in connect_args, and that the server runs",
    retryable=False,
)
AUTHENTICATION: Final = Verdict(
    errors.ConnectionFailedError,
    "the server refused the user, the password or the database",
    "check the user, the password and the database in the URL",
    retryable=False,
)
NO_DATABASE: Final = Verdict(
    errors.ConnectionFailedError,
    "the server has no such database",
    "create it, or correct its name in the URL",
    retryable=False,
)
BAD_SETTINGS: Final = Verdict(
    errors.ConnectionFailedError,
    "client and server do not agree on how to connect (TLS or another setting)",
    "check the TLS options, the certificates and connect_args",
    retryable=False,
)
UNREACHABLE: Final = Verdict(
    errors.ConnectionFailedError,
    "no connection to the server could be made",
    "check host and port in the URL, and that the server runs",
)
CONNECT_TIMEOUT: Final = replace(UNREACHABLE, what="the server did not answer in time")
TOO_MANY_CONNECTIONS: Final = Verdict(
    errors.ConnectionFailedError,
    "the server has no connection to spare",
    "lower pool_size and max_overflow, or raise the server's limit",
)
NOT_READY: Final = Verdict(
    errors.ConnectionFailedError,
    "the server is starting up, shutting down or recovering",
    "try again later",
    lost=True,
)
LOST: Final = Verdict(
    errors.ConnectionFailedError,
    "the connection to the server was lost",
    "run the whole transaction again; the pool makes new connections",
    lost=True,
)
OUTCOME_UNKNOWN: Final = Verdict(
    errors.CommitOutcomeUnknownError,
    "whether the statement took effect is unknown",
    "read the data back before writing it again",
)
VALUE: Final = Verdict(
    errors.ValueRefusedError,
    "a value has the wrong type, is too long or is out of range",
    "correct the value; the error's orig has the details",
)
TOO_LARGE: Final = Verdict(
    errors.ValueRefusedError,
    "a statement with its values is larger than the server takes",
    "raise its max_allowed_packet, or store less at once",
    lost=True,  # the server closes it
)
NO_TABLE: Final = Verdict(
    errors.StatementFailedError,
    "the table does not exist",
    "is the schema there? await db.create_all() or migrations.upgrade(db)",
)
NO_COLUMN: Final = Verdict(
    errors.StatementFailedError,
    "the statement names a column that does not exist",
    "is the schema up to date? await migrations.upgrade(db)",
)
PRIVILEGE: Final = Verdict(
    errors.StatementFailedError,
    "the database user lacks the privilege",
    "grant it, or connect as another user",
)
ABORTED: Final = Verdict(
    errors.StatementFailedError,
    "an earlier statement of this transaction failed",
    "roll back before going on",
)
INPUT_OUTPUT: Final = Verdict(
    errors.StatementFailedError,
    "reading or writing the storage failed",
    "check the disk and the file system, then run the transaction again",
)
NOT_READABLE: Final = replace(
    INPUT_OUTPUT,
    what="reading the database file failed",
    advice="check that the path is a file and no directory, and the disk",
)
STATEMENT: Final = Verdict(
    errors.StatementFailedError,
    "the database or its driver refused the statement",
    "the error's orig has the details",
)


# It is the host or the file that is to be looked at.
_OF_A_PLACE: Final = (
    errors.ConnectionFailedError,
    errors.NotADatabaseError,
    errors.StorageFullError,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict with the facts that the driver reported; never a value.

    Attributes:
        code: SQLSTATE, SQLite's name or MySQL's number, for the message.
        family: SQLAlchemy's class for the driver's exception.
    """

    verdict: Verdict
    table: str | None = None
    columns: tuple[str, ...] = ()
    key: str | None = None
    code: str | None = None
    family: type[sa_exc.DBAPIError] = sa_exc.DBAPIError

    def message(self, place: str | None = None) -> str:
        """Return one sentence; ``place`` is the host or file concerned."""
        subject = self._subject() or (
            place if issubclass(self.verdict.error, _OF_A_PLACE) else None
        )
        start = f"{subject}: " if subject else ""
        mark = self.key or self.code
        return f"{start}{self.verdict.what}{f' ({mark})' if mark else ''}; {self.verdict.advice}"

    def error(
        self,
        orig: BaseException | None,
        *,
        connection_invalidated: bool = False,
        place: str | None = None,
    ) -> errors.HqtDbError:
        """Return the error of our tree."""
        kind: type[errors.HqtDbError] = self.verdict.error
        if kind is errors.StatementFailedError:
            kind = errors.statement_failure(self.family)
        facts: dict[str, object] = {
            "orig": orig,
            "connection_invalidated": connection_invalidated,
        }
        if issubclass(kind, errors.IntegrityViolationError):
            facts |= {"table": self.table, "columns": self.columns, "key": self.key}
        elif issubclass(kind, errors.ValueRefusedError):
            facts |= {"table": self.table, "columns": self.columns}
        elif issubclass(kind, errors.ConnectionFailedError):
            facts["retryable"] = self.verdict.retryable
        return kind(self.message(place), **facts)

    def _subject(self) -> str | None:
        if self.table is None:
            return ", ".join(self.columns) or None
        if len(self.columns) == 1:
            return f"{self.table}.{self.columns[0]}"
        return f"{self.table} ({', '.join(self.columns)})" if self.columns else self.table


_OF_ASYNCPG: Final[dict[str, type[sa_exc.DBAPIError]]] = {
    "IntegrityConstraintViolationError": sa_exc.IntegrityError,
    "InternalServerError": sa_exc.InternalError,
    "SyntaxOrAccessError": sa_exc.ProgrammingError,
}


def family_of(error: BaseException) -> type[sa_exc.DBAPIError]:
    """Return the class of SQLAlchemy that wraps a driver's exception.

    PEP 249 gives the drivers' classes the same names as SQLAlchemy's. Those
    of asyncpg have names of its own, for which SQLAlchemy knows the others.
    """
    for kind in type(error).__mro__:
        family = getattr(sa_exc, kind.__name__, None) or _OF_ASYNCPG.get(kind.__name__)
        if isinstance(family, type) and issubclass(family, sa_exc.DBAPIError):
            return family
    return sa_exc.DBAPIError
