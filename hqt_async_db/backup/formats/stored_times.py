"""Times to the text that SQLite stores, without a look at their parts where they are ours."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from hqt_async_db.backup.formats import from_csv

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Dialect

    from hqt_async_db.models.types import ColumnType

_MOMENT: Final = r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d{1,6})?\+00(?::00)?"
_CANONICAL: Final = re.compile(rf"{_MOMENT}(?:\n{_MOMENT})*+", re.ASCII)
# The length of 2024-01-01 10:00:00.000000.
_STORED: Final = 26


class StoredTimes:
    """Reads times as the text that SQLite stores, to its microseconds.

    Args:
        dialect: SQLite's.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def all(self, values: list[Any], kind: ColumnType[datetime]) -> list[Any] | None:
        """Return the text of points in time, if all are ISO 8601."""
        moments = from_csv.times(values, kind)
        if moments is None:
            return None
        together = "\n".join(values) if type(values[0]) is str else ""
        if not _CANONICAL.fullmatch(together):
            bound = kind.bind_all(moments, self._dialect)
            return None if bound is None else list(bound)
        lines = f"{together}\n".replace("T", " ").replace("+00:00\n", "\n").replace("+00\n", "\n")
        texts = lines.split("\n")[:-1]
        return [text if len(text) == _STORED else _padded(text) for text in texts]

    def one(self, value: object, kind: ColumnType[datetime]) -> Any:
        """Return the text of one point in time, or refuse it."""
        bound = kind.bind_all([from_csv.time(value, kind)], self._dialect)
        return bound[0] if bound else None


def _padded(text: str) -> str:
    """Return a time with all six digits of its microseconds."""
    return (text if "." in text else f"{text}.").ljust(_STORED, "0")
