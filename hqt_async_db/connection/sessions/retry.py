"""Running a whole transaction again when that can succeed."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import asynccontextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, TypeVar

from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from hqt_async_db.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from hqt_async_db.connection.sessions.session import Session

T = TypeVar("T")

_FIRST_PAUSE_S: Final = 0.01
_LONGEST_PAUSE_S: Final = 1.0

_held: ContextVar[frozenset[RetryTurns]] = ContextVar("hqt_async_db_retry", default=frozenset())


class RetryTurns:
    """Lets the retries of one manager run one after the other.

    Transactions that were in each other's way would be so again.

    Args:
        patience_s: How long one waits for its turn before it goes on without.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Take the turn, unless it is had already: a retry would wait for the one it is in."""
        held = _held.get()
        if self in held or not await self._came():
            yield
            return
        token = _held.set(held | {self})
        try:
            yield
        finally:
            _held.reset(token)
            self._turn.release()

    async def _came(self) -> bool:
        try:
            async with asyncio.timeout(self._patience_s):
                return await self._turn.acquire()
        except TimeoutError:
            return False


async def run_with_retries(
    open_session: Callable[[], Session],
    work: Callable[[Session], Awaitable[T]],
    attempts: int,
    turns: RetryTurns,
) -> T:
    """Call ``work`` in a new session until it commits or may not be retried.

    What has committed anything, or may have, is not repeated.
    """
    if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
        msg = "attempts must be an integer of at least 1"
        raise InvalidInputError(msg, field="attempts")
    if not callable(work):
        msg = "work must be an async function that takes a session; pass it without calling it"
        raise InvalidInputError(msg, field="work")
    session: Session

    async def attempt() -> T:
        nonlocal session
        session = open_session()
        is_retry = retrying.statistics["attempt_number"] > 1
        async with turns.taken() if is_retry else nullcontext(), session:
            working = work(session)
            if not inspect.isawaitable(working):
                msg = "work must be an async function; this one returned without awaiting"
                raise InvalidInputError(msg, field="work")
            return await working

    retrying = AsyncRetrying(
        retry=retry_if_exception(lambda e: _is_retryable(e) and not session.has_committed),
        stop=stop_after_attempt(attempts),
        wait=wait_random_exponential(multiplier=_FIRST_PAUSE_S, max=_LONGEST_PAUSE_S),
        reraise=True,
    )
    return await retrying(attempt)


def _is_retryable(error: BaseException) -> bool:
    return bool(getattr(error, "retryable", False))
