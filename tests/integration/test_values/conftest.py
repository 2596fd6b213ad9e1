"""A second look at what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from hqt_async_db import DatabaseManager


@pytest.fixture
def reopened(
    db: DatabaseManager, make_db: Callable[[], DatabaseManager], backend: str
) -> Callable[[], DatabaseManager]:
    """Open the database of ``db`` again; what is only in memory has no second opening."""
    return lambda: db if backend == "sqlite-memory" else make_db()
