"""SQLAlchemy's greenlets, kept for the next call.

SQLAlchemy runs its synchronous code in a new greenlet for each call, and
CPython maps memory for the frames of every one of them: some 10 µs a call,
which one that is kept does not need.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

from greenlet import getcurrent, greenlet

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_DONE: Final = object()
_MOST_KEPT: Final = 16


class _Kept(greenlet):
    """Runs one function after the other, for whoever switches to it."""

    # By this SQLAlchemy knows that it may switch to the parent to await.
    __sqlalchemy_greenlet_provider__ = True

    result: Any = None
    failure: BaseException | None = None

    def run(self, function: Any, arguments: Any, keywords: Any) -> None:
        """Call the function, then those that come later."""
        while True:
            try:
                self.result = function(*arguments, **keywords)
            except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
                self.failure = error
            function = arguments = keywords = None
            driver: Any = self.parent  # another one each time
            function, arguments, keywords = driver.switch(_DONE)

    def outcome(self) -> Any:
        """Return or raise what the function did, and forget it."""
        result, error, self.result, self.failure = self.result, self.failure, None, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback refers to this frame
        return result


class _Idle(threading.local):
    """The greenlets of one thread that wait for work."""

    def __init__(self) -> None:
        self.greenlets: list[_Kept] = []


_idle: Final = _Idle()


async def spawn(
    function: Callable[..., T], *arguments: Any, _require_await: bool = False, **keywords: Any
) -> T:
    """Call ``function``, in which SQLAlchemy may await; as ``greenlet_spawn`` does.

    What SQLAlchemy may require is so by itself: each driver here awaits.
    """
    del _require_await
    driver, idle = getcurrent(), _idle.greenlets
    if idle:
        kept = idle.pop()
        kept.parent = driver
        kept.gr_context = driver.gr_context
        awaited = kept.switch((function, arguments, keywords))
    else:
        kept = _Kept(None, driver)
        kept.gr_context = driver.gr_context
        awaited = kept.switch(function, arguments, keywords)
    while awaited is not _DONE:
        try:
            value = await awaited
        except BaseException:  # noqa: BLE001 - raised where the function awaits
            awaited = kept.throw(*sys.exc_info())
        else:
            awaited = kept.switch(value)
    if len(idle) < _MOST_KEPT:
        idle.append(kept)
    outcome: T = kept.outcome()
    return outcome
