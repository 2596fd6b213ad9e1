"""The schema that a database has, beside that of the models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from hqt_async_db.backup.reading.query import TableQuery
from hqt_async_db.backup.tables import all_tables, is_own, stored_columns
from hqt_async_db.connection.translation.translate import translated
from hqt_async_db.errors import SchemaMismatchError
from hqt_async_db.migrations.environment import VERSION_TABLE
from hqt_async_db.migrations.schema import read_state
from hqt_async_db.migrations.scripts import head_of, load_scripts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Table

    from hqt_async_db.backup.snapshot import Snapshot

_OF_SQLITE: Final = "SELECT name FROM pragma_table_xinfo(:name)"
_OF_SERVERS: Final = (
    "SELECT column_name FROM information_schema.columns "
    "WHERE table_schema = {}() AND table_name = :name ORDER BY ordinal_position"
)
_OF_MYSQL: Final = _OF_SERVERS.format("database")
_COLUMNS: Final = {
    "sqlite": text(_OF_SQLITE),
    "postgresql": text(_OF_SERVERS.format("current_schema")),
    "mysql": text(_OF_MYSQL),
    "mariadb": text(_OF_MYSQL),
}


class ColumnName(NamedTuple):
    """A column, by the names that the database has for it and its table."""

    table: str
    name: str

    def __str__(self) -> str:
        """Return it as an error shows it."""
        return f"{self.table}.{self.name}"


@dataclass(frozen=True, slots=True)
class Layout:
    """The schema that a snapshot sees.

    Our tables have the columns of their revision. Those of the application's
    own models have what its migrations made of them, which may be older or
    newer than the models.

    Attributes:
        revision: What it was stamped with, None if it was not.
        is_newest: Whether the rows of our tables are what the models of this
            version say.
        tables: Those of the models that exist, those referenced first, with
            the columns that both have.
        others: Names of the tables that are of no model.
        further: Columns of the tables that no model has.
        missing: Tables, and columns of the tables, of the application's own
            models that there are not.
    """

    revision: str | None
    is_newest: bool
    tables: Sequence[TableQuery]
    others: Sequence[str]
    further: Sequence[ColumnName]
    missing: Sequence[str]


async def layout_of(view: Snapshot) -> Layout:
    """Return the schema that a snapshot sees; a statement more for each table of one's own."""
    scripts = await load_scripts()
    connection = await view.session.connection()
    with translated():
        state = await connection.run_sync(read_state)
    known = {table: [column.name for column in table.columns] for table in all_tables()}
    there = {
        table: await _names_in(view, table) if is_own(table) else known[table]
        for table in known
        if table.name in state.tables
    }
    missing = [table.name for table in known if is_own(table) and table not in there]
    for table, names in there.items():
        missing += map(str, _beyond(table, known[table], names))
    return Layout(
        revision=state.revision,
        is_newest=state.revision == head_of(scripts),
        tables=[TableQuery(table, stored_columns(table, there[table])) for table in there],
        others=sorted(state.tables - {table.name for table in there} - {VERSION_TABLE}),
        further=[one for table in there for one in _beyond(table, there[table], known[table])],
        missing=missing,
    )


async def _names_in(view: Snapshot, table: Table) -> Sequence[str]:
    """Return the names of the columns that a table has."""
    statement = _COLUMNS[view.session.get_bind().dialect.name]
    return (await view.session.scalars(statement, {"name": table.name})).all()


def _beyond(table: Table, names: Sequence[str], others: Sequence[str]) -> list[ColumnName]:
    """Return the columns of some names that are not among the others."""
    known = {name.lower() for name in others}
    return [ColumnName(table.name, name) for name in names if name.lower() not in known]


def refuse_older(layout: Layout, way_out: str, *, whose: str = "the database") -> None:
    """Refuse a schema whose rows this version cannot name.

    Args:
        layout: The schema.
        way_out: What to do instead, for the error.
        whose: What to call it there.

    Raises:
        SchemaMismatchError: It is not the newest, or lacks tables that it should have.
    """
    if not layout.is_newest:
        msg = f"{whose} is at revision {layout.revision or 'base'}, not at the newest; "
        raise SchemaMismatchError(msg + way_out)
    refuse_incomplete(layout, whose=whose)


def refuse_incomplete(layout: Layout, *, whose: str = "the database") -> None:
    """Refuse a schema without tables that its revision has; no restore would take its rows.

    Raises:
        SchemaMismatchError: It lacks some; names them.
    """
    there = {query.table for query in layout.tables}
    lacking = [t.name for t in all_tables() if not is_own(t) and t not in there]
    if layout.is_newest and lacking:
        msg = (
            f"{whose} lacks tables that its revision has: {', '.join(lacking)}; restore a backup, "
            "or make them again"
        )
        raise SchemaMismatchError(msg)
