"""Rows that a connection to MySQL has still to send, before which it takes nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hqt_async_db.errors import SessionInUseError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncResult, AsyncScalarResult


class UnreadRows:
    """The streams of one session that are not at their end; of any on MySQL only.

    MySQL's protocol sends the rows of one result and then takes the next
    statement. The drivers throw away what is left, or wait for it for ever.
    """

    def __init__(self) -> None:
        self._results: list[AsyncResult[Any]] = []
        self._drains: list[Callable[[], Awaitable[None]]] = []

    def expect(self, result: AsyncResult[Any]) -> None:
        """Note a result that is read bit by bit."""
        self._results.append(result)

    def drain_with(self, drain: Callable[[], Awaitable[None]]) -> None:
        """Note how a stream is read to its end, should its transaction end before."""
        if self._results:
            self._drains.append(drain)

    def refuse_others(self) -> None:
        """Refuse another statement as long as there are rows to come.

        Raises:
            SessionInUseError: There are.
        """
        if not self._results:
            return
        self._results = [one for one in self._results if not is_at_its_end(one)]
        if self._results:
            msg = (
                "this session has a stream that is not read to its end, and MySQL sends nothing "
                "else before; read it to its end, or stream with a repository of the manager"
            )
            raise SessionInUseError(msg)
        self._drains = []

    @property
    def are_there(self) -> bool:
        """Tell whether something has to be read before a transaction can end."""
        return bool(self._drains)

    async def drain(self) -> None:
        """Have nothing left to be read."""
        drains = self._drains
        self.forget()
        for drain in drains:
            await drain()

    def forget(self) -> None:
        """Leave what is unread: the connection is closed."""
        self._drains = []
        self._results = []


def is_at_its_end(result: AsyncResult[Any] | AsyncScalarResult[Any]) -> bool:
    """Tell whether the driver has no more rows for a result."""
    real: Any = result._real_result  # noqa: SLF001 - no public way to tell the end
    raw = getattr(real, "raw", None)  # of instances the rows that they are made of
    return bool((real if raw is None else raw)._soft_closed)  # noqa: SLF001 - as above
