"""Foreign keys of tables that are not ours, which stand in the way of dropping a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from hqt_async_db.errors import SchemaMismatchError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

# Each returns the tables that refer to another one, and that one. Those of another schema
# have its name before theirs.
_POSTGRESQL: Final = text(
    "SELECT DISTINCT CASE WHEN own.nspname = current_schema() THEN child.relname::text"
    " ELSE own.nspname || '.' || child.relname END, parent.relname::text"
    " FROM pg_constraint AS c"
    " JOIN pg_class AS child ON child.oid = c.conrelid"
    " JOIN pg_namespace AS own ON own.oid = child.relnamespace"
    " JOIN pg_class AS parent ON parent.oid = c.confrelid"
    " JOIN pg_namespace AS theirs ON theirs.oid = parent.relnamespace"
    " WHERE c.contype = 'f' AND theirs.nspname = current_schema()"
)
_MYSQL: Final = text(
    "SELECT DISTINCT CASE WHEN constraint_schema = DATABASE() THEN table_name"
    " ELSE CONCAT(constraint_schema, '.', table_name) END, referenced_table_name"
    " FROM information_schema.referential_constraints"
    " WHERE unique_constraint_schema = DATABASE()"
)
_SQLITE: Final = text(
    'SELECT DISTINCT m.name, lower(f."table")'
    " FROM sqlite_master AS m JOIN pragma_foreign_key_list(m.name) AS f WHERE m.type = 'table'"
)
_QUERIES: Final = {
    "postgresql": _POSTGRESQL,
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
    "sqlite": _SQLITE,
}


def references_from_outside(connection: Connection, tables: Iterable[str]) -> list[tuple[str, str]]:
    """Return which other tables refer to which of these, in one statement."""
    names = set(tables)
    if connection.dialect.name == "sqlite":  # where capitals make no difference
        names |= {name.lower() for name in names}
    rows = connection.execute(_QUERIES[connection.dialect.name])
    return sorted((row[0], row[1]) for row in rows if row[1] in names and row[0] not in names)


def refuse_references(connection: Connection, dropped: Iterable[str]) -> None:
    """Refuse to drop tables that others refer to, before the first of them is gone.

    Raises:
        SchemaMismatchError: A table that stays refers to one of them.
    """
    found = references_from_outside(connection, dropped)
    if found:
        shown = "; ".join(f"{child} refers to {parent}" for child, parent in found)
        msg = (
            "other tables refer to those that would be dropped, so nothing was changed: "
            f"{shown}. Drop these tables, or their foreign keys, before"
        )
        raise SchemaMismatchError(msg)
