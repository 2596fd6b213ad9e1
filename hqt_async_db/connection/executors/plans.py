"""Statements compiled once: how values are bound to them and their rows read.

SQLAlchemy compiles a statement and gives out what prepares its values and
reads its columns; a plan keeps these, so that a call costs no more than they
do. What SQLAlchemy does beyond that, for statements that need it, a plan does
not do: then there is none, and the statement goes the plain way.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import Delete, Insert, Select, Table, Update
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.util import LRUCache

from hqt_async_db.connection.backends.direct import NoWayError
from hqt_async_db.connection.executors.bulk_direct import NO_CONTEXT, speaks_for_all
from hqt_async_db.connection.executors.effects import only_reads
from hqt_async_db.connection.executors.readers import reader_of, returned_reader, tuple_reader
from hqt_async_db.connection.translation.schema import Statement
from hqt_async_db.errors import HqtDbError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Column, Dialect
    from sqlalchemy.orm import Mapper
    from sqlalchemy.sql.compiler import ExpandedState
    from sqlalchemy.sql.schema import DefaultGenerator

    from hqt_async_db.connection.backends.direct import Parameters
    from hqt_async_db.connection.executors.fetching import Shape
from hqt_async_db.connection.executors.readers import Reader

# Begins the name of a template's parameter that sets a column; the column's key follows.
SETS: Final = "hqt_new_"
_MOST_COMPILED: Final = 500


class Plan:
    """One statement, compiled for one dialect.

    It holds neither the statement nor what it was compiled to, with which it
    is forgotten.

    Attributes:
        sql: Its text.
        reader: What makes something of its rows, None without any.
        written: What it writes, None for a SELECT.
        returns: Whether it has a RETURNING.
        only_reads: Whether it is known to do no more than to read tables.
    """

    def __init__(
        self, compiled: SQLCompiler, reader: Reader | None, written: Statement | None
    ) -> None:
        processors: Any = compiled._bind_processors  # noqa: SLF001 - no public way to them
        names = compiled.positiontup if compiled.positional else compiled.bind_names.values()
        self.sql = str(compiled)
        self.reader = reader
        self.written = written
        self.returns = bool(compiled.effective_returning)
        self.only_reads = written is None and only_reads(self.sql)
        self._is_positional = compiled.positional
        self._binds = [(name, processors.get(name)) for name in names or ()]
        coerced = _bind_coerced(compiled)
        self._coerced_binds = [(name, coerced.get(name, full)) for name, full in self._binds]
        self._fixed = {
            compiled.bind_names[bind]: bind.effective_value
            for bind in compiled.bind_names
            if not bind.required
        }
        self._defaults = _defaults_of(compiled)

    def expanded(self, state: ExpandedState) -> Plan:
        """Return this plan for lists of certain lengths, with a parameter for each value."""
        plan = copy(self)
        known = dict(self._binds)
        plan.sql = state.statement
        plan._binds = [  # noqa: SLF001 - a copy of this very object
            (name, state.processors.get(name, known.get(name)))
            for name in (state.positiontup if self._is_positional else state.parameters) or ()
        ]
        return plan

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the value of each parameter, defaults included.

        Args:
            given: Values of the statement's named parameters.

        Raises:
            NoWayError: A default needs more of SQLAlchemy than there is.
        """
        values = {**self._fixed, **given}
        for name, default in self._defaults:
            values[name] = default.arg(NO_CONTEXT) if default.is_callable else default.arg
        return values

    def columns_with_value(self, values: Mapping[str, Any]) -> frozenset[str]:
        """Return the columns that are given a value other than NULL, among other names."""
        given = [name for name, value in values.items() if value is not None]
        return frozenset([name.removeprefix(SETS) for name in given])

    def bound(self, values: Mapping[str, Any], *, are_coerced: bool = False) -> Parameters:
        """Return the parameters for the driver, in their order or by name.

        Args:
            values: The value of each parameter.
            are_coerced: Whether those that set columns are what the types of
                these made of them for this backend, so that none is looked at
                again.

        Raises:
            InvalidInputError: A value does not fit its column.
            NoWayError: SQLAlchemy has more to say about what does not fit.
        """
        try:
            bound = [
                values[name] if process is None else process(values[name])
                for name, process in (self._coerced_binds if are_coerced else self._binds)
            ]
        except HqtDbError:
            raise
        except Exception as error:
            raise NoWayError from error
        if self._is_positional:
            return tuple(bound)
        return {name: value for (name, _), value in zip(self._binds, bound, strict=True)}


class Plans:
    """The plans of one dialect; statements that are alike share one.

    Args:
        dialect: What they are compiled for; it must know its server.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._compiled: Any = LRUCache(_MOST_COMPILED)
        self._by_compiled: WeakKeyDictionary[SQLCompiler, dict[Shape, Plan | None]] = (
            WeakKeyDictionary()
        )
        self._by_statement: WeakKeyDictionary[Any, dict[Shape, Plan | None]] = WeakKeyDictionary()

    def of_template(self, statement: Any, shape: Shape) -> Plan | None:
        """Return the plan of a statement that is kept and used again.

        All that changes from call to call are its named parameters.
        """
        plans = self._by_statement.setdefault(statement, {})
        if shape not in plans:
            self._require_returning(statement)
            compiled = statement.compile(dialect=self._dialect)
            has_lists = bool(getattr(compiled, "post_compile_params", ()))
            plans[shape] = None if has_lists else self._make(statement, compiled, shape)
        return plans[shape]

    def of_returning(self, statement: Insert, mapper: Mapper[Any]) -> Plan | None:
        """Return a plan, kept by the caller, of an INSERT that returns instances of a model."""
        self._require_returning(statement)
        compiled: Any = statement.compile(dialect=self._dialect)
        if not _is_plain(statement, compiled):
            return None
        reader = returned_reader(mapper, compiled, self._dialect)
        return None if reader is None else Plan(compiled, reader, _written_by(statement))

    def of(self, statement: Any, shape: Shape) -> tuple[Plan | None, Mapping[str, Any]]:
        """Return the plan of any statement, and the values of its parameters.

        Raises:
            NoWayError: A parameter has none; SQLAlchemy says which.
        """
        compiled, extracted, *_ = statement._compile_w_cache(  # noqa: SLF001 - what SQLAlchemy's own cache is behind
            self._dialect, compiled_cache=self._compiled, column_keys=[]
        )
        plans = self._by_compiled.setdefault(compiled, {})
        if shape not in plans:
            plans[shape] = self._make(statement, compiled, shape)
        plan = plans[shape]
        if plan is None:
            return None, {}
        try:
            # Another statement like this one may have been compiled, with its own values.
            values: Any = compiled.construct_params(
                extracted_parameters=extracted, escape_names=False
            )
            if compiled.post_compile_params:
                # Takes the lists out of the values, and puts what is in them there.
                plan = plan.expanded(compiled._process_parameters_for_postcompile(values))  # noqa: SLF001 - no public way for more than a string
        except (InvalidRequestError, TypeError) as error:
            raise NoWayError from error
        return plan, values

    def _require_returning(self, statement: Any) -> None:
        """Refuse an INSERT that returns rows where the database cannot do so, as MySQL.

        Raises:
            NoWayError: It cannot.
        """
        if getattr(statement, "_returning", ()) and not self._dialect.insert_returning:
            raise NoWayError

    def _make(self, statement: Any, compiled: Any, shape: Shape) -> Plan | None:
        if not _is_plain(statement, compiled):
            return None
        written = _written_by(statement)
        if isinstance(statement, Select):
            reader = reader_of(statement, compiled, shape, self._dialect)
            return None if reader is None else Plan(compiled, reader, None)
        if written is None:
            return None
        if not compiled.effective_returning:
            return Plan(compiled, None, written)
        reader = tuple_reader(compiled, self._dialect)
        return None if reader is None else Plan(compiled, reader, written)


def _bind_coerced(compiled: SQLCompiler) -> dict[str, Any]:
    """Return what is left to do for values of template parameters that types have coerced."""
    return {
        name: bind.type.bind_coerced(compiled.dialect)
        for bind, name in compiled.bind_names.items()
        if name.startswith(SETS) and speaks_for_all(bind.type, "bind_coerced")
    }


def _is_plain(statement: Any, compiled: Any) -> bool:
    """Tell whether to run a statement is to bind its values and send its text."""
    return (
        isinstance(compiled, SQLCompiler)
        and (compiled.positional or not compiled.escaped_bind_names)
        and not compiled.literal_execute_params
        and not getattr(statement, "_with_options", ())
        and getattr(statement, "_for_update_arg", None) is None
        and not statement.get_execution_options()
        and all(_is_simple(column.default) for column in compiled.insert_prefetch)
        and all(_is_simple(column.onupdate) for column in compiled.update_prefetch)
    )


def _is_simple(default: DefaultGenerator | None) -> bool:
    return default is not None and (default.is_scalar or default.is_callable)


def _defaults_of(compiled: SQLCompiler) -> list[tuple[str, Any]]:
    """Return the columns that Python fills in, by their parameters, and with what."""
    if not compiled.insert_prefetch and not compiled.update_prefetch:
        return []
    name_of: Any = compiled._within_exec_param_key_getter  # noqa: SLF001 - names them as SQLAlchemy does
    inserted = [(name_of(column), column.default) for column in compiled.insert_prefetch]
    return inserted + [(name_of(column), column.onupdate) for column in compiled.update_prefetch]


def _written_by(statement: Any) -> Statement | None:
    table: Column[Any] | Any = getattr(statement, "table", None)
    if not isinstance(table, Table):
        return None
    if isinstance(statement, Insert):
        return Statement(table, "insert")
    if isinstance(statement, Update):
        return Statement(table, "update")
    return Statement(table, "delete") if isinstance(statement, Delete) else None
