"""Rows one by one: constant memory, short steps, safe to leave early."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

from hqt_async_db.connection.translate import translated
from hqt_async_db.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from sqlalchemy import Executable
    from sqlalchemy.ext.asyncio import AsyncSession

T = TypeVar("T")

# A step on the loop's thread must stay below a millisecond; building an
# instance costs ten times as much as a row.
_ROWS_PER_STEP: Final = 100
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
        *,
        entities: bool,
    ) -> None:
        self._lend = lend
        self._statement = statement
        self._entities = entities
        self._exits = AsyncExitStack()
        self._iterator: AsyncIterator[T] | None = None

    async def __aenter__(self) -> Self:
        """Run the statement; fetch nothing yet."""
        if self._iterator is not None:
            msg = "this stream was opened before; ask the repository for another one"
            raise InvalidInputError(msg)
        try:
            self._iterator = await self._open()
        except BaseException:
            await self._exits.aclose()
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
        if self._iterator is None:
            async with self:
                async for row in self:
                    yield row
            return
        while True:
            with translated():
                try:
                    row = await anext(self._iterator)
                except StopAsyncIteration:
                    return
            yield row

    async def _open(self) -> AsyncIterator[T]:
        session = await self._exits.enter_async_context(self._lend())
        step = _INSTANCES_PER_STEP if self._entities else _ROWS_PER_STEP
        with translated():
            result = await session.stream(self._statement, execution_options={"yield_per": step})
        self._exits.push_async_callback(result.close)
        rows: Any = result.scalars() if self._entities else result
        iterator: AsyncIterator[T] = aiter(rows)
        return iterator
