"""One INSERT or UPDATE of an instance, without a unit of work."""

from __future__ import annotations

from functools import lru_cache
from inspect import getclosurevars, isfunction
from operator import attrgetter, eq
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import Column, bindparam, insert, update
from sqlalchemy.types import TypeDecorator, TypeEngine

from hqt_async_db.connection.backends.direct import NoWayError
from hqt_async_db.connection.executors import detached
from hqt_async_db.connection.executors.plans import SETS
from hqt_async_db.connection.executors.readers import (
    finisher,
    is_plainly_loaded,
    listeners_need_no_context,
)
from hqt_async_db.connection.translation.translate import stale_record
from hqt_async_db.models.base import Base
from hqt_async_db.models.validation import have_sql

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Insert, Update
    from sqlalchemy.orm import InstanceState, Mapper

    from hqt_async_db.connection.executors.shortcut import RunWrite, Shortcut

_EVENTS: Final = attrgetter("before_insert", "after_insert", "before_update", "after_update")
# Those that check a value, which was checked before, and make JSON report its changes.
_SETTERS: Final = ("hqt_async_db.models.base", "sqlalchemy.ext.mutable")
# What SQLAlchemy itself does when an instance is made.
_MAKERS: Final = ("sqlalchemy.orm.mapper",)
# No column has such a name; a parameter must not have a column's.
_OLD: Final = "hqt_old_"


class _Insert(NamedTuple):
    """The INSERT of one set of columns.

    Attributes:
        statement: The statement.
        sent: Its parameters, and the attributes whose values they are.
        returned: The attributes that the database fills in.
    """

    statement: Insert
    sent: list[tuple[str, str]]
    returned: list[str]


class Stored:
    """How the instances of one model are written, where that is one statement.

    Args:
        mapper: The mapped class's.
    """

    def __init__(self, mapper: Mapper[Any]) -> None:
        self._mapper = mapper
        self._class: Any = mapper.class_
        self._columns = {prop.key: prop.columns[0] for prop in mapper.column_attrs}
        self._parameters = {n: f"{SETS}{c.key}" for n, c in self._columns.items()}
        self._empty = dict.fromkeys(self._columns)
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
        self._inserts: dict[frozenset[str], _Insert] = {}
        self._updates: dict[frozenset[str], Update] = {}
        plain = self._columns if self._is_plain else {}
        self._equal = {name: _equality(column.type) for name, column in plain.items()}
        self._dispatchers = [getattr(mapper.class_, name).dispatch for name in plain]
        self._seen_setters: list[Any] = []
        self._counts: list[Any] = []
        # How many listeners were found to be harmless.
        self._harmless = self._makers = -1

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
        of_class = self._mapper.class_manager.dispatch
        listeners = (*of_class.load, *of_class.refresh_flush)
        if (
            not self._is_plain
            or any(_EVENTS(self._mapper.dispatch))
            or (listeners and not listeners_need_no_context(listeners))
        ):
            raise NoWayError

    # -- insert ------------------------------------------------------------

    async def create(
        self, shortcut: Shortcut, values: Mapping[str, Any], run: RunWrite | None = None
    ) -> Any:
        """Store a new row, and return a detached, complete instance of it.

        Args:
            shortcut: The way to the driver.
            values: Values by attribute name, which were checked.
            run: Runs the INSERT in a session, which no instance may enter
                before it is stored; None runs it alone, and commits.

        Raises:
            NoWayError: It takes a unit of work; nothing was run.
        """
        self.require_plain()
        instance = None
        given = dict(values)
        if not self._is_made_plainly(given):
            if run is not None:
                raise NoWayError
            instance = self._mapper.class_(**values)
            given = self._given(instance)
        if have_sql(given.values()):
            raise NoWayError
        if self._version is not None:
            given[self._version] = self._next_version(None)
        unfilled = frozenset([name for name in self._left_out if given.get(name) is None])
        kept = self._inserts.get(unfilled)
        if kept is None:
            kept = self._inserts[unfilled] = self._insert_without(unfilled)
        statement, sent, returned = kept
        answer, complete = await shortcut.write(
            statement,
            {parameter: given.get(name) for parameter, name in sent},
            joins=True,
            are_coerced=instance is None,  # what one makes of them no backend was asked about
            run=run,
        )
        if instance is None:
            instance = self._class.__new__(self._class)
        loaded = instance.__dict__
        loaded.update(self._empty)
        loaded.update(given)
        for name in unfilled:
            loaded[name] = complete.get(self._columns[name].key)
        for row in answer.rows:
            loaded.update(zip(returned, row, strict=True))
        self._finish(instance)
        return instance

    def has_key_of_its_own(self, values: Mapping[str, Any]) -> bool:
        """Tell whether the caller chose the primary key, which may be another instance's."""
        return not values.keys().isdisjoint(self._keys)

    def _is_made_plainly(self, values: Mapping[str, Any]) -> bool:
        """Tell whether to make an instance is to set these values, and no more."""
        manager = self._mapper.class_manager
        return (
            manager.original_init is Base.__init__
            and values.keys() <= self._columns.keys()
            and self._is_initialised_plainly()
            and self._are_set_plainly()
        )

    def _is_initialised_plainly(self) -> bool:
        """Tell whether only SQLAlchemy itself looks at new instances."""
        listeners = self._mapper.class_manager.dispatch.init
        if len(listeners) == self._makers:
            return True
        if not all(_origin(listener) in _MAKERS for listener in listeners):
            return False
        self._makers = len(listeners)
        return True

    def _given(self, instance: Any) -> dict[str, Any]:
        """Return the column values of a new instance, if it has nothing else."""
        values = {name: value for name, value in instance.__dict__.items() if name in self._columns}
        if len(values) < len(instance.__dict__) - 1:  # but for SQLAlchemy's own state
            raise NoWayError
        return values

    def _insert_without(self, unfilled: frozenset[str]) -> _Insert:
        """Return the INSERT of all columns but those that are filled in elsewhere."""
        names = [name for name in self._columns if name not in unfilled]
        returned = self._returned(unfilled)
        parameters: dict[str, Any] = {
            self._columns[n].key: bindparam(self._parameters[n]) for n in names
        }
        statement: Any = insert(self._table).values(parameters)
        if returned:
            statement = statement.returning(*[self._columns[name] for name in returned])
        return _Insert(statement, [(self._parameters[name], name) for name in names], returned)

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
        state = detached.state_of(instance)
        changed = self._changes(state, values)
        if not changed:
            return
        names = frozenset(changed)
        statement = self._updates.get(names)
        if statement is None:
            statement = self._updates[names] = self._update_of(names)
        sent = {self._parameters[name]: value for name, value in changed.items()}
        identity = state.identity or ()
        sent |= {_OLD + name: value for name, value in zip(self._keys, identity, strict=True)}
        if self._version is not None:
            sent[_OLD + self._version] = state.dict[self._version]
        equal = self._assigned_in_vain(state) if state.modified else {}
        watch = detached.Watch(instance, (*equal, *changed, *self._renewed))
        answer, complete = await shortcut.write(
            statement, sent, joins=True, are_coerced=not state.modified
        )
        if not answer.rowcount:
            raise stale_record(self._table.name)
        renewed = {n: complete[key] for n, key in self._renewed.items() if n not in changed}
        detached.set_all_loaded(instance, {**equal, **changed, **renewed}, watch)

    def _assigned_in_vain(self, state: InstanceState[Any]) -> dict[str, Any]:
        """Return the columns that were assigned what they had, among those that were assigned."""
        loaded = state.dict
        assigned = state.committed_state.keys() & self._columns.keys()
        return {name: loaded[name] for name in assigned if name in loaded}

    def _changes(self, state: InstanceState[Any], values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the new values of the columns that really change."""
        pending = detached.pending_values(state.obj()) if state.modified else {}
        merged = {**pending, **values}
        self.require_plain()
        if not merged.keys() <= self._settable or have_sql(merged.values()):
            raise NoWayError
        if not self._are_set_plainly():
            raise NoWayError
        loaded = state.dict
        changed = {
            name: value
            for name, value in merged.items()
            if name in pending or name not in loaded or not self._equal[name](value, loaded[name])
        }
        if changed and self._version is not None:
            if self._version not in loaded:
                raise NoWayError
            changed[self._version] = self._next_version(loaded[self._version])
        return changed

    def _are_set_plainly(self) -> bool:
        """Tell whether nobody looks at, or changes, what is assigned to the columns."""
        found = [of.set for of in self._dispatchers]
        if found != self._seen_setters:  # the first listener of an attribute makes a new one
            self._seen_setters = found
            lists = [listeners for of in found for listeners in (of.listeners, of.parent_listeners)]
            self._counts = list({id(listeners): listeners for listeners in lists}.values())
            self._harmless = -1
        count = sum(map(len, self._counts))
        if count != self._harmless:
            listeners = [listener for of in found for listener in of]
            if not all(_origin(listener) in _SETTERS for listener in listeners):
                return False
            self._harmless = count
        return True

    def _update_of(self, names: frozenset[str]) -> Update:
        fixed = self._keys if self._version is None else [*self._keys, self._version]
        criteria = [self._columns[name] == bindparam(_OLD + name) for name in fixed]
        changes: dict[str, Any] = {
            self._columns[name].key: bindparam(self._parameters[name]) for name in sorted(names)
        }
        return update(self._table).where(*criteria).values(changes)

    def _next_version(self, version: Any) -> Any:
        generator: Any = self._mapper.version_id_generator  # False is refused before
        return generator(version)


def _equality(kind: TypeEngine[Any]) -> Callable[[Any, Any], bool]:
    """Return what tells whether two values of a type are the same, as SQLAlchemy does."""
    inner = kind.impl_instance if isinstance(kind, TypeDecorator) else kind
    asks_values = type(inner).compare_values is TypeEngine.compare_values and (
        inner is kind or type(kind).compare_values is TypeDecorator.compare_values
    )
    return eq if asks_values else kind.compare_values


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
