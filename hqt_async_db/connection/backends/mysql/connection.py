"""Connections to MySQL servers that know when there is nothing to roll back.

The server opens a transaction with whatever is sent after a COMMIT, and says
so in its answers only if they are no errors. So SQLAlchemy has a connection
rolled back whenever it goes back to the pool, which costs a round trip.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any


class _Clean:
    """What both drivers' connections get.

    Attributes:
        is_clean: Whether nothing was sent since a COMMIT or ROLLBACK.
    """

    is_clean = False

    async def query(self, *arguments: Any, **keywords: Any) -> Any:
        self.is_clean = False
        return await super().query(*arguments, **keywords)  # type: ignore[misc]  # of the driver's class

    async def commit(self) -> None:
        self.is_clean = False
        await super().commit()  # type: ignore[misc]  # as above
        self.is_clean = True

    async def rollback(self) -> None:
        self.is_clean = False
        await super().rollback()  # type: ignore[misc]  # as above
        self.is_clean = True


@functools.cache
def connection_class(driver: str) -> type[Any]:
    """Return the class of connections, for ``asyncmy`` or ``aiomysql``."""
    module = importlib.import_module(driver)  # only what is used
    return type("Connection", (_Clean, module.Connection), {})


async def connect_asyncmy(**arguments: Any) -> Any:
    """Connect, as asyncmy's own function does."""
    connection = connection_class("asyncmy")(**arguments)
    await connection.connect()
    return connection


async def connect_aiomysql(**arguments: Any) -> Any:
    """Connect; aiomysql itself would leave the socket open when it is cancelled."""
    connection = connection_class("aiomysql")(**arguments)
    try:
        await connection._connect()  # noqa: SLF001 - its own connect does no more
    except BaseException:
        connection.close()
        raise
    return connection


def transport_of(connection: Any) -> Any:
    """Return the transport of a driver's connection, None once it is closed."""
    if hasattr(connection, "_transport"):  # asyncmy
        return connection._transport  # noqa: SLF001 - it has no public name
    writer = connection._writer  # noqa: SLF001 - as above
    return None if writer is None else writer.transport


def is_open(connection: Any) -> bool:
    """Tell whether a connection is open, as far as is known here."""
    transport = transport_of(connection)
    if transport is None or transport.is_closing():
        return False
    reader = getattr(connection, "_reader", None)  # aiomysql
    return reader is None or not (reader.at_eof() or reader.eof_received or reader.exception())


def roll_back_what_is_open(dialect: Any) -> None:
    """Save the round trip of a ROLLBACK where there is nothing to roll back."""
    rollback = dialect.do_rollback

    def do_rollback(connection: Any) -> None:
        if not getattr(connection.driver_connection, "is_clean", False):
            rollback(connection)

    dialect.do_rollback = do_rollback  # there is no event that could skip it
