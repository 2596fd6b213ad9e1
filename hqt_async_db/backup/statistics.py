"""How much a database holds, and how old it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Table, func, null, select, text

from hqt_async_db.backup.tables import all_tables

if TYPE_CHECKING:
    from sqlalchemy import Column

    from hqt_async_db.connection.manager import DatabaseManager
    from hqt_async_db.connection.sessions.session import Session

# What tells a row's age: when it was written, or else the moment it is about.
_TIMES: Final = ("created_at", "timestamp", "entry_time")

_HAS_DBSTAT: Final = text("SELECT count(*) FROM pragma_module_list WHERE name = 'dbstat'")
_SQLITE_SIZE: Final = text("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
_SQLITE_TABLES: Final = text(
    "SELECT tbl_name, sum(pgsize) FROM dbstat('main', 1) JOIN sqlite_schema USING (name)"
    " GROUP BY tbl_name"
)
_POSTGRESQL_SIZE: Final = text("SELECT pg_database_size(current_database())")
_POSTGRESQL_TABLES: Final = text(
    "SELECT relname, pg_total_relation_size(oid) FROM pg_class"
    " WHERE relkind = 'r' AND pg_table_is_visible(oid)"
)
_MYSQL_SIZE: Final = text(
    "SELECT sum(data_length + index_length) FROM information_schema.tables"
    " WHERE table_schema = database()"
)
_MYSQL_TABLES: Final = text(
    "SELECT table_name, data_length + index_length FROM information_schema.tables"
    " WHERE table_schema = database()"
)


async def get_database_stats(db: DatabaseManager) -> dict[str, Any]:
    """Return what :meth:`DatabaseBackup.get_database_stats` promises."""
    async with db.session(snapshot=True) as session:
        ages = {table.name: await _ages(session, table) for table in all_tables()}
        size_bytes, table_bytes = await _sizes(session, db.dialect_name)
    return {
        "total_rows": sum(rows for rows, _, _ in ages.values()),
        "tables": {name: rows for name, (rows, _, _) in ages.items()},
        "size_bytes": size_bytes,
        "table_bytes": {name: table_bytes.get(name) for name in ages},
        "oldest": {name: oldest for name, (_, oldest, _) in ages.items()},
        "newest": {name: newest for name, (_, _, newest) in ages.items()},
        "time_columns": {table.name: _name(time_column(table)) for table in all_tables()},
    }


def time_column(table: Table) -> Column[Any] | None:
    """Return the column that tells how old a row is; one's own model may have none."""
    return next((table.columns[name] for name in _TIMES if name in table.columns), None)


def _name(column: Column[Any] | None) -> str | None:
    return None if column is None else column.name


async def _ages(session: Session, table: Table) -> tuple[int, Any, Any]:
    """Return how many rows a table has, and when the first and the last are from."""
    moment = time_column(table)
    found = (null(), null()) if moment is None else (func.min(moment), func.max(moment))
    statement = select(func.count(), *found).select_from(table)
    rows, oldest, newest = (await session.execute(statement)).one()
    return rows, oldest, newest


async def _sizes(session: Session, dialect_name: str) -> tuple[int, dict[str, int]]:
    """Return the bytes of the database, and of those tables that are known."""
    if dialect_name == "sqlite":
        has_tables = await session.scalar(_HAS_DBSTAT)
        whole, tables = _SQLITE_SIZE, _SQLITE_TABLES if has_tables else None
    elif dialect_name == "postgresql":
        whole, tables = _POSTGRESQL_SIZE, _POSTGRESQL_TABLES
    else:
        whole, tables = _MYSQL_SIZE, _MYSQL_TABLES
    size_bytes = int(await session.scalar(whole) or 0)
    if tables is None:
        return size_bytes, {}
    found = await session.execute(tables)
    return size_bytes, {str(name): int(size or 0) for name, size in found}
