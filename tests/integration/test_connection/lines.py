"""The line between a manager and its database, with a hand on it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from typing import TYPE_CHECKING, Final, Literal, Self

from sqlalchemy import make_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from hqt_async_db.connection.sessions.session import Session

_COMMIT: Final = re.compile(rb"COMMIT(?!TED)")
# The end of the rows that are copied into PostgreSQL.
COPY_DONE: Final = re.compile(rb"c\x00\x00\x00\x04\Z")

Action = Literal["watch", "hold request", "hold answer", "cut"]


class Proxy:
    """Relays to a server, until it is told to hold or to cut what concerns a commit.

    Attributes:
        has_seen_commit: Set when what commits passed after the proxy was armed.
        requests: How many messages went to the server.
    """

    def __init__(self, url: str) -> None:
        self._target = make_url(url)
        self._released = asyncio.Event()
        self._relays: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._action: Action | None = None
        self._what = _COMMIT
        self.has_seen_commit = asyncio.Event()
        self.requests = 0

    @property
    def url(self) -> str:
        """Return the database's URL through the proxy."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return self._target.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)

    def arm(self, action: Action, what: re.Pattern[bytes] = _COMMIT) -> None:
        """Watch for the next COMMIT; hold it or the answer to it, or cut its connection.

        Args:
            action: Which of these.
            what: What commits.
        """
        self._what = what
        self.has_seen_commit.clear()
        self._released.clear()
        self._action = action

    def release(self) -> None:
        """Let everything pass again, also what was held."""
        self._action = None
        self._released.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._target.host, self._target.port
        there, back = await asyncio.open_connection(host, port)
        pumps = [
            asyncio.create_task(self._requests(reader, back)),
            asyncio.create_task(self._answers(there, writer)),
        ]
        self._relays.update(pumps)
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        self._relays.difference_update(pumps)
        for end in (writer, back):
            end.transport.abort()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            self.requests += 1
            if self._action is not None and self._what.search(chunk):
                self.has_seen_commit.set()
            if self._action == "cut" and self.has_seen_commit.is_set():
                return
            if self._action == "hold request" and self.has_seen_commit.is_set():
                await self._released.wait()
            writer.write(chunk)

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            if self._action == "hold answer" and self.has_seen_commit.is_set():
                await self._released.wait()
            writer.write(chunk)


@contextlib.asynccontextmanager
async def occupied_thread(session: Session) -> AsyncIterator[None]:
    """Keep the thread of a SQLite session's connection from doing anything."""
    connection = await session.connection()
    raw = (await connection.get_raw_connection()).driver_connection
    assert raw is not None
    leave = threading.Event()
    work = asyncio.create_task(raw._execute(leave.wait))  # noqa: SLF001 - nothing else occupies it
    await asyncio.sleep(0)
    try:
        yield
    finally:
        leave.set()
        await work
