"""Streaming past SQLAlchemy: pieces as large as the loop can take at once."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hqt_async_db.connection.backends.direct import Cursor
    from hqt_async_db.connection.executors.readers import Reader

_FIRST_PIECE: Final = 100
# By then a hop or a round trip costs less than the rows it brings.
_PIECE_S: Final = 0.002


class DirectPieces:
    """The rows of a driver's cursor; how many at a time follows their cost.

    Args:
        cursor: The cursor.
        reader: Makes something of its rows.
        explain: Turns what the driver raises into an error of ours.
    """

    def __init__(
        self, cursor: Cursor, reader: Reader, explain: Callable[[BaseException], BaseException]
    ) -> None:
        self._cursor = cursor
        self._reader = reader
        self._explain = explain
        self._size = _FIRST_PIECE

    async def next(self) -> Sequence[Any]:
        """Return the next rows, none at the end."""
        try:
            rows = await self._cursor.fetch(self._size)
        except Exception as error:  # noqa: BLE001 - raised below, as ours
            failure = self._explain(error)
        else:
            return await self._read(rows)
        raise failure  # here, so that the driver's is not in its chain

    async def _read(self, rows: Sequence[Any]) -> Sequence[Any]:
        began = perf_counter()
        made = await self._reader.read(rows)
        if len(rows) == self._size:
            # Other tasks may have run in between, so that it is no more than this.
            fits = int(self._size * _PIECE_S / max(perf_counter() - began, 1e-6))
            self._size = max(_FIRST_PIECE, min(fits, 2 * self._size, self._cursor.most_rows))
        return made
