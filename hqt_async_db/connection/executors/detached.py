"""Writing an instance that belongs to no session, without touching it first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Delete, delete
from sqlalchemy.ext.mutable import Mutable
from sqlalchemy.orm import make_transient_to_detached
from sqlalchemy.orm.attributes import flag_modified, instance_state, set_committed_value
from sqlalchemy.orm.base import NO_VALUE

from hqt_async_db.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy.orm import InstanceState, Mapper

_ABSENT: Final = object()


def twin_of(instance: Any) -> Any:
    """Return a detached copy of an instance, as it was loaded.

    Attaching the user's own object to a session, even for a moment, would
    let two tasks that update it at once meet inside of it.

    Raises:
        InvalidInputError: The instance was never stored, belongs to an open
            session, or lost its values in a rollback.
    """
    state = state_of(instance)
    mapper, changed = state.mapper, pending_values(instance)
    twin = mapper.class_manager.new_instance()
    for column, value in zip(mapper.primary_key, state.identity or (), strict=True):
        set_committed_value(twin, mapper.get_property_by_column(column).key, value)
    make_transient_to_detached(twin)
    for attribute in mapper.column_attrs:
        if attribute.key in instance.__dict__ and attribute.key not in changed:
            set_committed_value(twin, attribute.key, instance.__dict__[attribute.key])
    return twin


def pending_values(instance: Any) -> dict[str, Any]:
    """Return the column values that were assigned since the last load."""
    state = instance_state(instance)
    attributes = state.attrs
    return {
        column.key: instance.__dict__.get(column.key)
        for column in state.mapper.column_attrs
        # What SQLAlchemy computes for itself is no attribute.
        if column.key in attributes and attributes[column.key].history.has_changes()
    }


class Watch:
    """Tells what was changed in an instance while its values were on their way.

    Args:
        instance: The instance, which is about to be stored.
        names: The attributes to watch.
    """

    def __init__(self, instance: Any, names: Iterable[str]) -> None:
        self._state = instance_state(instance)
        loaded = instance.__dict__
        pending = self._state.committed_state
        # Of others it is enough that they are not pending yet.
        self._pending = {n: loaded.get(n, _ABSENT) for n in names if n in pending}
        values = {n: value for n, value in self._pending.items() if isinstance(value, Mutable)}
        self._witness = self._witness_of(values) if values else None

    def _witness_of(self, values: Mapping[str, Mutable]) -> Any:
        """Return a second instance that these values tell of their changes.

        The row's own was told already that they changed: it would not see another time.
        """
        witness = self._state.mapper.class_manager.new_instance()
        for name, value in values.items():
            witness.__dict__[name] = value
            value._parents[instance_state(witness)] = name  # noqa: SLF001 - as SQLAlchemy does
        return witness

    def has_changed(self, name: str) -> bool:
        """Tell whether an attribute was assigned to, or changed in place, since."""
        is_pending = name in self._state.committed_state
        if name not in self._pending:
            return is_pending
        is_same = self._state.dict.get(name, _ABSENT) is self._pending[name]
        if self._witness is not None and name in instance_state(self._witness).committed_state:
            return is_same or is_pending
        return is_pending and not is_same


def adopt(instance: Any, twin: Any, watch: Watch) -> None:
    """Give an instance the values that its twin was stored with."""
    names = instance_state(instance).mapper.column_attrs.keys()
    loaded = twin.__dict__
    set_all_loaded(instance, {name: loaded[name] for name in names if name in loaded}, watch)


def set_loaded(instance: Any, name: str, value: Any) -> None:
    """Set a value as if it had been loaded; what tracks changes in it is told."""
    if instance.__dict__.get(name, instance) is not value:
        # A value that tracks its own changes learns its row on assignment only.
        setattr(instance, name, value)
    set_committed_value(instance, name, instance.__dict__[name])


def set_all_loaded(instance: Any, values: Mapping[str, Any], watch: Watch) -> None:
    """Set values as if they had been loaded, which were checked; nothing is pending then.

    What was changed meanwhile, here or in other attributes, stays and is pending.
    """
    state, loaded = instance_state(instance), instance.__dict__
    for name, value in values.items():
        if watch.has_changed(name):
            _set_committed(instance, name, value)
        elif isinstance(value, Mutable):
            set_loaded(instance, name, value)
        else:
            loaded[name] = value
            state.committed_state.pop(name, None)
    if not state.committed_state and state.modified:
        state._commit_all(loaded)  # noqa: SLF001 - what SQLAlchemy does after a flush


def _set_committed(instance: Any, name: str, value: Any) -> None:
    """Note what is stored of an attribute that has another value by now."""
    state = instance_state(instance)
    if name not in state.committed_state:
        flag_modified(instance, name)
    is_tracked = isinstance(value, Mutable) or isinstance(instance.__dict__.get(name), Mutable)
    # What changes in place may be one and the same object; that is no change to SQLAlchemy.
    state.committed_state[name] = NO_VALUE if is_tracked else value


def delete_statement(instance: Any) -> Delete:
    """Return the DELETE of the row, in the version that was read.

    Raises:
        InvalidInputError: As for :func:`twin_of`.
    """
    return delete(instance_state(instance).mapper).where(*criteria_of(instance))


def criteria_of(instance: Any) -> list[Any]:
    """Return the criteria for the row of a detached instance, in the version that was read.

    Raises:
        InvalidInputError: As for :func:`twin_of`.
    """
    return row_criteria(state_of(instance))


def row_criteria(state: InstanceState[Any]) -> list[Any]:
    """Return the criteria for the row of an instance, in the version it has."""
    keys, versions = _identifying(state.mapper)
    wanted = dict(zip(keys, state.identity or (), strict=True))
    wanted |= {name: state.dict[name] for name in versions}
    return [getattr(state.mapper.class_, name) == value for name, value in wanted.items()]


def _identifying(mapper: Mapper[Any]) -> tuple[list[str], list[str]]:
    """Return the attributes of the primary key, and that of the version if there is one."""
    version: Any = mapper.version_id_col
    keys = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    return keys, [] if version is None else [mapper.get_property_by_column(version).key]


def state_of(instance: Any) -> InstanceState[Any]:
    """Return the state of an instance that is stored and in no session.

    Raises:
        InvalidInputError: As for :func:`twin_of`.
    """
    state: InstanceState[Any] = instance_state(instance)
    model = type(instance).__name__
    if state.key is None:
        msg = f"this {model} was never stored; create() it first"
        raise InvalidInputError(msg, field="instance")
    if state.session is not None:
        msg = f"this {model} belongs to an open session; use a repository bound to that session"
        raise InvalidInputError(msg, field="instance")
    # Those of a subclass are not loaded where its base was asked for.
    keys, versions = _identifying(state.mapper)
    if not state.expired_attributes.isdisjoint([*keys, *versions]):
        msg = f"this {model} lost its values in a rollback; read it again"
        raise InvalidInputError(msg, field="instance")
    return state
