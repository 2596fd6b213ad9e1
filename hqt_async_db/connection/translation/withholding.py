"""Keeping values out of reach: what a driver's exception says stays in ``orig``."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import exc as sa_exc

from hqt_async_db.errors import HqtDbError

_WITHHELD: Final = "details withheld, see orig of the HqtDbError"


def native_of(exc: BaseException) -> BaseException:
    """Return the driver's own exception.

    asyncpg's classes know nothing of PEP 249, so SQLAlchemy raises one of
    its own in between, which mostly, but not always, keeps the original.
    """
    reported = exc.orig if isinstance(exc, sa_exc.DBAPIError) and exc.orig is not None else exc
    if isinstance(reported, sa_exc.EmulatedDBAPIException):
        return reported.orig or reported.__cause__ or reported
    return reported


def keep_details(reported: BaseException) -> BaseException:
    """Return an exception that keeps the details when they are withheld."""
    native = native_of(reported)
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


def withhold_details(reported: Any) -> None:
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


def cut_chain(error: BaseException) -> None:
    """Leave only our own errors in the chain of causes."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        cause = error.__cause__
        error.__context__ = None
        if not isinstance(cause, HqtDbError) or id(cause) in seen:
            error.__cause__ = None
            return
        error = cause
