"""What is read, and what it is read as."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import exc as sa_exc
from sqlalchemy import select

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Column, ColumnElement, Dialect, Select, Table

BLOCK_BYTES: Final = 262_144


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


def literal_sql(statement: Select[Any], dialect: Dialect) -> str | None:
    """Return a SELECT with its values in it, quoted by their types.

    Returns:
        None where a value has no literal; it must be bound, or is refused.
    """
    try:
        return str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    except sa_exc.CompileError:
        return None
