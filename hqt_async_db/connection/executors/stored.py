"""One INSERT or UPDATE of an instance, without a unit of work."""

from __future__ import annotations

from functools import lru_cache
from inspect import getclosurevars, isfunction
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Column, bindparam, insert, inspect, update
from sqlalchemy.orm.attributes import set_committed_value

from hqt_async_db.connection.backends.direct import NoWayError
from hqt_async_db.connection.executors import detached
from hqt_async_db.connection.executors.readers import (
    finisher,
    is_plainly_loaded,
    listeners_need_no_context,
)
from hqt_async_db.connection.translation.translate import stale_record
from hqt_async_db.models.validation import is_sql

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Insert, Update
    from sqlalchemy.orm import Mapper

    from hqt_async_db.connection.executors.shortcut import Shortcut

_EVENTS: Final = attrgetter("before_insert", "after_insert", "before_update", "after_update")
# Those that check a value, which was checked before, and make JSON report its changes.
_SETTERS: Final = ("hqt_async_db.models.base", "sqlalchemy.ext.mutable")
# No column has such a name; a parameter must not have a column's.
_NEW: Final = "hqt_new_"
_OLD: Final = "hqt_old_"


class Stored:
    """How the instances of one model are written, where that is one statement.

    Args:
        mapper: The mapped class's.
    """

    def __init__(self, mapper: Mapper[Any]) -> None:
        self._mapper = mapper
        self._columns = {prop.key: prop.columns[0] for prop in mapper.column_attrs}
        self._table: Any = mapper.local_table
        self._keys = [mapper.get_property_by_column(key).key for key in mapper.primary_key]
        version = mapper.version_id_col
        self._version = None if version is None else mapper.get_property_by_column(version).key
        self._filled_by_database = [
            name for name, column in self._columns.items() if _fills_in_database(column)
        ]
        # What an INSERT leaves out where no value is given; of the others it sends NULL.
        self._left_out = [
            name
            for name, column in self._columns.items()
            if name in self._filled_by_database or getattr(column, "default", None) is not None
        ]
        self._renewed = {
            name: column.key
            for name, column in self._columns.items()
            if getattr(column, "onupdate", None) is not None
        }
        self._is_plain = is_plainly_loaded(mapper) and self._needs_values_alone()
        self._settable = self._columns.keys() - {*self._keys, self._version}
        self._finish = finisher(mapper)
        self._inserts: dict[frozenset[str], Insert] = {}
        self._updates: dict[frozenset[str], Update] = {}
        self._setters: dict[str, int] = {}

    def _needs_values_alone(self) -> bool:
        """Tell whether only the caller and Python's defaults fill in the columns."""
        columns = self._columns.values()
        return (
            self._mapper.version_id_generator is not False
            and all(isinstance(column, Column) for column in columns)
            and all(column.computed is None for column in columns)
            and all(column.server_onupdate is None for column in columns)
            # Of these None is a value, or nothing was given.
            and not any(column.type.should_evaluate_none for column in columns)
            and all(
                default is None or default.is_scalar or default.is_callable
                for column in columns
                for default in (column.default, column.onupdate)
            )
        )

    def require_plain(self) -> None:
        """Refuse a model that takes a unit of work, or has got listeners by now.

        Raises:
            NoWayError: It does.
        """
        listeners = self._mapper.class_manager.dispatch
        if (
            not self._is_plain
            or any(_EVENTS(self._mapper.dispatch))
            or not listeners_need_no_context((*listeners.load, *listeners.refresh_flush))
        ):
            raise NoWayError

    # -- insert ------------------------------------------------------------

    async def insert(self, shortcut: Shortcut, instance: Any) -> None:
        """Store a new instance; it is detached and complete afterwards.

        Raises:
            NoWayError: It takes a unit of work; nothing was run.
        """
        values = self._given(instance)
        unfilled = frozenset([name for name in self._left_out if values.get(name) is None])
        statement = self._inserts.get(unfilled)
        if statement is None:
            statement = self._inserts[unfilled] = self._insert_without(unfilled)
        sent = {_NEW + name: values.get(name) for name in self._sent(unfilled)}
        answer, complete = await shortcut.write(statement, sent, joins=True)
        loaded = instance.__dict__
        loaded.update({name: values.get(name) for name in self._columns})
        for name in unfilled:
            loaded[name] = complete.get(self._columns[name].key)
        for row in answer.rows:
            loaded.update(zip(self._returned(unfilled), row, strict=True))
        self._finish(instance)

    def _given(self, instance: Any) -> dict[str, Any]:
        """Return the column values of a new instance, if it has nothing else."""
        self.require_plain()
        values = {name: value for name, value in instance.__dict__.items() if name in self._columns}
        is_more = len(values) < len(instance.__dict__) - 1  # but for SQLAlchemy's own state
        if is_more or any(map(is_sql, values.values())):
            raise NoWayError
        if self._version is not None:
            values[self._version] = self._next_version(None)
        return values

    def _insert_without(self, unfilled: frozenset[str]) -> Insert:
        """Return the INSERT of all columns but those that are filled in elsewhere."""
        parameters: dict[str, Any] = {
            self._columns[n].key: bindparam(_NEW + n) for n in self._sent(unfilled)
        }
        returned = [self._columns[name] for name in self._returned(unfilled)]
        statement: Any = insert(self._table).values(parameters)
        complete: Insert = statement.returning(*returned) if returned else statement
        return complete

    def _sent(self, unfilled: frozenset[str]) -> list[str]:
        return [name for name in self._columns if name not in unfilled]

    def _returned(self, unfilled: frozenset[str]) -> list[str]:
        return [
            name
            for name in self._filled_by_database
            if name in unfilled and self._columns[name].default is None
        ]

    # -- update ------------------------------------------------------------

    async def update(self, shortcut: Shortcut, instance: Any, values: Mapping[str, Any]) -> None:
        """Store what changes, by primary key and version; then set it.

        Raises:
            InvalidInputError: The instance was never stored, is in a session,
                or lost its values.
            StaleRecordError: The row was changed or deleted meanwhile.
            NoWayError: It takes a unit of work; nothing was run.
        """
        changed = self._changes(instance, values)
        if not changed:
            return
        names = frozenset(changed)
        statement = self._updates.get(names)
        if statement is None:
            statement = self._updates[names] = self._update_of(names)
        sent = {_NEW + name: value for name, value in changed.items()}
        identity = inspect(instance).identity
        sent |= {_OLD + name: value for name, value in zip(self._keys, identity, strict=True)}
        if self._version is not None:
            sent[_OLD + self._version] = instance.__dict__[self._version]
        answer, complete = await shortcut.write(statement, sent, joins=True)
        if not answer.rowcount:
            raise stale_record(self._table.name)
        for name, value in changed.items():
            detached.set_loaded(instance, name, value)
        for name, key in self._renewed.items():
            if name not in changed:
                set_committed_value(instance, name, complete[key])

    def _changes(self, instance: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the new values of the columns that really change."""
        state = detached.state_of(instance)
        pending = detached.pending_values(instance) if state.modified else {}
        merged = {**pending, **values}
        self.require_plain()
        if not merged.keys() <= self._settable or any(map(is_sql, merged.values())):
            raise NoWayError
        if not all(map(self._is_set_plainly, merged)):
            raise NoWayError
        loaded = instance.__dict__
        changed = {
            name: value
            for name, value in merged.items()
            if name in pending
            or name not in loaded
            or not self._columns[name].type.compare_values(value, loaded[name])
        }
        if changed and self._version is not None:
            if self._version not in loaded:
                raise NoWayError
            changed[self._version] = self._next_version(loaded[self._version])
        return changed

    def _is_set_plainly(self, name: str) -> bool:
        """Tell whether nobody looks at, or changes, what is assigned to an attribute."""
        listeners = getattr(self._mapper.class_, name).dispatch.set
        if len(listeners) == self._setters.get(name, 0):
            return True
        if not all(_origin(listener) in _SETTERS for listener in listeners):
            return False
        self._setters[name] = len(listeners)
        return True

    def _update_of(self, names: frozenset[str]) -> Update:
        fixed = self._keys if self._version is None else [*self._keys, self._version]
        criteria = [self._columns[name] == bindparam(_OLD + name) for name in fixed]
        changes: dict[str, Any] = {
            self._columns[name].key: bindparam(_NEW + name) for name in sorted(names)
        }
        return update(self._table).where(*criteria).values(changes)

    def _next_version(self, version: Any) -> Any:
        generator: Callable[[Any], Any] = self._mapper.version_id_generator  # type: ignore[assignment]  # False is refused before
        return generator(version)


def _origin(listener: Any) -> str | None:
    """Return the module of what listens, from within SQLAlchemy's wrapper around it."""
    wrapped = getclosurevars(listener).nonlocals.get("fn") if isfunction(listener) else None
    return getattr(wrapped or listener, "__module__", None)


def _fills_in_database(column: Any) -> bool:
    if getattr(column, "server_default", None) is not None:
        return True
    return column is getattr(column.table, "autoincrement_column", None)


@lru_cache(maxsize=256)
def stored(mapper: Mapper[Any]) -> Stored:
    """Return how the instances of a model are written."""
    return Stored(mapper)
