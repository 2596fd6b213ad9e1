"""Connections to MySQL servers that know when there is nothing to roll back.

The server opens a transaction with whatever is sent after a COMMIT, and says
so in its answers only if they are no errors. So SQLAlchemy has a connection
rolled back whenever it goes back to the pool, which costs a round trip.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable

_CLIENT: Final = "SELECT host FROM information_schema.processlist WHERE id = CONNECTION_ID()"


class _Clean:
    """What both drivers' connections get.

    Attributes:
        is_clean: Whether nothing was sent since a COMMIT or ROLLBACK.
        client: The host and port from which the server sees it come, if that is known.
    """

    is_clean = False
    client = ""

    async def _execute_command(self, *arguments: Any) -> Any:
        """Send anything at all: what both drivers have everything go through."""
        self.is_clean = False
        return await super()._execute_command(*arguments)  # type: ignore[misc]  # of the driver's class

    async def commit(self) -> None:
        """Send COMMIT."""
        await super().commit()  # type: ignore[misc]  # as above
        self.is_clean = True

    async def rollback(self) -> None:
        """Send ROLLBACK."""
        await super().rollback()  # type: ignore[misc]  # as above
        self.is_clean = True

    async def note_client(self) -> None:
        """Ask the server, who sees no more than a proxy in between, where this comes from."""
        await self.query(_CLIENT)  # type: ignore[attr-defined]  # as above
        for (client,) in self._result.rows:  # type: ignore[attr-defined]  # as above
            self.client = client  # there is no row where a proxy has numbers of its own


@functools.cache
def connection_class(driver: str) -> type[Any]:
    """Return the class of connections, for ``asyncmy`` or ``aiomysql``."""
    module = importlib.import_module(driver)  # only what is used
    return type("Connection", (_Clean, module.Connection), {})


async def connect_asyncmy(**arguments: Any) -> Any:
    """Connect, as asyncmy's own function does; one round trip more."""
    connection = connection_class("asyncmy")(**arguments)
    return await _opened(connection, connection.connect())


async def connect_aiomysql(**arguments: Any) -> Any:
    """Connect; aiomysql itself would leave the socket open when it is cancelled."""
    connection = connection_class("aiomysql")(**arguments)
    return await _opened(connection, connection._connect())  # noqa: SLF001 - its own does no more


async def _opened(connection: Any, opening: Awaitable[object]) -> Any:
    """Return the connection once it is open, or close it."""
    try:
        await opening
        await connection.note_client()
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
