"""Repositories bound in both ways, and rows to find."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hqt_async_db import DatabaseManager, Session

    Bind = Session | DatabaseManager


@pytest.fixture(params=["session", "manager"])
async def bind(request: pytest.FixtureRequest, db: DatabaseManager) -> AsyncIterator[Bind]:
    """What a repository takes: an open session, then the manager."""
    if request.param == "manager":
        yield db
        return
    async with db.session() as session:
        yield session
