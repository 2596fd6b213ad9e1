"""The schema's history: upgrade, downgrade, check and stamp from code.

Everything here is awaitable, runs inside a running event loop and takes any
object with an ``engine`` and a ``schema_lock``, such as a DatabaseManager::

    from hqt_async_db import migrations

    await migrations.upgrade(db)

The same scripts serve the ``alembic`` command from a checkout.
"""

from hqt_async_db.migrations.commands import check, current, downgrade, history, stamp, upgrade
from hqt_async_db.migrations.locks import Migratable, schema_lock
from hqt_async_db.migrations.schema import create_schema, drop_schema
from hqt_async_db.migrations.scripts import Revision, script_location

__all__ = [
    "Migratable",
    "Revision",
    "check",
    "create_schema",
    "current",
    "downgrade",
    "drop_schema",
    "history",
    "schema_lock",
    "script_location",
    "stamp",
    "upgrade",
]
