"""The commands that look: stats and health."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hqt_async_db.backup import DatabaseBackup
from hqt_async_db.cli.options import AsJson, Url
from hqt_async_db.cli.printing import print_json, print_table, say, size
from hqt_async_db.cli.running import run_with

if TYPE_CHECKING:
    from hqt_async_db.connection.manager import DatabaseManager


def stats(*, url: Url = None, as_json: AsJson = False) -> None:
    """Count the rows of every table, with their size and age."""
    found = run_with(lambda db: DatabaseBackup(db).get_database_stats(), url)
    if as_json:
        print_json(found)
        return
    columns = (found[key] for key in ("tables", "table_bytes", "oldest", "newest"))
    rows, sizes, oldest, newest = columns
    print_table(
        ("table", "rows", "size", "oldest row", "newest row"),
        ((name, rows[name], size(sizes[name]), oldest[name], newest[name]) for name in rows),
    )
    say(f"{found['total_rows']:,} rows, {size(found['size_bytes'])} in all; times in UTC")


def health(*, url: Url = None, as_json: AsJson = False) -> None:
    """Ask the database how it is: latency, durability, warnings."""
    found = run_with(_health, url)
    if as_json:
        print_json(found)
        return
    plain = {key: value for key, value in found.items() if not isinstance(value, dict | list)}
    print_table(("figure", "value"), plain.items())
    for warning in found["warnings"]:
        say(f"warning: {warning}")


async def _health(db: DatabaseManager) -> dict[str, Any]:
    return await db.health()
