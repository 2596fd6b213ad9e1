"""Fresh databases for tests: empty, or with the library's schema."""

from __future__ import annotations

import itertools
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import make_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.admin import Admin

_SESSIONS_END_WITHIN_S = 2.0


class Databases(Protocol):
    """Makes and removes databases of one backend."""

    def create(self, *, with_schema: bool) -> str:
        """Create a database and return its URL, as a user would paste it."""

    def drop(self, url: str) -> list[str]:
        """Drop a database and return the sessions that were still open on it."""


class ServerDatabases:
    """Databases on one server; those with a schema are copies of the first."""

    def __init__(self, admin: Admin, prefix: str, create_schema: Callable[[str], None]) -> None:
        """Create nothing yet.

        Args:
            admin: The server.
            prefix: Beginning of every name, so that runs and workers never meet.
            create_schema: Creates the schema in the database of a URL.
        """
        self._admin = admin
        self._names = (f"{prefix}_{number}" for number in itertools.count())
        self._create_schema = create_schema
        self._template: str | None = None

    def create(self, *, with_schema: bool) -> str:
        like = self._template_database() if with_schema else None
        database = next(self._names)
        self._admin.create_database(database, like=like)
        return self._admin.url(database)

    def _template_database(self) -> str:
        if self._template is None:
            template = next(self._names)
            self._admin.create_database(template)
            self._create_schema(self._admin.url(template))
            self._wait_for_sessions_to_end(template)
            self._template = template
        return self._template

    def drop(self, url: str) -> list[str]:
        database = make_url(url).database
        assert database is not None
        left = self._wait_for_sessions_to_end(database)
        self._admin.drop_database(database)
        return left

    def _wait_for_sessions_to_end(self, database: str) -> list[str]:
        """Return the sessions that do not end: a server notices a goodbye a little later."""
        deadline = time.monotonic() + _SESSIONS_END_WITHIN_S
        while (left := self._admin.sessions(database)) and time.monotonic() < deadline:
            time.sleep(0.002)
        return left

    def close(self) -> None:
        """Drop the template."""
        if self._template is not None:
            self._admin.drop_database(self._template)
        self._admin.close()


class FileDatabases:
    """SQLite files; those with a schema are copies of the first."""

    def __init__(self, directory: Path, create_schema: Callable[[str], None]) -> None:
        """Create nothing yet."""
        self._directory = directory
        self._create_schema = create_schema
        self._numbers = itertools.count()

    def create(self, *, with_schema: bool) -> str:
        path = self._directory / f"{next(self._numbers)}" / "test.db"
        path.parent.mkdir()
        if with_schema:
            shutil.copyfile(self._template_file(), path)
        return f"sqlite:///{path}"

    def _template_file(self) -> Path:
        template = self._directory / "template.db"
        if not template.exists():
            self._create_schema(f"sqlite:///{template}")
        return template

    def drop(self, url: str) -> list[str]:
        database = make_url(url).database
        assert database is not None
        shutil.rmtree(Path(database).parent)
        return []


class MemoryDatabases:
    """SQLite in memory: each manager makes its own and takes it along."""

    def create(self, *, with_schema: bool) -> str:
        del with_schema  # there is nothing yet that could hold one
        return "sqlite:///:memory:"

    def drop(self, url: str) -> list[str]:
        del url
        return []
