"""From the tuples of a driver to rows, dictionaries and detached instances.

What SQLAlchemy's own result and loading would make of the same tuples, for
models that need no more than their columns set.
"""

from __future__ import annotations

from inspect import getattr_static
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sqlalchemy import Boolean, Column, Integer, Row, String, inspect
from sqlalchemy.engine.result import SimpleResultMetaData

from hqt_async_db.connection.pacing import mapped
from hqt_async_db.models.states import STATE, StateOnDemand, adder_of_states
from hqt_async_db.models.types import ColumnType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy import Dialect, Select
    from sqlalchemy.orm import Mapper
    from sqlalchemy.sql.compiler import ResultColumnsEntry, SQLCompiler

    from hqt_async_db.connection.executors.fetching import Shape

    Processor: TypeAlias = "Callable[[Any], Any] | None"
    Make: TypeAlias = "Callable[[Sequence[Any]], Any]"

# Types whose values can be read without what a driver says of the column.
_READABLE: Final = (ColumnType, Integer, String, Boolean)
_EAGER: Final = frozenset({"joined", "subquery", "selectin", "immediate", False})


class Reader:
    """Makes one thing of each tuple, in steps that let other tasks run.

    Args:
        make: What makes it.
        mapper: The mapper of the instances that it makes, if it makes any.
    """

    def __init__(self, make: Make, mapper: Mapper[Any] | None = None) -> None:
        self._make = make
        self._mapper = mapper
        self._listeners = _count_of_listeners(mapper)

    def is_of_use(self) -> bool:
        """Tell whether nobody has begun to listen to the loading meanwhile."""
        return _count_of_listeners(self._mapper) == self._listeners

    async def read(self, rows: Sequence[Sequence[Any]]) -> list[Any]:
        """Return what the rows of a driver become."""
        return await mapped(self._make, rows)


def _count_of_listeners(mapper: Mapper[Any] | None) -> int:
    return 0 if mapper is None else len(mapper.class_manager.dispatch.load)


def reader_of(
    statement: Select[Any], compiled: SQLCompiler, shape: Shape, dialect: Dialect
) -> Reader | None:
    """Return the reader of a SELECT's rows, None if only SQLAlchemy can read them."""
    columns = compiled._result_columns or ()  # noqa: SLF001 - no public way to them
    processors = _processors_of(columns, dialect)
    if processors is None:
        return None
    if shape in ("instances", "page"):
        return _instance_reader(statement, columns, processors, shape)
    described = statement.column_descriptions
    if len(described) != len(columns):
        return None
    keys = [str(part["name"]) for part in described]
    if shape == "dicts":
        return Reader(_dict_maker(keys, processors))
    aliases = [
        (part["expr"], *entry.objects) for part, entry in zip(described, columns, strict=True)
    ]
    return Reader(_row_maker(keys, aliases, processors))


def _instance_reader(
    statement: Select[Any],
    columns: Sequence[ResultColumnsEntry],
    processors: Sequence[Processor],
    shape: Shape,
) -> Reader | None:
    entity = statement.column_descriptions[0]["entity"]
    if entity is None:
        return None
    mapper = inspect(entity)
    make = instance_maker(mapper, columns, processors)
    if make is None:
        return None
    return Reader(_paged(make, len(mapper.column_attrs), processors, shape), mapper)


def tuple_reader(compiled: SQLCompiler, dialect: Dialect) -> Reader | None:
    """Return the reader of a RETURNING's rows, None if only SQLAlchemy can read them."""
    processors = _processors_of(compiled._result_columns or (), dialect)  # noqa: SLF001 - as above
    if processors is None:
        return None

    def make(row: Sequence[Any]) -> tuple[Any, ...]:
        pairs = zip(processors, row, strict=True)
        return tuple([process(value) if process else value for process, value in pairs])

    return Reader(make)


def returned_reader(mapper: Mapper[Any], compiled: SQLCompiler, dialect: Dialect) -> Reader | None:
    """Return the reader of a RETURNING of all columns of a model, which makes instances."""
    columns = compiled._result_columns or ()  # noqa: SLF001 - as above
    processors = _processors_of(columns, dialect)
    make = None if processors is None else instance_maker(mapper, columns, processors)
    return None if make is None else Reader(make, mapper)


def _processors_of(
    columns: Sequence[ResultColumnsEntry], dialect: Dialect
) -> list[Processor] | None:
    if not columns or not all(isinstance(entry.type, _READABLE) for entry in columns):
        return None
    return [entry.type.dialect_impl(dialect).result_processor(dialect, None) for entry in columns]


def _row_maker(
    keys: Sequence[str], aliases: Sequence[tuple[Any, ...]], processors: Sequence[Processor]
) -> Make:
    parent = SimpleResultMetaData(keys, aliases)
    indexes = parent._key_to_index  # noqa: SLF001 - as SQLAlchemy's own results do
    needed: Any = tuple(processors) if any(processors) else None

    def make(row: Sequence[Any]) -> Row[Any]:
        return Row(parent, needed, indexes, row)

    return make


def _dict_maker(keys: Sequence[str], processors: Sequence[Processor]) -> Make:
    # By key: of columns that have the same name, the last is in the dictionary.
    by_key = dict(zip(keys, processors, strict=True))
    needed = [(key, process) for key, process in by_key.items() if process]

    def make(row: Sequence[Any]) -> dict[str, Any]:
        made = dict(zip(keys, row, strict=True))
        for key, process in needed:
            made[key] = process(made[key])
        return made

    return make


def _paged(make: Make, width: int, processors: Sequence[Processor], shape: Shape) -> Make:
    """Return ``make`` for instances alone, or for pages: instances and what follows them."""
    if shape == "instances":
        return make
    rest = list(enumerate(processors))[width:]

    def make_paged(row: Sequence[Any]) -> tuple[Any, ...]:
        return (make(row), *(process(row[i]) if process else row[i] for i, process in rest))

    return make_paged


def instance_maker(
    mapper: Mapper[Any], columns: Sequence[ResultColumnsEntry], processors: Sequence[Processor]
) -> Make | None:
    """Return what makes a detached, loaded instance of the columns a row begins with.

    None if the model wants more from its loading than that.
    """
    keys = _keys_of(mapper, columns)
    if keys is None or not is_plainly_loaded(mapper):
        return None
    needed = [(key, process) for key, process in zip(keys, processors, strict=False) if process]
    class_: Any = mapper.class_
    finish = finisher(mapper)
    # Whoever reads looks whether there are more listeners by then; see Reader.
    is_finished = _has_state_on_demand(mapper) and not mapper.class_manager.dispatch.load

    def make(row: Sequence[Any]) -> Any:
        instance = class_.__new__(class_)
        values = dict(zip(keys, row, strict=False))
        for key, process in needed:
            values[key] = process(values[key])
        values[STATE] = None
        instance.__dict__ = values
        if not is_finished:
            finish(instance)
        return instance

    return make


def finisher(mapper: Mapper[Any]) -> Callable[[Any], None]:
    """Return what makes an instance whose columns are set a stored, detached one."""
    loaded = mapper.class_manager.dispatch.load
    has_state_on_demand = _has_state_on_demand(mapper)
    add_state = adder_of_states(mapper)

    def finish(instance: Any) -> None:
        if has_state_on_demand and not loaded and instance.__dict__.setdefault(STATE, None) is None:
            return
        state: Any = add_state(instance)
        if loaded:
            loaded(state, None)
        if state.modified:
            state._commit_all(instance.__dict__)  # noqa: SLF001 - what SQLAlchemy does after a flush

    return finish


def _has_state_on_demand(mapper: Mapper[Any]) -> bool:
    return isinstance(getattr_static(mapper.class_, STATE, None), StateOnDemand)


def _keys_of(mapper: Mapper[Any], columns: Sequence[ResultColumnsEntry]) -> list[str] | None:
    """Return the attribute names of the columns that a row begins with."""
    keys: list[str] = []
    for entry in columns[: len(mapper.column_attrs)]:
        own = [part for part in entry.objects if isinstance(part, Column)]
        prop = mapper._columntoproperty.get(own[0]) if own else None  # noqa: SLF001 - the public one raises
        if prop is None:
            return None
        keys.append(prop.key)
    return keys if set(keys) == set(mapper.column_attrs.keys()) else None


def is_plainly_loaded(mapper: Mapper[Any]) -> bool:
    """Tell whether to load an instance is to set its columns, and no more."""
    return (
        mapper.inherits is None
        and mapper.polymorphic_on is None
        and len(mapper.tables) == 1
        and not mapper.composites
        and all(len(p.columns) == 1 and not p.deferred for p in mapper.column_attrs)
        and all(isinstance(p.columns[0], Column) for p in mapper.column_attrs)
        and not any(relationship.lazy in _EAGER for relationship in mapper.relationships)
        and listeners_need_no_context(mapper.class_manager.dispatch.load)
    )


def listeners_need_no_context(listeners: Iterable[Any]) -> bool:
    """Tell whether all of them are of those that make JSON report its changes."""
    return all(
        getattr(listener, "__module__", None) == "sqlalchemy.ext.mutable" for listener in listeners
    )
