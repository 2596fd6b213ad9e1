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
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import event
from sqlalchemy import exc as sa_exc
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import exc as orm_exc

from hqt_async_db import errors
from hqt_async_db.connection.translation import findings, mysql, postgresql, sqlite
from hqt_async_db.connection.translation.findings import Finding, Verdict, family_of
from hqt_async_db.connection.translation.schema import Statement, complete, statement_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType

    from sqlalchemy import URL, Engine
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
_SERVERS: Final = frozenset({"postgresql", "mysql", "mariadb"})
_WITHHELD: Final = "details withheld, see orig of the HqtDbError"
_MISSING_PARAMETER: Final = "cd3x"  # SQLAlchemy's code for it
_BUGS: Final = (AttributeError, NameError, ImportError)
_VALUE_ERRORS: Final = (ValueError, TypeError, ArithmeticError, LookupError)
_STALE_TABLE: Final = re.compile(r"on table '(\w+)'")


def translate(exc: BaseException, *, url: URL | None = None) -> BaseException:
    """Return the error of our tree for ``exc``.

    Pass only what came out of a call into SQLAlchemy or a driver: an OSError
    is taken for a failed connection.

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
    native = _native(exc)
    found = _find(native)
    if found is None:
        return exc
    invalidated = getattr(exc, "connection_invalidated", False)
    return _error(found, native, url=url, invalidated=invalidated)


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
                _cut_chain(error)
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
    if context.connection is not None and (
        verdict.lost or (demoted and verdict is findings.READ_ONLY)
    ):
        context.is_disconnect = True
    ours = _error(
        found,
        _keep_details(reported),
        url=context.engine.url if context.engine is not None else None,
        invalidated=context.is_disconnect,
        statement=statement_of(context.execution_context),
    )
    _withhold_details(reported)
    return ours


def _find_in(context: ExceptionContext) -> Finding | None:
    """Judge an exception that was raised while SQLAlchemy used a driver."""
    reported, wrapped = context.original_exception, context.sqlalchemy_exception
    if isinstance(wrapped, sa_exc.StatementError) and not isinstance(wrapped, sa_exc.DBAPIError):
        return _unprepared(wrapped)
    if context.connection is not None:
        if isinstance(reported, OverflowError | UnicodeError):
            return Finding(findings.VALUE)  # sqlite3 has no class of its own for these
        if isinstance(reported, TimeoutError):
            return Finding(findings.DEADLINE)
    found = _find(_native(reported))
    if (
        found is not None
        and context.connection is not None
        and found.verdict is (findings.UNREACHABLE)
    ):
        return Finding(findings.LOST, code=found.code, family=found.family)
    return found


def _find(error: BaseException) -> Finding | None:
    """Judge an exception of a driver or of the network."""
    for kind in type(error).__mro__:
        find = _DRIVERS.get(kind.__module__.partition(".")[0])
        if find is not None:
            return find(error)
    if isinstance(error, OSError):
        return Finding(_network_verdict(error))
    if isinstance(error, sa_exc.EmulatedDBAPIException):
        return Finding(findings.STATEMENT, family=family_of(error))
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
    if invalidated and found.verdict in (findings.UNREACHABLE, findings.STATEMENT):
        found = Finding(findings.LOST, code=found.code, family=found.family)
    place = _place(url) if url is not None else None
    return complete(found, statement).error(orig, connection_invalidated=invalidated, place=place)


def _place(url: URL) -> str | None:
    """Return file, or host, port and database; no user, no query."""
    if url.host is None:
        return url.database
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
    row = f"a row of {match[1]}" if match else "a row"
    return errors.StaleRecordError(
        f"{row} was changed or deleted since it was read; read it again and repeat the change"
    )


_OF_SQLALCHEMY: Final[dict[type[Exception], Callable[[str], errors.HqtDbError]]] = {
    sa_exc.TimeoutError: lambda text: errors.PoolTimeoutError(
        f"{text}; end sessions sooner, or raise pool_size"
    ),
    orm_exc.StaleDataError: _stale,
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


def _native(exc: BaseException) -> BaseException:
    """Return the driver's own exception.

    asyncpg's classes know nothing of PEP 249, so SQLAlchemy raises one of
    its own in between, which mostly, but not always, keeps the original.
    """
    reported = exc.orig if isinstance(exc, sa_exc.DBAPIError) and exc.orig is not None else exc
    if isinstance(reported, sa_exc.EmulatedDBAPIException):
        return reported.orig or reported.__cause__ or reported
    return reported


def _keep_details(reported: BaseException) -> BaseException:
    """Return an exception that keeps the details when they are withheld."""
    native = _native(reported)
    if native is not reported:
        return native
    if isinstance(reported, UnicodeError):
        return type(reported)(*reported.args)
    kept = type(reported).__new__(type(reported), *reported.args)
    kept.args = reported.args
    kept.__dict__.update(reported.__dict__)
    if hasattr(reported, "sqlstate") and "sqlstate" not in kept.__dict__:
        _copy_slot(reported, kept, "sqlstate")
    return kept


def _copy_slot(source: Any, target: Any, name: str) -> None:
    """Copy an attribute that a compiled class keeps outside of ``__dict__``."""
    value = getattr(source, name)
    if getattr(target, name) != value:
        setattr(target, name, value)


def _withhold_details(reported: Any) -> None:
    """Take the values out of an exception.

    SQLAlchemy makes it the cause of ours, and logs it when it invalidates
    the connection. The number in front stays: dialects read it.
    """
    numbers = [part for part in reported.args[:1] if isinstance(part, int)]
    reported.args = (*numbers, _WITHHELD)
    if isinstance(reported, UnicodeEncodeError):
        reported.object = "?"
    for name in ("detail", "orig", "_info", "original_exception"):
        if name in getattr(reported, "__dict__", ()):
            setattr(reported, name, None)
    reported.__cause__ = reported.__context__ = None


def _cut_chain(error: BaseException) -> None:
    """Leave only our own errors in the chain of causes."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        cause = error.__cause__
        error.__context__ = None
        if not isinstance(cause, errors.HqtDbError) or id(cause) in seen:
            error.__cause__ = None
            return
        error = cause
