"""What the ``alembic`` command runs.

The URL comes from ``-x url=…``, else from HQT_DATABASE_URL, else from
``sqlalchemy.url`` in alembic.ini; any URL that DatabaseManager takes is good.
A program that calls ``alembic.command`` itself may hand over a connection, in
a transaction of its own, as ``config.attributes["connection"]``.

Offline (``--sql``) the URL only says for which database to write the script.
MySQL and MariaDB differ there: use ``mariadb://`` for MariaDB. Have the client
stop at the first error: ``psql -v ON_ERROR_STOP=1``, ``sqlite3 -bail``.

Autogenerate leaves tables alone that no model of ours describes, so dropping
the table of a deleted model is written by hand.
"""
# ruff: noqa: INP001 - an __init__.py here would shadow the alembic package

import asyncio
import os
from logging.config import fileConfig

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from hqt_async_db import DatabaseManager
from hqt_async_db.migrations.environment import (
    guarded,
    half_applied,
    is_transactional,
    options,
)


def database_url() -> str:
    """Return the URL that the command line, the environment or the file names."""
    url = (
        context.get_x_argument(as_dictionary=True).get("url")
        or os.environ.get("HQT_DATABASE_URL")
        or context.config.get_main_option("sqlalchemy.url")
    )
    if not url:
        msg = "no database URL: pass -x url=..., or set HQT_DATABASE_URL"
        raise CommandError(msg)
    return url


def write_script() -> None:
    """Write SQL for a database administrator instead of running it."""
    # The constructor connects to nothing; it knows what people's URLs mean.
    name = DatabaseManager(database_url()).engine.dialect.name
    context.configure(
        dialect_name=name,
        dialect_opts={"paramstyle": "named"},
        literal_binds=True,
        **options(name),
    )
    if name == "sqlite":
        context.execute("PRAGMA foreign_keys=OFF")
    with context.begin_transaction():
        context.run_migrations()
    if name == "sqlite":
        context.execute("PRAGMA foreign_keys=ON")


def run(connection: Connection) -> None:
    """Run the command on a connection that the caller commits."""
    name = connection.dialect.name
    context.configure(connection=connection, **options(name))
    migration = context.get_context()
    if migration._migrations_fn is not None:  # noqa: SLF001 - configure() takes no other
        migration._migrations_fn = guarded(migration._migrations_fn)  # noqa: SLF001 - as above
    try:
        with context.begin_transaction():
            context.run_migrations()
    except DBAPIError as error:
        if not is_transactional(name):
            error.add_note(half_applied("if a revision was running, it"))
        raise


async def connect_and_run() -> None:
    """Run the command under the schema lock of the database."""
    async with (
        DatabaseManager(database_url()) as db,
        db.engine.connect() as connection,
        db.schema_lock(connection),
    ):
        await connection.run_sync(run)


if context.config.config_file_name is not None:
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)

given = context.config.attributes.get("connection")
if context.is_offline_mode():
    write_script()
elif given is not None:
    run(given)
else:
    asyncio.run(connect_and_run())
