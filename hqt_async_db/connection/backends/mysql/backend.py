"""MySQL and MariaDB through asyncmy or aiomysql."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from hqt_async_db.connection.backends.backend import (
    FROZEN_GRACE_S,
    Mode,
    Role,
    analyze,
    common_arguments,
    mode_options,
)
from hqt_async_db.connection.backends.mysql.connection import (
    connect_aiomysql,
    connect_asyncmy,
    roll_back_what_is_open,
)
from hqt_async_db.connection.backends.mysql.direct import MySQLDirect
from hqt_async_db.connection.backends.mysql.kill import Killer
from hqt_async_db.connection.backends.mysql.rollback import refuse_ended_transactions
from hqt_async_db.connection.backends.read_only import keep_read_only
from hqt_async_db.connection.connects import owning
from hqt_async_db.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import URL
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
    from sqlalchemy.pool import PoolProxiedConnection

    from hqt_async_db.connection.backends.direct import Direct
    from hqt_async_db.connection.options import Options
    from hqt_async_db.connection.sessions.transaction import Receipt
    from hqt_async_db.connection.urls import Target

# A value that does not fit is an error, and a key of 0 is a key.
_SQL_MODE: Final = "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO"

# Less would be rounded to 0, which is no limit.
_LEAST_S: Final = 0.001


class MySQL:
    """A server: one pool that writes, and one that the server keeps read-only."""

    has_two_engines = True

    def __init__(self, target: Target, options: Options) -> None:
        self._target = target
        self._options = options
        self._killers: dict[Role, Killer] = {}
        if options.pgbouncer:
            msg = "pgbouncer=True is for PostgreSQL"
            raise ConfigurationError(msg)

    def engine_url(self, role: Role) -> URL:
        """Return the URL, which is the same for both roles."""
        del role
        return self._target.url

    def engine_arguments(self, role: Role) -> dict[str, Any]:
        """Return the keyword arguments of ``create_async_engine``."""
        timeout_s = self._target.connect_timeout_s or self._options.connect_timeout_s
        limit = self._options.statement_timeout_s
        connect = connect_asyncmy if self._target.driver == "asyncmy" else connect_aiomysql
        connect_arguments = {
            "charset": "utf8mb4",
            "init_command": self._init_command(role),
            "connect_timeout": timeout_s,
            "local_infile": False,
            **self._target.connect_args,
            **self._options.connect_args,
            "async_creator_fn": owning(connect, timeout_s),
        }
        password = connect_arguments.get("password", self._target.url.password)
        if isinstance(password, str):
            connect_arguments["password"] = _in_utf8(password)
        if limit is not None:
            # The server's own limit cannot help where the server is frozen.
            connect_arguments.setdefault("read_timeout", limit + FROZEN_GRACE_S)
        return common_arguments(self._options, role) | {"connect_args": connect_arguments}

    def execution_options(self, mode: Mode) -> dict[str, Any]:
        """Return the execution options that make a connection keep the mode."""
        return mode_options(mode)

    def prepare(self, engine: AsyncEngine, role: Role) -> None:
        """Hold readers to reading, and end on the server what is cancelled here."""
        if role is Role.READ:
            keep_read_only(engine)
            _commit_transactions_alone(engine.sync_engine.dialect)
        roll_back_what_is_open(engine.sync_engine.dialect)
        self._killers[role] = Killer(engine)
        refuse_ended_transactions(engine)

    def direct(
        self, engines: Mapping[Role, AsyncEngine], record: Callable[[Receipt], None]
    ) -> Direct | None:
        """Return the driver's own interface."""
        return MySQLDirect(engines, self._options, record, self._killers[Role.WRITE])

    async def describe(self, connection: AsyncConnection) -> dict[str, Any]:
        """Return version and durability; one statement."""
        row = await connection.execute(
            text(
                "SELECT version() AS server_version, @@innodb_flush_log_at_trx_commit "
                "AS innodb_flush_log_at_trx_commit, @@read_only AS is_replica"
            )
        )
        facts = dict(row.one()._mapping)  # noqa: SLF001 - Row documents this name
        return facts | {"is_replica": bool(facts["is_replica"])}

    async def optimize(self, connection: AsyncConnection) -> dict[str, Any]:
        """Have the optimizer's statistics of every table of the database renewed."""
        tables = await connection.scalars(
            text(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = database() "
                "AND table_type = 'BASE TABLE' ORDER BY 1"
            )
        )
        quote = connection.dialect.identifier_preparer.quote_identifier
        names = [quote(name) for name in tables]
        return {"analyzed_tables": await analyze(connection, "ANALYZE TABLE", names)}

    async def end(self) -> None:
        """Do nothing: nothing runs beside the sessions."""

    async def settle(self) -> None:
        """Do nothing: the server keeps its files by itself."""

    def _init_command(self, role: Role) -> str:
        """Return the one statement that prepares a new connection."""
        seconds = max(1, math.ceil(self._options.lock_timeout_s))
        settings = [
            "time_zone='+00:00'",
            f"sql_mode=CONCAT_WS(',', NULLIF(@@sql_mode, ''), '{_SQL_MODE}')",
            f"innodb_lock_wait_timeout={seconds}",
            f"lock_wait_timeout={seconds}",
            # Drivers fetch warnings and log them, with the values in them.
            "max_error_count=0",
        ]
        read_only = int(role is Role.READ)
        # The two servers name these differently; each runs its own comment.
        mariadb, mysql = f"tx_read_only={read_only}", f"transaction_read_only={read_only}"
        if (limit := self._options.statement_timeout_s) is not None:
            mariadb += f", max_statement_time={max(limit, _LEAST_S):g}"
            mysql += f", max_execution_time={math.ceil(limit * 1000)}"
        return f"SET SESSION {', '.join(settings)} /*M!100000 , {mariadb} */ /*!50720 , {mysql} */"


def _in_utf8(password: str) -> str:
    """Return what the drivers, which encode it as Latin-1, send as UTF-8, as clients do."""
    return password.encode().decode("latin-1")


def _commit_transactions_alone(dialect: Any) -> None:
    """Save the round trip of a COMMIT where each statement has stood alone."""
    commit = dialect.do_commit

    def do_commit(connection: PoolProxiedConnection) -> None:
        if not dialect.detect_autocommit_setting(connection):
            commit(connection)

    dialect.do_commit = do_commit  # there is no event that could skip it
