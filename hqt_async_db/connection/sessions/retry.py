"""Running a whole transaction again when that can succeed."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, TypeVar
from weakref import WeakKeyDictionary

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

_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
_is_retrying: ContextVar[bool] = ContextVar("hqt_async_db_is_retrying", default=False)


async def run_with_retries(
    open_session: Callable[[], Session], work: Callable[[Session], Awaitable[T]], attempts: int
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
        async with _taking_turns(is_retry=retrying.statistics["attempt_number"] > 1), session:
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


@asynccontextmanager
async def _taking_turns(*, is_retry: bool) -> AsyncIterator[None]:
    """Let the retries of one loop run one after the other.

    Transactions that were in each other's way would be so again. A retry
    inside of another one goes on: it would wait for itself.
    """
    if not is_retry or _is_retrying.get():
        yield
        return
    turns = _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    async with turns:
        token = _is_retrying.set(True)
        try:
            yield
        finally:
            _is_retrying.reset(token)


def _is_retryable(error: BaseException) -> bool:
    return bool(getattr(error, "retryable", False))
