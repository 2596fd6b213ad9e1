"""The tests: all of SQLAlchemy's, for whichever dialect ``--dburi`` names."""

from __future__ import annotations

from typing import Any

from sqlalchemy.testing.suite import *  # noqa: F403 - whatever tests the installed version has
from sqlalchemy.testing.suite import ServerSideCursorsTest as _ServerSideCursorsTest


class ServerSideCursorsTest(_ServerSideCursorsTest):  # type: ignore[no-redef]  # in its place
    """SQLAlchemy's tests, which know the stream cursors of its own drivers only."""

    def _is_server_side(self, cursor: Any) -> bool:
        return bool(cursor.server_side)
