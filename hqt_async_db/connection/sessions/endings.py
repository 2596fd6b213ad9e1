"""What goes wrong at an end that an error has brought about."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from hqt_async_db.errors import HqtDbError

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = logging.getLogger("hqt_async_db")


@contextlib.contextmanager
def second_to(error: BaseException) -> Iterator[None]:
    """Log what fails after ``error``, which is to be raised."""
    try:
        yield
    except HqtDbError as second:
        name = type(error).__name__
        _log.warning("after %s the session or savepoint could not be ended: %s", name, second)
