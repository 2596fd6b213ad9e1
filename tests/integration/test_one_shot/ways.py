"""Two managers on equal data: one takes the short way, one the plain one."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import HealthCheck, given, settings

from hqt_async_db import DatabaseManager, HqtDbError
from tests.fixtures.leaks import KEPT_THREADS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypothesis.strategies import SearchStrategy

    from hqt_async_db import Session
    from hqt_async_db.connection.backends.backend import Mode

T = TypeVar("T")
# In each new thread hypothesis first looks through all objects there are, twice.
_EXAMPLES = ThreadPoolExecutor(1, KEPT_THREADS)


class CountingManager(DatabaseManager):
    """A manager that counts its sessions: the short way opens none.

    Attributes:
        opened: How many there were.
    """

    opened = 0

    def open(self, mode: Mode, purpose: str) -> Session:
        """Count, and open."""
        self.opened += 1
        return super().open(mode, purpose)


@dataclass
class Ways:
    """The two managers.

    Attributes:
        short: Takes the short way, where the backend has one.
        plain: Takes the plain way, because somebody listens.
        is_short: Whether the backend has a short way.
    """

    short: CountingManager
    plain: CountingManager
    is_short: bool

    async def both(
        self, call: Callable[[DatabaseManager], Awaitable[T]], *, is_short: bool = True
    ) -> tuple[T | HqtDbError, T | HqtDbError]:
        """Call with each manager; require that each took its way.

        Args:
            call: What to call.
            is_short: Whether the call can take the short way at all.

        Returns:
            What the short way gave or raised, and what the plain one did.
        """
        before = self.short.opened, self.plain.opened
        short, plain = await _outcome(call, self.short), await _outcome(call, self.plain)
        assert (self.short.opened == before[0]) == (self.is_short and is_short), short
        assert self.plain.opened > before[1]
        return short, plain


async def _outcome(
    call: Callable[[DatabaseManager], Awaitable[T]], db: DatabaseManager
) -> T | HqtDbError:
    try:
        return await call(db)
    except HqtDbError as error:
        return error


async def for_all(
    strategy: SearchStrategy[T], check: Callable[[T], Awaitable[None]], *, examples: int
) -> None:
    """Have hypothesis look for an example that fails, on the running loop.

    It runs in a thread, so that its fixtures are those of an async test.
    """
    loop = asyncio.get_running_loop()

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def property_(example: T) -> None:
        async def checking() -> None:
            await check(example)

        asyncio.run_coroutine_threadsafe(checking(), loop).result()

    await loop.run_in_executor(_EXAMPLES, property_)


def shown_of(error: HqtDbError) -> dict[str, Any]:
    """Return all that a user can ask of an error."""
    attributes = {name: value for name, value in vars(error).items() if name != "orig"}
    return {
        "class": type(error),
        "message": str(error),
        "args": error.args,
        "retryable": error.retryable,
        "orig": type(getattr(error, "orig", None)),
        "cause": (error.__cause__, error.__context__),
        **attributes,
    }
