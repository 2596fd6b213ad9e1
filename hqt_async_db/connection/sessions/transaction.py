"""The one function through which every commit passes."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sqlalchemy import exc as sa_exc

from hqt_async_db.connection import tasks
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


async def commit(
    send: Callable[[], Awaitable[None]],
    *,
    tables: frozenset[str],
    timeout_s: float,
    record: Callable[[Receipt], None],
    owner: object,
) -> None:
    """Commit in a task of its own, so that no cancellation can split it.

    Args:
        send: Sends COMMIT; runs once.
        tables: What the transaction wrote to, for the receipt.
        timeout_s: How long to wait before the outcome counts as unknown; the
            task then gives the connection up, in its own time.
        record: Takes the receipt, before any error is raised.
        owner: On whose behalf, for ``tasks.drain`` and ``tasks.are_running``.

    Raises:
        CommitOutcomeUnknownError: The connection broke, or the time was up,
            after COMMIT was sent.
        HqtDbError: The database refused the commit; nothing was committed.
        CancelledError: The caller was cancelled; the receipt tells how the
            commit ended nevertheless.
    """
    task = tasks.start(_send(send), name="hqt_async_db commit", owner=owner)
    cancelled = await tasks.wait(task, timeout_s)
    if not task.done():
        tasks.give_up(task)
    failure = _failure_of(task)
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
        _log.error("a commit was interrupted; its outcome is unknown: read the data back")
        raise


def _failure_of(task: asyncio.Task[None]) -> BaseException | None:
    if not task.done() or task.cancelled():
        return _unknown(None)
    error = task.exception()
    if error is None:
        return None
    failure = translate(error)
    return _unknown(failure) if _is_unknown(failure) else failure


def _is_unknown(failure: BaseException) -> bool:
    """Tell whether COMMIT may have taken effect in spite of the failure."""
    if isinstance(failure, ConnectionFailedError | OSError):
        return True
    if isinstance(getattr(failure, "orig", None), TimeoutError):
        return True  # the driver's patience ended, of which the server knows nothing
    if isinstance(failure, sa_exc.DBAPIError):
        name = getattr(failure.orig, "sqlite_errorname", None) or ""
        return failure.connection_invalidated or name.startswith("SQLITE_IOERR")
    return False


def _unknown(failure: BaseException | None) -> CommitOutcomeUnknownError:
    return CommitOutcomeUnknownError(
        "the commit was sent, but whether it took effect is unknown; read the data back before "
        "writing it again",
        orig=getattr(failure, "orig", None),
        connection_invalidated=True,
    )
