"""Streaming through a session: what SQLAlchemy reads with a cursor of the server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from hqt_async_db.connection.executors.flow import ReadFlow
from hqt_async_db.connection.sessions.unread import is_at_its_end
from hqt_async_db.connection.translation.translate import translated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import Executable
    from sqlalchemy.ext.asyncio import AsyncResult, AsyncScalarResult, AsyncSession

    from hqt_async_db.connection.sessions.unread import UnreadRows

# A step on the loop's thread must stay below a millisecond; building an
# instance costs ten times as much as a row. A fetch is a hop or a round trip.
_ROWS_PER_FETCH: Final = 200
_ROWS_PER_STEP: Final = 100
_INSTANCES_PER_FETCH: Final = 100
_INSTANCES_PER_STEP: Final = 20


@asynccontextmanager
async def session_pieces(
    session: AsyncSession,
    statement: Executable,
    values: Mapping[str, Any] | None,
    *,
    entities: bool,
    owns_session: bool,
) -> AsyncIterator[SessionPieces]:
    """Run a SELECT and lend its rows; closes the cursor at the end.

    Args:
        session: Where to run.
        statement: The SELECT.
        values: Its named parameters.
        entities: Whether to give instances instead of rows.
        owns_session: Whether the session is of no further use.
    """
    per_fetch = _INSTANCES_PER_FETCH if entities else _ROWS_PER_FETCH
    with translated():
        flow = await ReadFlow.of(session)
        result: Any = await session.stream(
            statement, values, execution_options={"yield_per": per_fetch}
        )
    per_step = _INSTANCES_PER_STEP if entities else _ROWS_PER_STEP
    # A plain AsyncSession, to which a repository may be bound, has neither.
    enter = getattr(session, "within", translated)
    pieces = SessionPieces(result.scalars() if entities else result, flow, per_step, enter)
    if entities and owns_session:
        pieces.detach_from(session)
    unread: UnreadRows | None = getattr(session, "unread", None)
    if unread is not None:
        unread.drain_with(partial(pieces.close, None))
    try:
        yield pieces
    finally:
        await pieces.close(session if owns_session else None)


class SessionPieces:
    """The rows of a result, as many at a time as are made in a short step."""

    def __init__(
        self,
        result: AsyncResult[Any] | AsyncScalarResult[Any],
        flow: ReadFlow | None,
        per_step: int,
        enter: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._result = result
        self._flow = flow
        self._per_step = per_step
        self._enter = enter
        self._instances_of: AsyncSession | None = None
        self._is_exhausted = self._is_closed = False
        self._closing = asyncio.Lock()

    def detach_from(self, session: AsyncSession) -> None:
        """Have instances leave the session before anybody gets them."""
        self._instances_of = session

    async def next(self) -> Sequence[Any]:
        """Return the next rows, none at the end."""
        with self._enter():
            rows = await self._fetch()
        if self._instances_of is not None:
            for instance in rows:
                self._instances_of.expunge(instance)
        return rows

    async def _fetch(self) -> Sequence[Any]:
        if self._flow is not None:
            self._flow.resume()
        rows: Sequence[Any] = await self._result.fetchmany(self._per_step)
        # Behind the last row may come the answer to another statement.
        if self._flow is not None and not is_at_its_end(self._result):
            self._flow.pause()
        self._is_exhausted = not rows
        return rows

    async def close(self, spent: AsyncSession | None) -> None:
        """Close the cursor; nothing stops MySQL from sending what was not fetched.

        Args:
            spent: The session, if its connection may be closed instead.
        """
        # The loop finalises a stream that was left while its transaction ends.
        async with self._closing:
            if not self._is_closed:
                await self._close(spent)
            self._is_closed = True

    async def _close(self, spent: AsyncSession | None) -> None:
        if self._flow is not None and not self._is_exhausted:
            if spent is not None:
                await spent.invalidate()
                return
            # Refused where the connection is gone; not entered, as who ends the transaction has.
            self._enter()
            with translated():
                while await self._fetch():
                    pass
        if self._flow is not None:
            self._flow.resume()
        await self._result.close()
