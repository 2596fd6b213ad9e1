"""JSON containers that tell their row when they are changed in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, SupportsIndex

from sqlalchemy.ext.mutable import Mutable, MutableDict, MutableList

from hqt_async_db.errors import InvalidInputError
from hqt_async_db.models.types.column import column_field
from hqt_async_db.models.types.json_values import UnfitJsonError, fit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class _Nested(Mutable):
    """A container that passes a change on to the object it is part of."""

    _owner: _Nested | None = None
    _depth: int = 0

    def changed(self) -> None:
        """Mark the row that holds the outermost object as changed."""
        if self._owner is None:
            super().changed()
        else:
            self._owner.changed()

    def _fit(self, value: object, depth: int) -> Any:
        """Return a plain copy of ``value``, or refuse it in the column's name."""
        try:
            return fit(value, depth)
        except UnfitJsonError as unfit:
            field = self._field()
            message = f"{field or 'value'} {unfit}"
        raise InvalidInputError(message, field=field)

    def _field(self) -> str | None:
        """Return ``table.column`` of the row that holds the outermost object."""
        if self._owner is not None:
            return self._owner._field()  # noqa: SLF001 - its own class
        for state, key in self._parents.items():
            return column_field(state.mapper.column_attrs[key].columns[0])
        return None

    def _taken(self, value: object) -> Any:
        """Return a checked copy of ``value`` that reports to this container."""
        return self._wrapped(self._fit(value, self._depth + 1))

    def _wrapped(self, value: object) -> Any:
        """Return a plain JSON value as containers that report to this one."""
        if isinstance(value, dict):
            return JsonObject().filled(value, self)
        if isinstance(value, list):
            return JsonArray().filled(value, self)
        return value

    def _inside(self, owner: _Nested | None) -> Self:
        if owner is not None:
            self._owner, self._depth = owner, owner._depth + 1  # noqa: SLF001 - its own class
        return self


class JsonObject(_Nested, MutableDict[str, Any]):
    """A dict whose changes, at any depth, are saved with its row.

    What is put in is checked at once and copied, so that it cannot be changed
    behind the row's back.

    Raises:
        InvalidInputError: A value put in cannot be stored as JSON.
    """

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        if values:
            self.filled(self._fit(values, 0), None)

    def filled(self, values: dict[str, Any], owner: _Nested | None) -> Self:
        """Take over plain values that are known to be fit, as part of ``owner``."""
        self._inside(owner)
        wrapped = self._wrapped
        dict.update(self, {key: wrapped(value) for key, value in values.items()})
        return self

    def is_free(self) -> bool:
        """Tell whether this object belongs to no row and to no other object."""
        return self._owner is None and not self._parents

    @classmethod
    def coerce(cls, key: str, value: Any) -> JsonObject | None:
        """Wrap what was loaded from the database; called by SQLAlchemy."""
        if isinstance(value, dict) and not isinstance(value, cls):
            return cls().filled(value, None)
        return value if isinstance(value, cls) else Mutable.coerce(key, value)

    def __setitem__(self, key: str, value: object) -> None:
        """Set one value."""
        self.update({key: value})

    def setdefault(self, key: str, value: object = None) -> Any:
        """Return the value of ``key``, after setting it where it is missing."""
        if key not in self:
            self[key] = value
        return self[key]

    def update(self, *values: Any, **named: Any) -> None:
        """Set several values, or none of them if one is unfit."""
        checked = self._fit(dict(*values, **named), self._depth)
        wrapped = self._wrapped
        super().update({key: wrapped(value) for key, value in checked.items()})

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        """Pickle and copy as plain values; parents and owner are found again."""
        return (type(self), (plain(self),))


class JsonArray(_Nested, MutableList[Any]):
    """A list inside a :class:`JsonObject`."""

    def filled(self, values: list[Any], owner: _Nested | None) -> Self:
        """Take over plain values that are known to be fit, as part of ``owner``."""
        self._inside(owner)
        list.extend(self, map(self._wrapped, values))
        return self

    def __setitem__(self, index: SupportsIndex | slice, value: Any) -> None:
        """Set one value or a slice."""
        taken = map(self._taken, value) if isinstance(index, slice) else self._taken(value)
        super().__setitem__(index, list(taken) if isinstance(index, slice) else taken)

    def append(self, value: object) -> None:
        """Add one value at the end."""
        super().append(self._taken(value))

    def extend(self, values: Iterable[Any]) -> None:
        """Add several values at the end, or none of them if one is unfit."""
        super().extend([self._taken(value) for value in values])

    def insert(self, index: SupportsIndex, value: object) -> None:
        """Insert one value before ``index``."""
        super().insert(index, self._taken(value))

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        """Pickle and copy as a plain list: alone it belongs to no row."""
        return (list, (plain(self),))


def plain(value: object) -> Any:
    """Return a copy of a JSON value in plain dicts and lists."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value
