"""Defaults that Python fills in: checked and normalised as what is assigned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.sql.schema import CallableColumnDefault, ScalarElementColumnDefault

from hqt_async_db.models.types import JsonDict, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Column

    from hqt_async_db.models.types import ColumnType


class _Checked:
    """Makes a default as its column holds it, a new one for each row."""

    def __init__(self, make: Callable[[Any], Any], kind: ColumnType[Any]) -> None:
        self._make = make
        self._kind = kind

    def __call__(self, context: Any) -> Any:
        return self._kind.coerce(self._make(context))


def _copies(value: Any, kind: ColumnType[Any]) -> _Checked:
    return _Checked(lambda _: dict(value), kind)


def check_defaults(column: Column[Any], kind: ColumnType[Any]) -> None:
    """Have a column's ``default`` and ``onupdate`` be as its type returns them.

    Raises:
        InvalidInputError: The column cannot hold its default.
    """
    for default in (column.default, column.onupdate):
        if isinstance(default, ScalarElementColumnDefault):
            value = kind.coerce(default.arg)
            if isinstance(kind, JsonDict):  # which rows must not share
                fresh = CallableColumnDefault(_copies(value, kind), for_update=default.for_update)
                fresh._set_parent(column)  # noqa: SLF001 - no public way to replace one
            else:
                default.arg = value
        elif isinstance(default, CallableColumnDefault):
            make: Any = default.arg
            if not isinstance(make, _Checked) and getattr(make, "__wrapped__", None) is not utc_now:
                default.arg = _Checked(make, kind)
