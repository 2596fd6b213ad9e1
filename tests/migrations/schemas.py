"""The whole schema of a database as text, to compare two databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection, Row
    from sqlalchemy.ext.asyncio import AsyncEngine

_POSTGRESQL = """
SELECT c.relname, 'column ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
       || ' ' || coalesce(quote_ident(l.collname), '-') || ' ' || a.attnotnull
       || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '-') || ' ' || a.attnum
  FROM pg_class c
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_collation l ON l.oid = a.attcollation
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
UNION ALL
SELECT conrelid::regclass::text, 'constraint ' || conname || ' ' || pg_get_constraintdef(oid)
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT tablename, 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
"""


async def schema_of(engine: AsyncEngine) -> dict[str, list[str]]:
    """Return, for each table, what it is made of, in an order of its own."""
    async with engine.connect() as connection:
        return await connection.run_sync(_read)


def _read(connection: Connection) -> dict[str, list[str]]:
    lines: dict[str, list[str]] = {}
    for table, line in _LINES[connection.dialect.name](connection):
        lines.setdefault(table, []).append(line)
    return {table: sorted(found) for table, found in sorted(lines.items())}


def _postgresql(connection: Connection) -> list[tuple[str, str]]:
    return [(table, line) for table, line in connection.execute(text(_POSTGRESQL))]


def _sqlite(connection: Connection) -> list[tuple[str, str]]:
    query = "SELECT tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    return _split(connection.exec_driver_sql(query))


def _mysql(connection: Connection) -> list[tuple[str, str]]:
    names = inspect(connection).get_table_names()
    shown = [connection.exec_driver_sql(f"SHOW CREATE TABLE {name}") for name in names]
    return _split([result.one() for result in shown])


def _split(statements: Iterable[Row[str, str]]) -> list[tuple[str, str]]:
    # Neither the order of constraints nor the quotes of a renamed table mean anything.
    return [
        (table, line.strip().rstrip(",").replace('"', ""))
        for table, sql in statements
        for line in sql.splitlines()
        if line.strip()
    ]


_LINES = {"postgresql": _postgresql, "sqlite": _sqlite, "mysql": _mysql, "mariadb": _mysql}
