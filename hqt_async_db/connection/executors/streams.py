"""Rows one by one: constant memory, short steps, safe to leave early."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

from hqt_async_db.connection.executors.flow import ReadFlow
from hqt_async_db.connection.translation.translate import translated
from hqt_async_db.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from sqlalchemy import Executable
    from sqlalchemy.ext.asyncio import AsyncResult, AsyncScalarResult, AsyncSession

T = TypeVar("T")

# A step on the loop's thread must stay below a millisecond; building an
# instance costs ten times as much as a row. A fetch is a hop or a round trip.
_ROWS_PER_FETCH: Final = 200
_ROWS_PER_STEP: Final = 100
_INSTANCES_PER_FETCH: Final = 100
_INSTANCES_PER_STEP: Final = 20


class RowStream(Generic[T]):
    """The rows of one SELECT, fetched in steps.

    Use it in ``async with`` and iterate; leaving the block, early or not,
    closes the cursor and gives the connection back::

        async with repository.stream() as rows:
            async for row in rows:
                ...

    A plain ``async for`` works as well; if it is left early, the connection
    is given back when the loop finalises the iterator.
    """

    def __init__(
        self,
        lend: Callable[[], AbstractAsyncContextManager[AsyncSession]],
        statement: Executable,
        values: Mapping[str, Any] | None,
        *,
        entities: bool,
        owns_session: bool,
    ) -> None:
        self._lend = lend
        self._statement = statement
        self._values = values
        self._entities = entities
        self._owns_session = owns_session
        self._exits = AsyncExitStack()
        self._result: AsyncResult[Any] | AsyncScalarResult[Any] | None = None
        self._flow: ReadFlow | None = None
        self._is_exhausted = False

    async def __aenter__(self) -> Self:
        """Run the statement; fetch nothing yet."""
        if self._result is not None:
            msg = "this stream was opened before; ask the repository for another one"
            raise InvalidInputError(msg)
        try:
            await self._open()
        except BaseException:
            await self._exits.__aexit__(*sys.exc_info())  # roll back, do not commit
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the cursor and give the connection back."""
        await self._exits.__aexit__(kind, error, traceback)

    async def __aiter__(self) -> AsyncIterator[T]:
        """Yield the rows; opens and closes by itself outside of ``async with``."""
        if self._result is None:
            async with self:
                async for row in self:
                    yield row
            return
        while rows := await self._next(self._result):
            for row in rows:
                yield row
            # The rows of a fetch are handed out without waiting for anything.
            await asyncio.sleep(0)

    async def _open(self) -> None:
        session = await self._exits.enter_async_context(self._lend())
        per_fetch = _INSTANCES_PER_FETCH if self._entities else _ROWS_PER_FETCH
        with translated():
            self._flow = await ReadFlow.of(session)
            result = await session.stream(
                self._statement, self._values, execution_options={"yield_per": per_fetch}
            )
        self._result = result.scalars() if self._entities else result
        self._exits.push_async_callback(self._close, session, self._result)

    async def _next(self, result: AsyncResult[Any] | AsyncScalarResult[Any]) -> Sequence[Any]:
        if self._flow is not None:
            self._flow.resume()
        with translated():
            rows = await result.fetchmany(_INSTANCES_PER_STEP if self._entities else _ROWS_PER_STEP)
        if self._flow is not None:
            self._flow.pause()
        self._is_exhausted = not rows
        return rows

    async def _close(
        self, session: AsyncSession, result: AsyncResult[Any] | AsyncScalarResult[Any]
    ) -> None:
        """Close the cursor; nothing stops MySQL from sending what was not fetched."""
        if self._flow is not None and not self._is_exhausted:
            if self._owns_session:
                await session.invalidate()
                return
            async for _ in self:
                pass
        if self._flow is not None:
            self._flow.resume()
        await result.close()
