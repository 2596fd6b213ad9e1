"""What is read, and what it is read as."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import Label, and_, select
from sqlalchemy import exc as sa_exc

from hqt_async_db.connection.pacing import paced
from hqt_async_db.models.types import JsonDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Column, ColumnElement, Dialect, Select, Table

BLOCK_BYTES: Final = 262_144


class TableQuery(NamedTuple):
    """Which rows and columns of a table, always in the order of its key.

    Without one the database sorts them by all that can be compared.
    """

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
        return rows.order_by(*self.order)

    @property
    def order(self) -> list[ColumnElement[Any]]:
        """Return what the rows are sorted by; none where only JSON would be left."""
        if key := list(self.table.primary_key.columns):
            return list(key)
        compared = [c for c in self.table.columns if not isinstance(c.type, JsonDict)]
        # Where NULL belongs is for each backend to say.
        return [part for c in compared for part in ([c.is_(None), c] if c.nullable else [c])]


class Block(NamedTuple):
    """Canonical text of whole rows, without a header or brackets.

    Attributes:
        content: The lines.
        rows: How many rows they are. Where a line feed may be part of a
            value they are counted at the end, in a block without content.
    """

    content: bytes
    rows: int


async def literal_sql(
    query: TableQuery, written: Iterable[ColumnElement[Any]], dialect: Dialect
) -> str | None:
    """Return a SELECT with its values in it, quoted by their types.

    SQLAlchemy takes milliseconds to compile many columns, so they are compiled one by one,
    in steps that let other tasks run.

    Args:
        query: Which rows.
        written: What to select, made as they are asked for; those with a label are named so.
        dialect: The backend.

    Returns:
        None where a value has no literal; it must be bound, or is refused.
    """
    columns = [_column_sql(column, dialect) async for column in paced(written)]
    order = ", ".join([str(part.compile(dialect=dialect)) for part in query.order])
    rows = f"FROM {dialect.identifier_preparer.format_table(query.table)}"
    if query.criteria:
        try:
            compiled = and_(*query.criteria).compile(
                dialect=dialect, compile_kwargs={"literal_binds": True}
            )
        except sa_exc.CompileError:
            return None
        rows = f"{rows} WHERE {compiled}"
    return f"SELECT {', '.join(columns)} {rows}" + (f" ORDER BY {order}" if order else "")


def _column_sql(column: ColumnElement[Any], dialect: Dialect) -> str:
    if not isinstance(column, Label):
        return str(column.compile(dialect=dialect))
    name = dialect.identifier_preparer.quote(column.name)
    return f"{column.element.compile(dialect=dialect)} AS {name}"
