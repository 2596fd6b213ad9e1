"""Having a server send no more rows than are being fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

# What asyncmy parses at once: 256 kB, its own choice, are thousands of rows.
_BUFFER_BYTES: Final = 16_384


class ReadFlow:
    """Pauses the socket of a driver that would read a whole result ahead.

    MySQL and MariaDB send an unbuffered result as fast as it is received,
    and asyncmy receives and keeps it all, however slowly it is consumed.
    """

    def __init__(self, connection: Any) -> None:
        self._transport = connection._transport  # noqa: SLF001 - no public way to the socket
        protocol = connection._proto  # noqa: SLF001 - no public way to its buffer
        if protocol.length == protocol.pos:
            protocol.length = protocol.pos = 0
            protocol.buffer = bytearray(_BUFFER_BYTES)

    @classmethod
    async def of(cls, session: AsyncSession) -> ReadFlow | None:
        """Return the flow of a session's connection, None where the driver sees to it."""
        if session.get_bind().dialect.driver != "asyncmy":
            return None
        raw = await (await session.connection()).get_raw_connection()
        connection = raw.driver_connection
        return cls(connection) if hasattr(connection, "_proto") else None

    def pause(self) -> None:
        """Receive nothing more for now."""
        if self._transport.is_reading():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Receive again."""
        if not self._transport.is_closing() and not self._transport.is_reading():
            self._transport.resume_reading()
