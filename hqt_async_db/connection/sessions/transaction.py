"""The one function through which every commit passes."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sqlalchemy import exc as sa_exc

from hqt_async_db.connection import stepping, tasks
from hqt_async_db.connection.translation.origin import is_of_the_user
from hqt_async_db.connection.translation.translate import translate
from hqt_async_db.errors import CommitOutcomeUnknownError, ConnectionFailedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Outcome = Literal["committed", "rolled_back", "unknown"]

_log = logging.getLogger("hqt_async_db")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one transaction.

    Attributes:
        outcome: ``committed``, ``rolled_back`` or ``unknown``.
        tables: Names of the tables that the transaction wrote to.
    """

    outcome: Outcome
    tables: frozenset[str]


async def commit(  # noqa: PLR0913 - everything a commit depends on
    send: Callable[[], Awaitable[None]],
    *,
    tables: frozenset[str],
    timeout_s: float | None,
    record: Callable[[Receipt], None],
    owner: object,
    explain: Callable[[BaseException], BaseException] = translate,
    hasten: Callable[[], object] | None = None,
    in_place: bool = False,
    may_write: bool = True,
) -> None:
    """Commit in a way that no cancellation can split.

    Args:
        send: Sends COMMIT; runs once.
        tables: What the transaction wrote to, for the receipt.
        timeout_s: How long to wait before the outcome counts as unknown; the
            task then gives the connection up, in its own time. None for ever.
        record: Takes the receipt, before any error is raised.
        owner: On whose behalf, for ``tasks.drain`` and ``tasks.are_running``.
        explain: Turns what ``send`` raises into an error of ours.
        hasten: Called if the caller is cancelled or the time is up, to bring
            the end about.
        in_place: Whether ``send`` waits as a rule for one answer of the driver
            only, and so needs no task of its own; see ``stepping.attend``.
        may_write: Whether the database takes writes in this transaction; if
            not, there is nothing whose outcome could be unknown.

    Raises:
        ConnectionFailedError: As the next, where nothing can have been written.
        CommitOutcomeUnknownError: The connection broke, or the time was up,
            after COMMIT was sent.
        HqtDbError: The database refused the commit; nothing was committed.
        CancelledError: The caller was cancelled; the receipt tells how the
            commit ended nevertheless.
    """
    attend = stepping.attend if in_place else tasks.attend
    ended, cancelled = await attend(
        _send(send), name="hqt_async_db commit", owner=owner, timeout_s=timeout_s, hasten=hasten
    )
    failure = _failure_of(ended, explain)
    if isinstance(failure, CommitOutcomeUnknownError) and not may_write:
        failure = _unanswered_read(failure)
    unknown = isinstance(failure, CommitOutcomeUnknownError)
    outcome: Outcome = "unknown" if unknown else "rolled_back" if failure else "committed"
    record(Receipt(outcome, tables))
    if cancelled is not None:
        if unknown:
            raise cancelled from failure
        raise cancelled
    if failure is not None:
        raise failure


async def _send(send: Callable[[], Awaitable[None]]) -> None:
    try:
        await send()
    except asyncio.CancelledError:
        log_interrupted_commit()
        raise


def log_interrupted_commit() -> None:
    """Say in the log that the end of the loop met a commit on its way."""
    _log.error("a commit was interrupted; its outcome is unknown: read the data back")


def _failure_of(
    ended: asyncio.Future[None], explain: Callable[[BaseException], BaseException]
) -> BaseException | None:
    if not ended.done() or ended.cancelled():
        return unknown_outcome(None)
    error = ended.exception()
    if error is None or isinstance(error, CommitOutcomeUnknownError):
        return error
    failure = explain(error)
    return unknown_outcome(failure) if _is_unknown(failure) else failure


def _unanswered_read(failure: CommitOutcomeUnknownError) -> ConnectionFailedError:
    """Return the error for the end of a transaction that only read."""
    msg = "the connection was lost at the end of a transaction that only reads; it wrote nothing"
    return ConnectionFailedError(msg, orig=failure.orig, connection_invalidated=True)


def _is_unknown(failure: BaseException) -> bool:
    """Tell whether COMMIT may have taken effect in spite of the failure."""
    if isinstance(failure, OSError):
        return not is_of_the_user(failure)
    if isinstance(failure, ConnectionFailedError):
        return True
    if isinstance(getattr(failure, "orig", None), TimeoutError):
        return True  # the driver's patience ended, of which the server knows nothing
    if isinstance(failure, sa_exc.DBAPIError):
        name = getattr(failure.orig, "sqlite_errorname", None) or ""
        return failure.connection_invalidated or name.startswith("SQLITE_IOERR")
    return False


def unknown_outcome(failure: BaseException | None) -> CommitOutcomeUnknownError:
    """Return the error for a COMMIT that failed with ``failure``, or never answered."""
    return CommitOutcomeUnknownError(
        "the commit was sent, but whether it took effect is unknown; read the data back before "
        "writing it again",
        orig=getattr(failure, "orig", None),
        connection_invalidated=True,
    )


def unreadable(error: Exception) -> CommitOutcomeUnknownError:
    """Return the error for a write that was sent with its COMMIT, whose answer nobody can read."""
    return CommitOutcomeUnknownError(
        "the write was sent with its commit, but what the database returned cannot be read "
        f"({type(error).__name__}); read the data back before writing it again",
        connection_invalidated=True,
    )
