"""What is read, and what it is read as."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import Boolean, and_, literal_column, select
from sqlalchemy import exc as sa_exc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Column, ColumnElement, Dialect, Select, Table

    from hqt_async_db.backup.formats.encode import Format

BLOCK_BYTES: Final = 262_144
_EVERY_ROW: Final = "1 = 1 /* every row */"


class TableQuery(NamedTuple):
    """Which rows and columns of a table, always in the order of its key."""

    table: Table
    columns: tuple[Column[Any], ...]
    criteria: Sequence[ColumnElement[bool]] = ()

    def select(self, written: Sequence[ColumnElement[Any]] | None = None) -> Select[Any]:
        """Return the SELECT.

        Args:
            written: Expressions to select instead of the columns.
        """
        statement = select(*(self.columns if written is None else written))
        rows = statement.select_from(self.table).where(*self.criteria)
        return rows.order_by(*self.table.primary_key.columns)


class Block(NamedTuple):
    """Canonical text of whole rows, without a header or brackets.

    Attributes:
        content: The lines.
        rows: How many rows they are. Where a line feed may be part of a
            value they are counted at the end, in a block without content.
    """

    content: bytes
    rows: int


def literal_sql(
    build: Callable[[TableQuery, Format], Select[Any]],
    query: TableQuery,
    form: Format,
    dialect: Dialect,
) -> str | None:
    """Return a SELECT with its values in it, quoted by their types.

    Compiling many columns takes milliseconds: it is done once for all queries
    that differ in their criteria.

    Args:
        build: Makes the SELECT.
        query: Which rows and columns.
        form: What they are written as.
        dialect: The backend.

    Returns:
        None where a value has no literal; it must be bound, or is refused.
    """
    template = _template(build, query.table, query.columns, form, dialect)
    if not query.criteria:
        return template
    try:
        criteria = and_(*query.criteria).compile(
            dialect=dialect, compile_kwargs={"literal_binds": True}
        )
    except sa_exc.CompileError:
        return None
    return template.replace(_EVERY_ROW, f"({criteria})", 1)


@lru_cache(maxsize=256)
def _template(
    build: Callable[[TableQuery, Format], Select[Any]],
    table: Table,
    columns: tuple[Column[Any], ...],
    form: Format,
    dialect: Dialect,
) -> str:
    query = TableQuery(table, columns, (literal_column(_EVERY_ROW, Boolean),))
    return str(build(query, form).compile(dialect=dialect))
