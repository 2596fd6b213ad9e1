"""What differs between the backends, in one place per backend.

A backend turns options into the arguments of the engines and says how a
session's mode is expressed; ``sqlite``, ``postgresql`` and ``mysql`` are
the three. Everything else is the same for all.
"""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

from sqlalchemy.pool import NullPool

from hqt_async_db.connection.pool import TrackedPool, UnpooledPool
from hqt_async_db.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sqlalchemy import URL
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from hqt_async_db.connection.backends.direct import Direct
    from hqt_async_db.connection.options import Options
    from hqt_async_db.connection.sessions.transaction import Receipt

# How long after statement_timeout_s a server that says nothing is given up.
FROZEN_GRACE_S: Final = 1.0


class Role(StrEnum):
    """What the connections of an engine may do."""

    WRITE = "write"
    READ = "read"


class Mode(Enum):
    """What a session promises: its engine and its isolation level.

    Attributes:
        role: The role of the engine that serves the mode.
        isolation_level: The isolation level, None for the engine's own.
    """

    DEFAULT = (Role.WRITE, None)
    WRITE = (Role.WRITE, "SERIALIZABLE")
    SNAPSHOT = (Role.READ, "REPEATABLE READ")
    READ_ONLY = (Role.READ, "AUTOCOMMIT")
    MAINTENANCE = (Role.WRITE, "AUTOCOMMIT")

    def __init__(self, role: Role, isolation_level: str | None) -> None:
        self.role = role
        self.isolation_level = isolation_level

    @classmethod
    def of(cls, *, write: bool, read_only: bool, snapshot: bool) -> Mode:
        """Return the mode that a user asked for.

        Raises:
            InvalidInputError: More than one was asked for, or an option is no bool.
        """
        options: dict[str, object] = {
            "write": write, "read_only": read_only, "snapshot": snapshot,
        }  # fmt: skip
        for name, value in options.items():
            if not isinstance(value, bool):
                msg = f"{name} must be True or False"
                raise InvalidInputError(msg, field=name)
        if write + read_only + snapshot > 1:
            msg = "write, read_only and snapshot exclude each other"
            raise InvalidInputError(msg)
        if write:
            return cls.WRITE
        if snapshot:
            return cls.SNAPSHOT
        return cls.READ_ONLY if read_only else cls.DEFAULT

    @property
    def is_read_only(self) -> bool:
        """Tell whether the database refuses writes in this mode."""
        return self.role is Role.READ


class Backend(Protocol):
    """The part of a manager that knows one database system."""

    has_two_engines: bool

    def engine_arguments(self, role: Role) -> dict[str, Any]:
        """Return the keyword arguments of ``create_async_engine``."""

    def engine_url(self, role: Role) -> URL:
        """Return the URL of the engine."""

    def execution_options(self, mode: Mode) -> dict[str, Any]:
        """Return the execution options that make a connection keep the mode."""

    def prepare(self, engine: AsyncEngine, role: Role) -> None:
        """Register what new connections of the engine need beyond arguments."""

    def direct(
        self, engines: Mapping[Role, AsyncEngine], record: Callable[[Receipt], None]
    ) -> Direct | None:
        """Return the way for one-shot statements, None where they need a session."""

    async def describe(self, connection: AsyncConnection) -> dict[str, Any]:
        """Return what ``health()`` reports about the server or the file."""

    async def optimize(self, connection: AsyncConnection) -> dict[str, Any]:
        """Do what ``optimize()`` promises, on a connection of ``Mode.MAINTENANCE``."""

    async def end(self) -> None:
        """Stop what runs beside the sessions, for good."""

    async def settle(self) -> None:
        """Complete the files, once every connection that was idle is closed."""


def common_arguments(options: Options, role: Role) -> dict[str, Any]:
    """Return the engine arguments that are the same for all backends."""
    arguments: dict[str, Any] = {
        "echo": options.echo,
        "hide_parameters": True,
        "pool_pre_ping": options.pool_pre_ping,
        "pool_recycle": options.pool_recycle,
        "isolation_level": "READ COMMITTED" if role is Role.WRITE else "AUTOCOMMIT",
        "skip_autocommit_rollback": True,
        **options.engine_options,
    }
    return arguments | pool_arguments(options)


def pool_arguments(options: Options) -> dict[str, Any]:
    """Return the pool's class and the sizes that this class takes.

    Behind pgbouncer there is none: a second pool would hold its connections.
    """
    poolclass = NullPool if options.pgbouncer else options.poolclass or TrackedPool
    if issubclass(poolclass, NullPool):
        return {"poolclass": UnpooledPool if poolclass is NullPool else poolclass}
    return {
        "poolclass": poolclass,
        "pool_size": options.pool_size,
        "max_overflow": options.max_overflow,
        "pool_timeout": options.pool_timeout,
    }


def mode_options(mode: Mode) -> dict[str, Any]:
    """Return the execution options of a mode on an engine of its role."""
    if mode.isolation_level is None or mode is Mode.READ_ONLY:
        return {}
    return {"isolation_level": mode.isolation_level}


async def analyze(connection: AsyncConnection, verb: str, tables: Iterable[str]) -> int:
    """Send one statement per table, so that no lock is held for long; count them.

    Args:
        connection: Outside of any transaction.
        verb: What goes before the name.
        tables: Names, quoted by the database or its dialect.
    """
    count = 0
    for count, table in enumerate(tables, 1):  # noqa: B007 - the last is the number
        result = await connection.exec_driver_sql(f"{verb} {table}")
        result.close()
    return count
