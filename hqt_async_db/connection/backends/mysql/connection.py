"""Connections to MySQL servers that know when there is nothing to roll back, or too much to send.

The server opens a transaction with whatever is sent after a COMMIT, and says
so in its answers only if they are no errors. So SQLAlchemy has a connection
rolled back whenever it goes back to the pool, which costs a round trip.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import math
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable

_TERMS: Final = (
    "SELECT (SELECT host FROM information_schema.processlist WHERE id = CONNECTION_ID()), "
    "@@max_allowed_packet"
)
_TOO_LARGE: Final = 1153
_LOST: Final = 2013


class _Own:
    """What both drivers' connections get.

    Attributes:
        is_clean: Whether nothing was sent since a COMMIT or ROLLBACK.
        client: The host and port from which the server sees it come, if that is known.
        limit: The length of a message, in bytes, from which on the server takes none.
    """

    is_clean = False
    client = ""
    limit = math.inf

    async def _execute_command(self, command: int, sql: bytes | str) -> Any:
        """Send anything at all: what both drivers have everything go through.

        A server that is sent too much says so and hangs up, and the second
        may arrive before the first: so nothing is sent.
        """
        if 1 + len(sql) >= self.limit:  # text is encoded by then, but for a few words of their own
            refused = self.errors.OperationalError  # type: ignore[attr-defined]  # see below
            raise refused(_TOO_LARGE, "Got a packet bigger than 'max_allowed_packet' bytes")
        self.is_clean = False
        return await super()._execute_command(command, sql)  # type: ignore[misc]  # of the driver's class

    async def commit(self) -> None:
        """Send COMMIT."""
        await super().commit()  # type: ignore[misc]  # as above
        self.is_clean = True

    async def rollback(self) -> None:
        """Send ROLLBACK."""
        await super().rollback()  # type: ignore[misc]  # as above
        self.is_clean = True

    async def note_terms(self) -> None:
        """Ask the server what it takes, and from where it sees this come, perhaps from a proxy."""
        await self.query(_TERMS)  # type: ignore[attr-defined]  # as above
        ((client, self.limit),) = self._result.rows  # type: ignore[attr-defined]  # as above
        self.client = client or ""  # NULL where a proxy has numbers of its own


class _Patient:
    """What asyncmy's connections have, and aiomysql's have not.

    Attributes:
        read_timeout: How long to wait for the server to go on, in seconds; None for ever.
    """

    read_timeout: float | None = None

    async def _read_bytes(self, count: int) -> bytes:
        if self.read_timeout is None:
            found: bytes = await super()._read_bytes(count)  # type: ignore[misc]  # of the driver's class
            return found
        try:
            async with asyncio.timeout(self.read_timeout):
                found = await super()._read_bytes(count)  # type: ignore[misc]  # as above
        except TimeoutError:
            self.close()  # type: ignore[attr-defined]  # as above
            lost = self.errors.OperationalError  # type: ignore[attr-defined]  # see below
            raise lost(_LOST, "Lost connection to MySQL server during query") from None
        return found


@functools.cache
def connection_class(driver: str) -> type[Any]:
    """Return the class of connections, for ``asyncmy`` or ``aiomysql``."""
    module = importlib.import_module(driver)  # only what is used
    if driver == "asyncmy":
        return type("Connection", (_Own, module.Connection), {"errors": module.errors})
    return type("Connection", (_Own, _Patient, module.Connection), {"errors": module})


async def connect_asyncmy(**arguments: Any) -> Any:
    """Connect, as asyncmy's own function does; one round trip more."""
    connection = connection_class("asyncmy")(**arguments)
    return await _opened(connection, connection.connect())


async def connect_aiomysql(**arguments: Any) -> Any:
    """Connect; aiomysql itself would leave the socket open when it is cancelled."""
    read_timeout = arguments.pop("read_timeout", None)
    connection = connection_class("aiomysql")(**arguments)
    connection.read_timeout = read_timeout
    return await _opened(connection, connection._connect())  # noqa: SLF001 - its own does no more


async def _opened(connection: Any, opening: Awaitable[object]) -> Any:
    """Return the connection once it is open, or close it."""
    try:
        await opening
        await connection.note_terms()
    except BaseException:
        connection.close()
        raise
    return connection


def is_open(connection: Any) -> bool:
    """Tell whether a connection is open, as far as is known here.

    Both drivers close one whose answer nobody has waited for.
    """
    if hasattr(connection, "_transport"):  # asyncmy; neither has a public name
        transport = connection._transport  # noqa: SLF001
        return transport is not None and not transport.is_closing()
    writer, reader = connection._writer, connection._reader  # noqa: SLF001
    if writer is None or writer.transport.is_closing():
        return False
    return not (reader.at_eof() or reader.eof_received or reader.exception())


def roll_back_what_is_open(dialect: Any) -> None:
    """Save the round trip of a ROLLBACK where there is nothing to roll back."""
    rollback = dialect.do_rollback

    def do_rollback(connection: Any) -> None:
        if not getattr(connection.driver_connection, "is_clean", False):
            rollback(connection)

    dialect.do_rollback = do_rollback  # there is no event that could skip it
