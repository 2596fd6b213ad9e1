"""The rules of the translation: what it takes, what it leaves alone, what it hides."""

from __future__ import annotations

import asyncio
import errno
import gc
import pickle
import socket
import sqlite3
import ssl
import traceback
import weakref
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import create_engine, event, make_url, text
from sqlalchemy import exc as sa_exc
from sqlalchemy.orm import exc as orm_exc

from hqt_async_db import errors
from hqt_async_db.connection.translation.translate import install, translate, translated

SECRET = "Zq7-hidden-Zq7"


@pytest.mark.parametrize(
    "exc",
    [
        asyncio.CancelledError(),
        KeyboardInterrupt(),
        GeneratorExit(),
        AttributeError("a bug"),
        TypeError("a bug"),
        ValueError("a bug"),
        RuntimeError("a bug"),
        ExceptionGroup("several", [ValueError("one")]),
        sa_exc.InvalidRequestError("a misuse"),
        errors.InvalidInputError("refused"),
        errors.DuplicateKeyError("a duplicate"),
    ],
    ids=lambda exc: type(exc).__name__,
)
def test_what_is_ours_or_no_failure_of_the_database_stays_itself(exc: BaseException) -> None:
    assert translate(exc) is exc
    with pytest.raises(type(exc)) as caught, translated():
        raise exc
    assert caught.value is exc


NETWORK = {
    "refused": (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), True),
    "several addresses": (OSError("Multiple exceptions: refused, refused"), True),
    "no address": (socket.gaierror(-2, "Name or service not known"), True),
    "no answer": (TimeoutError(), True),
    "reset": (ConnectionResetError(errno.ECONNRESET, "reset"), True),
    "certificate": (ssl.SSLCertVerificationError(1, "certificate verify failed"), False),
    "no socket": (FileNotFoundError(errno.ENOENT, "no such file", "/run/s.PGSQL.5432"), False),
    "key not readable": (PermissionError(errno.EACCES, "permission denied"), False),
}


@pytest.mark.parametrize(("exc", "retryable"), NETWORK.values(), ids=NETWORK)
def test_a_network_failure_is_a_failed_connection(exc: OSError, *, retryable: bool) -> None:
    error = translate(exc, url=make_url(f"postgresql://me:{SECRET}@db.example:5433/hqt"))
    assert isinstance(error, errors.ConnectionFailedError)
    assert error.retryable is retryable
    assert error.orig is exc
    assert str(error).startswith("db.example:5433/hqt: ")
    assert SECRET not in str(error)


def test_a_failure_of_code_that_is_not_a_drivers_stays_itself() -> None:
    for failing in (lambda: Path("/no/such/file").read_text(), lambda: _raise(TimeoutError())):
        with pytest.raises(OSError) as caught, translated():  # noqa: PT011 - which one it is, is all
            failing()
        assert not isinstance(caught.value, errors.HqtDbError)


def _raise(error: OSError) -> None:
    raise error


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_no_failed_connection(code: int) -> None:
    assert type(translate(OSError(code, "full"))) is errors.StorageFullError


def test_a_broken_connection_is_known_by_what_sqlalchemy_found_out() -> None:
    wrapped = sa_exc.InterfaceError(
        "SELECT 1",
        None,
        asyncpg.InterfaceError("connection is closed"),
        connection_invalidated=True,
    )
    error = translate(wrapped)
    assert type(error) is errors.ConnectionFailedError
    assert error.retryable
    assert error.connection_invalidated


def test_an_unknown_driver_is_judged_by_pep_249() -> None:
    class DriverError(Exception):
        pass

    wrapped = sa_exc.ProgrammingError(f"SELECT '{SECRET}'", {"a": SECRET}, DriverError(SECRET))
    error = translate(wrapped)
    assert isinstance(error, errors.StatementFailedError)
    assert isinstance(error, sa_exc.ProgrammingError)
    assert SECRET not in str(error)


OF_SQLALCHEMY = {
    "pool": (
        sa_exc.TimeoutError("QueuePool limit of size 5 overflow 10 reached", code="3o7r"),
        errors.PoolTimeoutError,
        "limit of size 5",
    ),
    "stale": (
        orm_exc.StaleDataError("UPDATE statement on table 'live_trades' expected to update 1"),
        errors.StaleRecordError,
        "live_trades",
    ),
    "none": (sa_exc.NoResultFound("No row was found"), errors.RecordNotFoundError, "no row"),
    "several": (
        sa_exc.MultipleResultsFound("Multiple rows"),
        errors.MultipleRecordsFoundError,
        "several rows",
    ),
}


@pytest.mark.parametrize(("exc", "kind", "what"), OF_SQLALCHEMY.values(), ids=OF_SQLALCHEMY)
def test_what_the_event_never_sees(
    exc: Exception, kind: type[errors.HqtDbError], what: str
) -> None:
    error = translate(exc)
    assert type(error) is kind
    assert isinstance(error, type(exc))
    assert what in str(error)
    assert "sqlalche.me" not in str(error)


def test_a_refusal_inside_a_statement_error_is_taken_out() -> None:
    refusal = errors.InvalidInputError("users.email is too long", field="users.email")
    assert translate(sa_exc.StatementError("text", "SELECT 1", {}, refusal)) is refusal


def test_a_value_that_could_not_be_prepared_shows_only_the_kind_of_error() -> None:
    for reason in (ValueError(SECRET), TypeError(SECRET), KeyError(SECRET)):
        error = translate(sa_exc.StatementError(SECRET, "SELECT 1", {"a": SECRET}, reason))
        assert isinstance(error, errors.ValueRefusedError)
        assert isinstance(error, sa_exc.StatementError)
        assert type(reason).__name__ in str(error)
        assert SECRET not in repr(error)


def test_a_bug_in_preparing_a_value_keeps_its_text() -> None:
    reason = AttributeError("'str' object has no attribute 'tzinfo'")
    error = translate(sa_exc.StatementError("text", "SELECT 1", {}, reason))
    assert "AttributeError: 'str' object has no attribute 'tzinfo'" in str(error)


def test_the_boundary_raises_ours_with_the_way_there_and_nothing_else() -> None:
    def drive() -> None:
        raise sqlite3.OperationalError(SECRET)

    def clean_up() -> None:
        try:
            int(SECRET)
        except ValueError:
            with translated():
                drive()

    with pytest.raises(errors.StatementFailedError) as caught:
        clean_up()
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    assert "in drive" in "".join(traceback.format_exception(error))
    assert SECRET not in "".join(traceback.format_exception(error, chain=True)).replace(
        "raise sqlite3.OperationalError(SECRET)", ""
    )


def test_the_boundary_keeps_our_own_causes_and_cuts_the_others() -> None:
    lost = errors.ConnectionFailedError("lost")
    unknown = errors.CommitOutcomeUnknownError("unknown")
    unknown.__cause__, lost.__cause__ = lost, ValueError(SECRET)
    with pytest.raises(errors.CommitOutcomeUnknownError) as caught, translated():
        raise unknown
    assert caught.value.__cause__ is lost
    assert lost.__cause__ is None


def test_an_error_that_is_its_own_cause_ends_the_cutting() -> None:
    # SQLAlchemy raises a DontWrapMixin error from itself.
    refusal = errors.InvalidInputError("refused")
    with pytest.raises(errors.InvalidInputError), translated():
        raise refusal from refusal
    assert refusal.__cause__ is None


def test_a_translated_error_leaves_no_cycle_for_the_garbage_collector() -> None:
    class Connection:
        pass

    def fail() -> weakref.ref[Connection]:
        connection = Connection()
        reference = weakref.ref(connection)
        try:
            with translated():
                raise sqlite3.OperationalError(reference)
        except errors.HqtDbError:
            return reference

    gc.disable()
    try:
        assert fail()() is None
    finally:
        gc.enable()


def test_handlers_of_the_user_see_ours_and_may_replace_it() -> None:
    engine = create_engine("sqlite://")
    install(engine)
    install(engine)  # twice does no harm
    seen = []

    @event.listens_for(engine, "handle_error")
    def note(context: sa_exc.SQLAlchemyError) -> None:
        seen.append(getattr(context, "chained_exception", None))

    with engine.connect() as connection, pytest.raises(errors.StatementFailedError) as caught:
        connection.execute(text("SELECT * FROM nowhere"))
    assert seen == [caught.value]
    assert "nowhere" in str(caught.value.orig)
    engine.dispose()


@pytest.mark.parametrize(
    "family",
    [
        sa_exc.DBAPIError,
        sa_exc.DatabaseError,
        sa_exc.InterfaceError,
        sa_exc.InternalError,
        sa_exc.NotSupportedError,
        sa_exc.OperationalError,
        sa_exc.ProgrammingError,
        sa_exc.DataError,
    ],
)
def test_a_failed_statement_is_also_sqlalchemy_s_class(family: type[sa_exc.DBAPIError]) -> None:
    kind = errors.statement_failure(family)
    error = kind("what happened; what to do", orig=ValueError(SECRET))
    assert isinstance(error, errors.StatementFailedError)
    assert isinstance(error, family)
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
    assert type(copied) is kind
    assert (str(copied), copied.orig) == (str(error), None)
