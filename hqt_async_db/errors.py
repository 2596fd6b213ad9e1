"""The whole exception tree.

::

    HqtDbError
    ├── ConfigurationError
    ├── InvalidInputError (also ValueError)
    ├── SchemaMismatchError
    ├── DatabaseClosedError
    ├── TransactionEndedError
    ├── SessionInUseError
    ├── NestedSessionError
    ├── UnloadedRelationshipError
    ├── RecordNotFoundError
    ├── MultipleRecordsFoundError
    ├── StaleRecordError
    ├── ConnectionFailedError
    │   └── PoolTimeoutError
    ├── DeadlineExceededError
    ├── CommitOutcomeUnknownError
    ├── TransientError
    │   ├── DatabaseLockedError
    │   ├── SerializationFailureError
    │   └── DeadlockError
    ├── IntegrityViolationError
    │   ├── DuplicateKeyError
    │   ├── ForeignKeyViolationError
    │   ├── CheckViolationError
    │   └── NotNullViolationError
    ├── ReadOnlyViolationError
    ├── StorageFullError
    ├── NotADatabaseError
    ├── StatementFailedError
    │   └── ValueRefusedError
    └── BackupError
        ├── BackupVerificationError
        └── ImportDataError

A failure that the database reported is also an instance of the matching
class of ``sqlalchemy.exc``, so code written for SQLAlchemy keeps working.
``retryable`` says whether running the whole transaction again can succeed.
No message contains a credential or a bound value; what the driver said is
reachable as ``orig`` alone.
"""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import exc as sa_exc
from sqlalchemy.orm import exc as orm_exc


class HqtDbError(Exception):
    """Any error that this library raises on purpose."""

    retryable: bool = False


class ConfigurationError(HqtDbError):
    """A URL, an option or a missing driver makes the manager unusable."""


class InvalidInputError(HqtDbError, ValueError, sa_exc.DontWrapMixin):
    """A value, a field name or an argument was refused before any SQL ran.

    Attributes:
        field: The refused field or argument, ``table.column`` for a column
            whose table is known; None where no single one is to blame.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class SchemaMismatchError(HqtDbError):
    """The schema in the database is not the one this version works with."""


class DatabaseClosedError(HqtDbError, sa_exc.InvalidRequestError):
    """The session or the manager has ended, was forked, or is of another loop."""


class TransactionEndedError(HqtDbError, sa_exc.PendingRollbackError):
    """An earlier error ended the transaction of this session."""


class SessionInUseError(HqtDbError, sa_exc.InvalidRequestError):
    """Two tasks used one session at the same time."""


class NestedSessionError(HqtDbError, sa_exc.InvalidRequestError):
    """A task waits for a connection or lock that it holds itself."""


class UnloadedRelationshipError(HqtDbError, orm_exc.DetachedInstanceError, sa_exc.MissingGreenlet):
    """A relationship was touched that no query has loaded.

    Attributes:
        relationship: ``Model.attribute`` of the relationship.
    """

    code = ""  # SQLAlchemy would append a link to a page that does not help

    def __init__(self, message: str, *, relationship: str = "") -> None:  # pickle gives none
        super().__init__(message)
        self.relationship = relationship


class RecordNotFoundError(HqtDbError, sa_exc.NoResultFound):
    """A read that must find a row found none."""


class MultipleRecordsFoundError(HqtDbError, sa_exc.MultipleResultsFound):
    """A read that must find one row found more."""


class StaleRecordError(HqtDbError, orm_exc.StaleDataError):
    """The row was changed or deleted since it was read; read it again."""

    retryable = True


class _DatabaseFailure(HqtDbError, sa_exc.DBAPIError):  # noqa: N818 - it is never raised itself
    """What the database or its driver reported, without values or secrets.

    Attributes:
        orig: The driver's own exception, which may contain values.
    """

    def __init__(
        self,
        message: str,
        *,
        orig: BaseException | None = None,
        connection_invalidated: bool = False,
    ) -> None:
        # DBAPIError would copy the driver's text, values included, into args.
        sa_exc.StatementError.__init__(self, message, None, None, orig, hide_parameters=True)
        self.connection_invalidated = connection_invalidated

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.args[0], self.__dict__ | {"orig": None}))


def _rebuild(
    kind: type[_DatabaseFailure], message: str, state: dict[str, object]
) -> _DatabaseFailure:
    """Unpickle a failure; the driver's exception stays behind."""
    failure = kind(message)
    failure.__dict__.update(state)
    return failure


class ConnectionFailedError(_DatabaseFailure, sa_exc.OperationalError):
    """No connection could be made, or an established one was lost.

    Attributes:
        retryable: True where the same call can succeed later (host
            unreachable, connection lost), False where it cannot (password).
    """

    def __init__(
        self,
        message: str,
        *,
        orig: BaseException | None = None,
        connection_invalidated: bool = False,
        retryable: bool = True,
    ) -> None:
        super().__init__(message, orig=orig, connection_invalidated=connection_invalidated)
        self.retryable = retryable


class PoolTimeoutError(ConnectionFailedError, sa_exc.TimeoutError):
    """Every pooled connection stayed in use for ``pool_timeout`` seconds."""


class DeadlineExceededError(_DatabaseFailure, sa_exc.OperationalError):
    """A statement or a wait ran longer than its configured timeout."""


class CommitOutcomeUnknownError(_DatabaseFailure, sa_exc.OperationalError):
    """The commit was sent, but whether it took effect cannot be known.

    Or it took effect, and what the database returned of it cannot be read.
    Read the data back before trying again; nothing retries this by itself.
    """


class TransientError(_DatabaseFailure, sa_exc.OperationalError):
    """Running the whole transaction again can succeed."""

    retryable = True


class DatabaseLockedError(TransientError):
    """Another transaction held the wanted lock until the timeout."""


class SerializationFailureError(TransientError):
    """Concurrent transactions could not be put into any serial order."""


class DeadlockError(TransientError):
    """The database broke a deadlock by ending this transaction."""


class IntegrityViolationError(_DatabaseFailure, sa_exc.IntegrityError):
    """A constraint of the schema refused the row.

    Attributes:
        table: Name of the table, or None where the database does not say.
        columns: Names of the columns of the constraint, empty if unknown.
        key: Name of the constraint or index, or None if unknown.
    """

    def __init__(  # noqa: PLR0913 - keyword-only facts about one failure
        self,
        message: str,
        *,
        orig: BaseException | None = None,
        connection_invalidated: bool = False,
        table: str | None = None,
        columns: tuple[str, ...] = (),
        key: str | None = None,
    ) -> None:
        super().__init__(message, orig=orig, connection_invalidated=connection_invalidated)
        self.table = table
        self.columns = columns
        self.key = key


class DuplicateKeyError(IntegrityViolationError):
    """A row with the same unique key exists already."""


class ForeignKeyViolationError(IntegrityViolationError):
    """The referenced row does not exist, or the row is still referenced."""


class CheckViolationError(IntegrityViolationError):
    """A value is outside the closed vocabulary or range of its column."""


class NotNullViolationError(IntegrityViolationError):
    """A required column has no value."""


class ReadOnlyViolationError(_DatabaseFailure, sa_exc.OperationalError):
    """A read-only session, file or server was asked to write."""


class StorageFullError(_DatabaseFailure, sa_exc.OperationalError):
    """The disk, the quota or the tablespace is full."""


class NotADatabaseError(_DatabaseFailure, sa_exc.DatabaseError):
    """The file is no SQLite database, or it is damaged or encrypted."""


class StatementFailedError(_DatabaseFailure):
    """The database refused a statement for a reason no other class names.

    An instance is of a variant made by :func:`statement_failure`, so that it
    is also the ``ProgrammingError``, ``OperationalError``, … of SQLAlchemy.
    """

    _family: ClassVar[type[sa_exc.DBAPIError]] = sa_exc.DBAPIError

    def __reduce__(self) -> tuple[object, ...]:
        state = self.__dict__ | {"orig": None}
        return (_rebuild_statement, (self._family, self.args[0], state))


class ValueRefusedError(StatementFailedError, sa_exc.DataError):
    """The database or its driver refused a value: its type, length or range.

    Attributes:
        table: Name of the table, or None where the database does not say.
        columns: Name of the column, empty if unknown.
    """

    _family = sa_exc.DataError

    def __init__(
        self,
        message: str,
        *,
        orig: BaseException | None = None,
        connection_invalidated: bool = False,
        table: str | None = None,
        columns: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, orig=orig, connection_invalidated=connection_invalidated)
        self.table = table
        self.columns = columns


_VARIANTS: dict[str, type[StatementFailedError]] = {
    family.__name__: type(
        "StatementFailedError",
        (StatementFailedError, family),
        {"__doc__": StatementFailedError.__doc__, "__module__": __name__, "_family": family},
    )
    for family in (
        sa_exc.DatabaseError,
        sa_exc.IntegrityError,
        sa_exc.InterfaceError,
        sa_exc.InternalError,
        sa_exc.NotSupportedError,
        sa_exc.OperationalError,
        sa_exc.ProgrammingError,
    )
} | {"DataError": ValueRefusedError}


def statement_failure(family: type[sa_exc.DBAPIError]) -> type[StatementFailedError]:
    """Return the StatementFailedError that is also a ``family`` of SQLAlchemy."""
    return _VARIANTS.get(family.__name__, StatementFailedError)


def _rebuild_statement(
    family: type[sa_exc.DBAPIError], message: str, state: dict[str, object]
) -> _DatabaseFailure:
    """Unpickle a variant, which no module holds under its name."""
    return _rebuild(statement_failure(family), message, state)


class BackupError(HqtDbError):
    """A backup, restore, export or copy did not complete."""


class BackupVerificationError(BackupError):
    """What was written or read back is not what its manifest promises."""


class ImportDataError(BackupError):
    """A row of an imported file was refused.

    Attributes:
        source: Name of the file.
        row: Number of the row, counted from 1, or None for the whole file.
        column: Name of the column, or None for the whole row.
    """

    def __init__(
        self,
        message: str,
        *,
        source: str | None = None,
        row: int | None = None,
        column: str | None = None,
    ) -> None:
        super().__init__(message)
        self.source = source
        self.row = row
        self.column = column
