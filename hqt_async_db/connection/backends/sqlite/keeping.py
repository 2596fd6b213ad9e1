"""SQLite asks the type of a column about what it computes, before it stores it.

The servers refuse what does not fit a column; SQLite keeps it, whatever it is.
Parameters are checked before they are sent, so that only expressions are asked
about: ``SET balance = hqt_kept(balance + equity, 'money', 'accounts.balance')``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ClauseElement, null
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler

from hqt_async_db.models.types import ColumnType
from hqt_async_db.models.types.kept import FITS, FUNCTION, keep, keeping, last_refusal

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from sqlalchemy import Insert, Update
    from sqlalchemy.sql.dml import DMLState


class KeepingCompiler(SQLiteCompiler):
    """SQLite's compiler, for a connection that :func:`install_function` was called for.

    It serves the values of an INSERT and an UPDATE, of the ORM's flush too.
    Nothing asks about those of INSERT FROM SELECT and ON CONFLICT.
    """

    def visit_update(self, update_stmt: Update, visiting_cte: Any = None, **kw: Any) -> str:
        """Render an UPDATE."""
        return str(super().visit_update(_kept(update_stmt), visiting_cte=visiting_cte, **kw))

    def visit_insert(
        self,
        insert_stmt: Insert,
        visited_bindparam: Any = None,
        visiting_cte: Any = None,
        **kw: Any,
    ) -> str:
        """Render an INSERT."""
        stock: Any = super()
        return str(stock.visit_insert(_kept(insert_stmt), visited_bindparam, visiting_cte, **kw))


def install_function(connection: Any) -> Any:
    """Have a connection know the SQL function; return what its method returned."""
    return connection.create_function(*FUNCTION, keep, deterministic=True)


def explain(error: sqlite3.DataError) -> None:
    """Have an error of this thread say what was refused; SQLite's says nothing of it."""
    reason = last_refusal()
    if reason is not None:
        error.args = (reason,)


def _kept(statement: Any) -> Any:
    """Return a statement whose values are wrapped once the ORM has resolved them."""
    copy = statement._clone()  # noqa: SLF001 - what SQLAlchemy's own compiler uses

    def compile_state(_: Any, compiler: Any, **kw: Any) -> DMLState:
        state: Any = statement._compile_state_factory(statement, compiler, **kw)  # noqa: SLF001
        if state._multi_parameters:  # noqa: SLF001
            state._multi_parameters = [_wrapped(state, row) for row in state._multi_parameters]  # noqa: SLF001
            state._dict_parameters = state._multi_parameters[0]  # noqa: SLF001
        elif state._dict_parameters:  # noqa: SLF001
            state._dict_parameters = _wrapped(state, state._dict_parameters)  # noqa: SLF001
        return state  # type: ignore[no-any-return]  # it is SQLAlchemy's private one

    copy._compile_state_factory = compile_state  # noqa: SLF001
    return copy


def _wrapped(state: Any, values: Mapping[Any, Any]) -> dict[Any, Any]:
    columns = state.dml_table.c
    return {
        key: _wrapped_value(columns.get(key) if isinstance(key, str) else key, value)
        for key, value in values.items()
    }


def _wrapped_value(column: Any, value: Any) -> Any:
    column_type = getattr(column, "type", None)
    is_computed = isinstance(value, ClauseElement) and not getattr(value, "_is_bind_parameter", 0)
    if not (is_computed and isinstance(column_type, ColumnType)):
        return value
    if value is null() or FITS in value._annotations:  # noqa: SLF001 - there is no other way
        return value
    return keeping(column_type, value)
