"""From what SQLAlchemy and the drivers raise to the errors of our tree.

The translation happens in two places. SQLAlchemy's ``handle_error`` event
sees what a driver raises while SQLAlchemy uses it, for everybody who uses the
engine; it never sees pool timeouts, stale data or a refused connection. So
the boundary of sessions and executors, :func:`translated`, catches the rest.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from sqlalchemy import event
from sqlalchemy import exc as sa_exc
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import exc as orm_exc

from hqt_async_db import errors
from hqt_async_db.connection.translation import findings, mysql, postgresql, sqlite
from hqt_async_db.connection.translation.findings import Finding, Verdict, family_of
from hqt_async_db.connection.translation.origin import is_of_the_user
from hqt_async_db.connection.translation.schema import Statement, complete, statement_of
from hqt_async_db.connection.translation.withholding import (
    cut_chain,
    keep_details,
    native_of,
    withhold_details,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType

    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.engine import ExceptionContext

_DRIVERS: Final[dict[str, Callable[[BaseException], Finding]]] = {
    "sqlite3": sqlite.find,
    "asyncpg": postgresql.find,
    "psycopg": postgresql.find,
    "psycopg2": postgresql.find,
    "asyncmy": mysql.find,
    "aiomysql": mysql.find,
    "pymysql": mysql.find,
}
# What means a connection that broke, when there was one.
_NO_CONNECTION: Final = (findings.BAD_SETTINGS, findings.CONNECT_TIMEOUT, findings.UNREACHABLE)
_SERVERS: Final = frozenset({"postgresql", "mysql", "mariadb"})
_MISSING_PARAMETER: Final = "cd3x"  # SQLAlchemy's code for it
_BUGS: Final = (AttributeError, NameError, ImportError)
_VALUE_ERRORS: Final = (ValueError, TypeError, ArithmeticError, LookupError)
_STALE_TABLE: Final = re.compile(r"on table '(\w+)'")


def translate(exc: BaseException, *, url: URL | None = None) -> BaseException:
    """Return the error of our tree for ``exc``.

    Pass only what came out of a call into SQLAlchemy or a driver: an OSError
    is taken for a failed connection, unless a listener of the user's, or a
    function that he had called, raised it.

    Args:
        exc: Any exception.
        url: Named in the message of a failed connection, without credentials.

    Returns:
        A new error, whose ``orig`` is the driver's own. ``exc`` itself if it
        is ours, a cancellation, a bug, or a misuse that SQLAlchemy reported.
    """
    if not isinstance(exc, Exception) or isinstance(exc, errors.HqtDbError):
        return exc
    if isinstance(exc, sa_exc.SQLAlchemyError) and not isinstance(exc, sa_exc.DBAPIError):
        return _from_sqlalchemy(exc)
    found = _find(exc)
    if found is None:
        return exc
    invalidated = getattr(exc, "connection_invalidated", False)
    return _error(found, native_of(exc), url=url, invalidated=invalidated)


def translate_direct(exc: BaseException, statement: Statement | None, url: URL) -> BaseException:
    """Return the error of our tree for what a driver raised without SQLAlchemy.

    Args:
        exc: The driver's exception.
        statement: What was written, None for a read.
        url: Named in the message of a lost connection, without credentials.

    Returns:
        A new error, whose ``orig`` is ``exc``; ``exc`` itself if it is ours,
        a cancellation or a bug.
    """
    if not isinstance(exc, Exception) or isinstance(exc, errors.HqtDbError):
        return exc
    found = _on_connection(_of_value(exc) or _find(exc))
    if found is None:
        return exc
    return _error(found, exc, url=url, invalidated=found.verdict.lost, statement=statement)


def leaves_connection_usable(error: BaseException) -> bool:
    """Tell whether a connection can go on after ``error``, ours or a driver's.

    A server that says "read only" may have been demoted; see :func:`install`.
    """
    if isinstance(error, errors.HqtDbError):
        spoilt = (errors.ConnectionFailedError, errors.ReadOnlyViolationError)
        doubtful = isinstance(error, (*spoilt, errors.CommitOutcomeUnknownError))
        return not doubtful and not getattr(error, "connection_invalidated", False)
    found = (
        _on_connection(_of_value(error) or _find(error)) if isinstance(error, Exception) else None
    )
    return found is not None and not found.verdict.lost and found.verdict is not findings.READ_ONLY


def tells_of_the_server(error: BaseException) -> bool:
    """Tell whether ``error`` says that the other connections are of no more use either.

    That is a lost connection, and a server that refuses what it took before.
    """
    if isinstance(error, errors.HqtDbError):
        is_demoted = isinstance(error, errors.ReadOnlyViolationError)
        return is_demoted or bool(getattr(error, "connection_invalidated", False))
    found = _on_connection(_find(error)) if isinstance(error, Exception) else None
    return found is not None and found.verdict.lost


def translated(url: URL | None = None) -> AbstractContextManager[None]:
    """Return the boundary: inside it, failures are raised as ours.

    What is raised has neither a cause nor a context that shows values. Put
    nothing inside but calls into SQLAlchemy or a driver.

    Args:
        url: Named in the message of a failed connection, without credentials.
    """
    return _Boundary(url) if url is not None else _BOUNDARY


def install(engine: AsyncEngine | Engine, *, demotion_is_disconnect: bool = False) -> None:
    """Have everything that the driver of ``engine`` raises translated.

    Args:
        engine: The engine; users of its plain connections are served too.
        demotion_is_disconnect: Treat "read only" from a server as a lost
            connection, so that the pool makes new ones: after a failover
            the old primary answers every ping and refuses every write. For
            engines that write.
    """
    target = engine.sync_engine if isinstance(engine, AsyncEngine) else engine

    @event.listens_for(target, "handle_error", retval=True)
    def translate_reported(context: ExceptionContext) -> BaseException | None:
        return _reported(context, demotion_is_disconnect=demotion_is_disconnect)


class _Boundary:
    """A context manager without state of its own, so one serves all."""

    __slots__ = ("_url",)

    def __init__(self, url: URL | None = None) -> None:
        self._url = url

    def __enter__(self) -> None:
        """Enter the boundary."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Raise our error in place of the one that is leaving."""
        if error is None:
            return
        ours = translate(error, url=self._url)
        if ours is error:
            if isinstance(error, errors.HqtDbError):
                cut_chain(error)
            return
        try:
            raise ours.with_traceback(traceback) from None
        finally:
            ours.__context__ = None
            del ours, error  # the traceback refers to this frame: no cycle


_BOUNDARY: Final = _Boundary()


def _reported(context: ExceptionContext, *, demotion_is_disconnect: bool) -> BaseException | None:
    reported = context.original_exception
    # SQLAlchemy sets this attribute only after an earlier handler's exception.
    latest = getattr(context, "chained_exception", reported)
    if not isinstance(reported, Exception) or isinstance(latest, errors.HqtDbError):
        return None
    found = _find_in(context)
    if found is None:
        return None
    verdict = found.verdict
    demoted = demotion_is_disconnect and context.dialect.name in _SERVERS
    connection = context.connection
    if (connection is not None and not connection.closed and not connection.invalidated) and (
        verdict.lost
        or (demoted and verdict is findings.READ_ONLY)
        or (verdict is findings.STATEMENT and _is_closed(connection))
    ):
        context.is_disconnect = True
    ours = _error(
        found,
        keep_details(reported),
        url=context.engine.url if context.engine is not None else None,
        invalidated=context.is_disconnect,
        statement=statement_of(context.execution_context),
    )
    withhold_details(reported)
    return ours


def _is_closed(connection: Connection) -> bool:
    """Tell whether asyncpg has lost its connection, which it calls a misuse in a stream."""
    is_closed = getattr(connection.connection.driver_connection, "is_closed", None)
    return is_closed is not None and bool(is_closed())


def _find_in(context: ExceptionContext) -> Finding | None:
    """Judge an exception that was raised while SQLAlchemy used a driver."""
    reported, wrapped = context.original_exception, context.sqlalchemy_exception
    if isinstance(wrapped, sa_exc.StatementError) and not isinstance(wrapped, sa_exc.DBAPIError):
        return _unprepared(wrapped)
    if context.connection is None:
        return _find(reported if wrapped is None else wrapped)
    return _on_connection(_of_value(reported) or _find(reported if wrapped is None else wrapped))


def _of_value(reported: BaseException) -> Finding | None:
    """Judge what drivers raise without a class of their own, on a connection."""
    if isinstance(reported, OverflowError | UnicodeError):
        return Finding(findings.VALUE)  # sqlite3 has no class of its own for these
    if isinstance(reported, TimeoutError) and reported.errno is None:
        return Finding(findings.DEADLINE)  # a driver's own, not one of the network
    return None


def _on_connection(found: Finding | None) -> Finding | None:
    """Return what a finding means where there was a connection."""
    if found is not None and found.verdict in _NO_CONNECTION:
        return replace(found, verdict=findings.LOST)
    return found


def _find(exc: BaseException) -> Finding | None:
    """Judge an exception of a driver, of the network or of SQLAlchemy's for either."""
    native = native_of(exc)
    for kind in type(native).__mro__:
        find = _DRIVERS.get(kind.__module__.partition(".")[0])
        if find is not None:
            return replace(find(native), family=family_of(exc))
    if isinstance(native, OSError):
        is_ours = native is not exc or not is_of_the_user(exc)
        return Finding(_network_verdict(native)) if is_ours else None
    if isinstance(exc, sa_exc.DBAPIError | sa_exc.EmulatedDBAPIException):
        return Finding(findings.STATEMENT, family=family_of(exc))
    return None


def _network_verdict(error: OSError) -> Verdict:
    if isinstance(error, TimeoutError):
        return findings.CONNECT_TIMEOUT
    if isinstance(error, ssl.SSLError):
        return findings.BAD_SETTINGS
    if isinstance(error, socket.gaierror):
        return findings.UNREACHABLE
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return findings.STORAGE_FULL
    if isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError):
        return findings.MISSING_FILE
    return findings.UNREACHABLE


def _error(
    found: Finding,
    orig: BaseException,
    *,
    url: URL | None,
    invalidated: bool,
    statement: Statement | None = None,
) -> errors.HqtDbError:
    if invalidated and found.verdict in (*_NO_CONNECTION, findings.STATEMENT):
        found = replace(found, verdict=findings.LOST)
    place = _place(url) if url is not None else None
    return complete(found, statement).error(orig, connection_invalidated=invalidated, place=place)


def _place(url: URL) -> str | None:
    """Return file, or host, port and database; no user, no query."""
    if url.host is None:
        return url.database.removeprefix("file:") if url.database else None
    port = f":{url.port}" if url.port is not None else ""
    return f"{url.host}{port}/{url.database or ''}"


def _from_sqlalchemy(exc: sa_exc.SQLAlchemyError) -> BaseException:
    """Translate what SQLAlchemy raises by itself."""
    if isinstance(exc, sa_exc.StatementError):
        ours = isinstance(exc.orig, errors.HqtDbError)
        return exc.orig if ours and exc.orig else _unprepared(exc).error(exc.orig)
    for kind, translation in _OF_SQLALCHEMY.items():
        if isinstance(exc, kind):
            return translation(str(exc.args[0]) if exc.args else "")
    return exc


def _stale(text: str) -> errors.HqtDbError:
    match = _STALE_TABLE.search(text)
    return stale_record(match[1] if match else None)


def stale_record(table: str | None) -> errors.StaleRecordError:
    """Return the error for a row that is not as it was read any more."""
    row = "a row" if table is None else f"a row of {table}"
    return errors.StaleRecordError(
        f"{row} was changed or deleted since it was read; read it again and repeat the change"
    )


_OF_SQLALCHEMY: Final[dict[type[Exception], Callable[[str], errors.HqtDbError]]] = {
    sa_exc.TimeoutError: lambda text: errors.PoolTimeoutError(
        f"{text}; end sessions sooner, or raise pool_size"
    ),
    orm_exc.StaleDataError: _stale,
    sa_exc.PendingRollbackError: lambda _: errors.TransactionEndedError(
        "an earlier error ended this transaction; roll the session back and run it again, and "
        "put what may fail into `async with session.begin_nested()`"
    ),
    sa_exc.NoResultFound: lambda _: errors.RecordNotFoundError(
        "no row was found where one is required"
    ),
    sa_exc.MultipleResultsFound: lambda _: errors.MultipleRecordsFoundError(
        "several rows were found where one is required"
    ),
}


def _unprepared(exc: sa_exc.StatementError) -> Finding:
    """Judge a statement that SQLAlchemy could not hand to the driver."""
    reason = exc.orig
    if exc.code == _MISSING_PARAMETER:
        return Finding(
            Verdict(
                errors.StatementFailedError,
                "a bound parameter of the statement has no value",
                "pass one for each",
            )
        )
    if isinstance(reason, _BUGS):
        # The text of these names code, not values, and must not get lost.
        what = f"a value could not be prepared ({type(reason).__name__}: {reason})"
        return Finding(Verdict(errors.StatementFailedError, what, "see the traceback"))
    verdict = findings.VALUE if isinstance(reason, _VALUE_ERRORS) else findings.STATEMENT
    return Finding(verdict, code=type(reason).__name__)
