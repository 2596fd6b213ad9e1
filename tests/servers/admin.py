"""What tests do to a server from outside: statements, databases, sessions.

Everything here is synchronous and uses drivers that the library's own paths
do not share (psycopg without asyncio, PyMySQL); from a coroutine, call it
through ``asyncio.to_thread``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, make_url

if TYPE_CHECKING:
    from collections.abc import Sequence


class Admin(ABC):
    """One server, reached by a user who may create databases.

    Attributes:
        address: URL of the server; its database is where statements run by default.
    """

    def __init__(self, url: str | URL) -> None:
        """Remember the server; the first statement connects."""
        self.address = make_url(url)

    @property
    def host(self) -> str:
        """Return the host name or address of the server."""
        return self.address.host or "localhost"

    @property
    def port(self) -> int:
        """Return the TCP port of the server."""
        return self.address.port or self.default_port

    @property
    def user(self) -> str:
        """Return the name of the user."""
        return self.address.username or ""

    @property
    def password(self) -> str:
        """Return the password of the user."""
        return self.address.password or ""

    @property
    @abstractmethod
    def default_port(self) -> int:
        """Return the port that this kind of server listens on by custom."""

    def url(self, database: str) -> str:
        """Return the URL of one database, as a user would paste it, password included."""
        return self.address.set(database=database).render_as_string(hide_password=False)

    @abstractmethod
    def execute(
        self, statement: str, parameters: Sequence[object] = (), *, database: str | None = None
    ) -> list[tuple[Any, ...]]:
        """Run one statement in autocommit mode and return its rows, if any.

        Args:
            statement: SQL with ``%s`` for each parameter.
            parameters: Values to bind.
            database: Where to run it, over a connection of its own; by
                default over one connection that is kept.
        """

    @abstractmethod
    def answers(self) -> bool:
        """Tell whether the server takes a login now."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection that is kept; the next statement opens another."""

    @abstractmethod
    def databases(self, prefix: str) -> list[str]:
        """Return the databases whose names begin with ``prefix``."""

    @abstractmethod
    def create_database(self, database: str, *, like: str | None = None) -> None:
        """Create an empty database, or a copy of the one called ``like``."""

    @abstractmethod
    def sessions(self, database: str) -> list[str]:
        """Describe the sessions that others hold on a database, in a line each."""

    @abstractmethod
    def drop_database(self, database: str) -> None:
        """Drop a database and end the sessions on it."""
