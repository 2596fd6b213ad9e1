"""What SQLite asks before it stores what it computed, as it keeps anything in any column."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import String, func, literal_column

from hqt_async_db.errors import InvalidInputError
from hqt_async_db.models.types.json_column import JsonDict
from hqt_async_db.models.types.money import Money
from hqt_async_db.models.types.numeric import Double, Flag, Int32, Int64
from hqt_async_db.models.types.text import ExactText
from hqt_async_db.models.types.times import UtcDateTime

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import ColumnElement

    from hqt_async_db.models.types.column import ColumnType

# The name and the number of arguments of the SQL function.
FUNCTION: Final = ("hqt_kept", 3)
# The annotation of an expression that need not be asked about.
FITS: Final = "hqt_fits"

_TYPES: Final[dict[str, Callable[[], ColumnType[Any]]]] = {
    "double": Double,
    "flag": Flag,
    "integer 32": Int32,
    "integer 64": Int64,
    "json": JsonDict,
    "money": Money,
    "text": ExactText,
    "time": UtcDateTime,
}


class _Refusal(threading.local):
    """Why a value was refused last on this thread."""

    reason: str | None = None


_last: Final = _Refusal()


def keeping(column_type: ColumnType[Any], expression: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return an expression whose result SQLite may store in a column of this type."""
    if column_type.kind is None:
        return expression
    field = (column_type.field or "value").replace("'", "''")
    names = [literal_column(f"'{name}'", String) for name in (column_type.kind, field)]
    kept: ColumnElement[Any] = func.hqt_kept(expression, *names)
    return kept


def keep(value: Any, kind: str, field: str) -> Any:
    """Return a value as a column keeps it; the SQL function.

    Args:
        value: What SQLite computed; NULL stays NULL.
        kind: The ``kind`` of the column's type.
        field: ``table.column``.

    Raises:
        OverflowError: The column cannot hold it. sqlite3 reports this one, as
            it does no other, by a code of its own: SQLITE_TOOBIG.
    """
    if value is None:
        return None
    try:
        return _type_of(kind).kept(value)
    except InvalidInputError as error:
        _last.reason = f"{field}: {error}"
    raise OverflowError


def last_refusal() -> str | None:
    """Return why the last value was refused on this thread, once."""
    reason, _last.reason = _last.reason, None
    return reason


@lru_cache(maxsize=256)
def _type_of(kind: str) -> ColumnType[Any]:
    name, _, size = kind.partition(" ")
    return ExactText(int(size)) if name == "text" and size else _TYPES[kind]()
