"""Rows one by one: constant memory, short steps, safe to leave early."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

from hqt_async_db.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Pieces(Protocol[T_co]):
    """What a stream reads from, piece by piece."""

    async def next(self) -> Sequence[T_co]:
        """Return the next few rows, none at the end."""


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

    def __init__(self, open_pieces: Callable[[], AbstractAsyncContextManager[Pieces[T]]]) -> None:
        self._open_pieces = open_pieces
        self._exits = AsyncExitStack()
        self._pieces: Pieces[T] | None = None
        self._is_over = False

    async def __aenter__(self) -> Self:
        """Run the statement; fetch nothing yet."""
        if self._pieces is not None:
            raise _spent()
        self._pieces = await self._exits.enter_async_context(self._open_pieces())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the cursor and give the connection back."""
        self._is_over = True
        await self._exits.__aexit__(kind, error, traceback)

    async def __aiter__(self) -> AsyncIterator[T]:
        """Yield the rows; opens and closes by itself outside of ``async with``."""
        if self._pieces is None:
            async with self:
                async for row in self:
                    yield row
            return
        if self._is_over:
            raise _spent()
        while rows := await self._pieces.next():
            for row in rows:
                yield row
            # The rows of a fetch are handed out without waiting for anything.
            await asyncio.sleep(0)


def _spent() -> InvalidInputError:
    return InvalidInputError("this stream was opened before; ask the repository for another one")
