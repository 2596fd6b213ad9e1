"""Running a whole transaction again when that can succeed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from hqt_async_db.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hqt_async_db.connection.sessions.session import Session

T = TypeVar("T")

_FIRST_PAUSE_S: Final = 0.01
_LONGEST_PAUSE_S: Final = 1.0


async def run_with_retries(
    open_session: Callable[[], Session], work: Callable[[Session], Awaitable[T]], attempts: int
) -> T:
    """Call ``work`` in a new session until it commits or may not be retried.

    What has committed anything, or may have, is not repeated.
    """
    if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
        msg = "attempts must be an integer of at least 1"
        raise InvalidInputError(msg, field="attempts")
    session: Session

    async def attempt() -> T:
        nonlocal session
        session = open_session()
        async with session:
            return await work(session)

    retrying = AsyncRetrying(
        retry=retry_if_exception(lambda e: _is_retryable(e) and not session.has_committed),
        stop=stop_after_attempt(attempts),
        wait=wait_random_exponential(multiplier=_FIRST_PAUSE_S, max=_LONGEST_PAUSE_S),
        reraise=True,
    )
    return await retrying(attempt)


def _is_retryable(error: BaseException) -> bool:
    return bool(getattr(error, "retryable", False))
