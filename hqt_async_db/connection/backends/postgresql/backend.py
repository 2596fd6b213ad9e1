"""PostgreSQL through asyncpg or psycopg."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import event, text

from hqt_async_db.connection.backends.backend import (
    FROZEN_GRACE_S,
    Mode,
    Role,
    analyze,
    common_arguments,
    mode_options,
)
from hqt_async_db.connection.backends.postgresql.asyncpg_direct import AsyncpgDirect
from hqt_async_db.connection.backends.postgresql.commit import (
    asyncpg_connection,
    psycopg_connection,
)
from hqt_async_db.connection.backends.postgresql.psycopg_direct import PsycopgDirect
from hqt_async_db.connection.backends.read_only import OWN_STATEMENT, keep_read_only
from hqt_async_db.connection.connects import owning

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import URL, Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from hqt_async_db.connection.backends.direct import Direct
    from hqt_async_db.connection.options import Options
    from hqt_async_db.connection.sessions.transaction import Receipt
    from hqt_async_db.connection.urls import Target


class PostgreSQL:
    """A server: one pool that writes, and one that the server keeps read-only."""

    has_two_engines = True

    def __init__(self, target: Target, options: Options) -> None:
        self._target = target
        self._options = options
        self._timeout_s = target.connect_timeout_s or options.connect_timeout_s

    def engine_url(self, role: Role) -> URL:
        """Return the URL, which is the same for both roles."""
        del role
        return self._target.url

    def engine_arguments(self, role: Role) -> dict[str, Any]:
        """Return the keyword arguments of ``create_async_engine``."""
        arguments = common_arguments(self._options, role)
        if self._options.pgbouncer:
            arguments["isolation_level"] = "READ COMMITTED"
        build = self._asyncpg if self._target.driver == "asyncpg" else self._psycopg
        return arguments | {"connect_args": build(role)}

    def execution_options(self, mode: Mode) -> dict[str, Any]:
        """Return the execution options that make a connection keep the mode."""
        if self._options.pgbouncer and mode.is_read_only:
            # A session setting would stay behind on the pooler's connection.
            level = "READ COMMITTED" if mode is Mode.READ_ONLY else mode.isolation_level
            return {"isolation_level": level, "postgresql_readonly": True}
        return mode_options(mode)

    def prepare(self, engine: AsyncEngine, role: Role) -> None:
        """Hold readers to reading; behind pgbouncer, limit each transaction.

        The limits cost a round trip: a setting of the session would stay with
        the pooler's connection.
        """
        if role is Role.READ:
            keep_read_only(engine)
        if not self._options.pgbouncer:
            return
        limits = self._limits().items()
        calls = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in limits)

        @event.listens_for(engine.sync_engine, "begin")
        def _limit(connection: Connection) -> None:
            connection.exec_driver_sql(f"SELECT {calls}", execution_options=OWN_STATEMENT)

    def direct(
        self, engines: Mapping[Role, AsyncEngine], record: Callable[[Receipt], None]
    ) -> Direct | None:
        """Return the driver's own interface; None behind pgbouncer.

        There a prepared statement would have to be sent in a transaction.
        """
        if self._options.pgbouncer:
            return None
        direct = AsyncpgDirect if self._target.driver == "asyncpg" else PsycopgDirect
        return direct(engines, self._options, record)

    async def describe(self, connection: AsyncConnection) -> dict[str, Any]:
        """Return version and durability; one statement."""
        row = await connection.execute(
            text(
                "SELECT current_setting('server_version') AS server_version, "
                "current_setting('synchronous_commit') AS synchronous_commit, "
                "pg_is_in_recovery() AS is_replica"
            )
        )
        return dict(row.one()._mapping)  # noqa: SLF001 - Row documents this name

    async def optimize(self, connection: AsyncConnection) -> dict[str, Any]:
        """Have the planner's statistics of every table of the schema renewed."""
        tables = await connection.scalars(
            text(
                "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables "
                "WHERE schemaname = current_schema() ORDER BY 1"
            )
        )
        return {"analyzed_tables": await analyze(connection, "ANALYZE", tables.all())}

    async def end(self) -> None:
        """Do nothing: nothing runs beside the sessions."""

    async def settle(self) -> None:
        """Do nothing: the server keeps its files by itself."""

    def _settings(self, role: Role) -> dict[str, str]:
        read_only = "on" if role is Role.READ else "off"
        return self._limits() | {
            "timezone": "UTC",
            "default_transaction_read_only": read_only,
            "default_transaction_isolation": "read committed",
        }

    def _limits(self) -> dict[str, str]:
        limits = {"lock_timeout": _milliseconds(self._options.lock_timeout_s)}
        if self._options.statement_timeout_s is not None:
            limits["statement_timeout"] = _milliseconds(self._options.statement_timeout_s)
        return limits

    def _asyncpg(self, role: Role) -> dict[str, Any]:
        import asyncpg  # noqa: PLC0415 - only what is used

        arguments = {**self._target.connect_args, **self._options.connect_args}
        arguments.setdefault("timeout", self._timeout_s)
        arguments.setdefault("connection_class", asyncpg_connection())
        arguments["async_creator_fn"] = owning(asyncpg.connect, self._timeout_s)
        if (limit := self._options.statement_timeout_s) is not None:
            # The server's own limit cannot help where the server is frozen.
            arguments.setdefault("command_timeout", limit + FROZEN_GRACE_S)
        if self._options.pgbouncer:
            # Prepared statements belong to a server session, which changes
            # with every transaction: cache none, and give each its own name.
            return arguments | {
                "statement_cache_size": 0,
                "prepared_statement_cache_size": 0,
                "prepared_statement_name_func": lambda: f"hqt_{uuid.uuid4().hex}",
            }
        own = {"application_name": "hqt_async_db", **self._settings(role)}
        arguments["server_settings"] = own | arguments.get("server_settings", {})
        return arguments

    def _psycopg(self, role: Role) -> dict[str, Any]:
        arguments = {**self._target.connect_args, **self._options.connect_args}
        arguments.setdefault("connect_timeout", max(2, round(self._timeout_s)))
        limit = self._options.statement_timeout_s
        own = psycopg_connection(None if limit is None else limit + FROZEN_GRACE_S)
        arguments["async_creator_fn"] = owning(own.connect, self._timeout_s)
        if self._options.pgbouncer:
            return arguments | {"prepare_threshold": None}
        settings = {key: value.replace(" ", "\\ ") for key, value in self._settings(role).items()}
        options = " ".join(f"-c {key}={value}" for key, value in settings.items())
        given = self._target.url.query.get("options", "")
        arguments["options"] = f"{options} {arguments.get('options', given)}".strip()
        return arguments


def _milliseconds(seconds: float) -> str:
    """Return a limit as the server takes it, to whom 0 is none."""
    return f"{max(1, round(seconds * 1000))}"
