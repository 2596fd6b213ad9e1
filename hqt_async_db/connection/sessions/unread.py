"""Rows that a connection to MySQL has still to send, before which it takes nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hqt_async_db.errors import SessionInUseError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncResult


class UnreadRows:
    """The streams of one session that are not at their end.

    MySQL's protocol sends the rows of one result and then takes the next
    statement. The drivers throw away what is left, or wait for it for ever.
    """

    def __init__(self) -> None:
        self._results: list[AsyncResult[Any]] = []
        self._stops: list[Callable[[], Awaitable[None]]] = []

    def expect(self, result: AsyncResult[Any]) -> None:
        """Note a result that is read bit by bit."""
        self._results.append(result)

    def before_end(self, stop: Callable[[], Awaitable[None]]) -> None:
        """Note what has to be done with a stream before its transaction ends."""
        self._stops.append(stop)

    def refuse_others(self) -> None:
        """Refuse another statement as long as there are rows to come.

        Raises:
            SessionInUseError: There are.
        """
        if not self._results:
            return
        self._results = [one for one in self._results if not one._real_result._soft_closed]  # noqa: SLF001 - no public way to tell the end
        if self._results:
            msg = (
                "this session has a stream that is not read to its end, and MySQL sends nothing "
                "else before; read it to its end, or stream with a repository of the manager"
            )
            raise SessionInUseError(msg)

    async def give_up(self) -> None:
        """Have nothing left to be read: the transaction ends."""
        stops = self._stops
        self.forget()
        for stop in stops:
            await stop()

    def forget(self) -> None:
        """Leave what is unread: the connection is closed."""
        self._stops = []
        self._results = []
