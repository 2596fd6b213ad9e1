"""Foreign keys as the database knows them, of tables that are not ours too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from hqt_async_db.errors import SchemaMismatchError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

# One row for each column of a foreign key: whether its table is one of those that names without
# a schema mean, schema, table, constraint and column; what it refers to; and whether the database
# minds it at the end of a transaction only.
_POSTGRESQL: Final = text(
    "SELECT pg_table_is_visible(held.oid), space.nspname, held.relname, link.oid, own.attname, "
    "target.relname, other.attname, link.condeferred AND link.confdeltype = 'a' "
    "FROM pg_constraint AS link "
    "JOIN pg_class AS held ON held.oid = link.conrelid "
    "JOIN pg_namespace AS space ON space.oid = held.relnamespace "
    "JOIN pg_class AS target ON target.oid = link.confrelid "
    "CROSS JOIN LATERAL unnest(link.conkey, link.confkey) WITH ORDINALITY AS pair (own, other, at) "
    "JOIN pg_attribute AS own ON own.attrelid = link.conrelid AND own.attnum = pair.own "
    "JOIN pg_attribute AS other ON other.attrelid = link.confrelid AND other.attnum = pair.other "
    "WHERE link.contype = 'f' AND link.conparentid = 0 AND pg_table_is_visible(target.oid) "
    "ORDER BY link.oid, pair.at"
)
_MYSQL: Final = text(
    "SELECT table_schema = DATABASE(), table_schema, table_name, constraint_name, column_name, "
    "referenced_table_name, referenced_column_name, 0 FROM information_schema.key_column_usage "
    "WHERE referenced_table_schema = DATABASE() "
    "ORDER BY table_schema, table_name, constraint_name, ordinal_position"
)
_SQLITE: Final = text(
    'SELECT 1, NULL, held.name, link.id, link."from", link."table", link."to", 0 '
    "FROM sqlite_master AS held JOIN pragma_foreign_key_list(held.name) AS link "
    "WHERE held.type = 'table' ORDER BY held.name, link.id, link.seq"
)
FOREIGN_KEYS: Final = {
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
    found = set()
    for is_here, schema, name, *_, target, _, _ in connection.execute(
        FOREIGN_KEYS[connection.dialect.name]
    ):
        child = name if is_here else f"{schema}.{name}"
        parent = target.lower() if connection.dialect.name == "sqlite" else target
        if parent in names and child not in names:
            found.add((child, parent))
    return sorted(found)


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
