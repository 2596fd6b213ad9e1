"""The engines of one database, by what their connections may do."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NoReturn

from sqlalchemy import event
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import create_async_engine

from hqt_async_db.connection.backends.backend import Backend, Mode, Role
from hqt_async_db.connection.connects import return_unprepared
from hqt_async_db.connection.pool import TrackedPool
from hqt_async_db.connection.proxies import QuickEngine
from hqt_async_db.connection.translation.translate import install
from hqt_async_db.connection.watching import SharedListeners, Watch
from hqt_async_db.errors import ConfigurationError, DatabaseClosedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.pool import Pool

    from hqt_async_db.connection.backends.direct import Direct
    from hqt_async_db.connection.options import Options
    from hqt_async_db.connection.sessions.transaction import Receipt
    from hqt_async_db.connection.urls import Target


_LOGGING_NAME: Final = "hqt_async_db"


class Engines:
    """One engine that writes and, where it can be had, one that cannot.

    Attributes:
        backend: What knows the database system.
        by_role: The engines; a database in memory has the writing one alone.
        outlive_loops: Whether their connections can be closed in another event loop than
            theirs: threads can be ended from any, sockets belong to one.
        watches: What tells whether somebody watches statements; those that
            read go over one of two engines.
    """

    def __init__(self, target: Target, options: Options) -> None:
        self.backend = backend = _backend_for(target, options)
        self.outlive_loops = target.backend == "sqlite"
        roles = (Role.WRITE, Role.READ) if backend.has_two_engines else (Role.WRITE,)
        self.by_role = {role: _make_engine(backend, options, role) for role in roles}
        writing, *beside = [of.sync_engine for of in self.by_role.values()]
        self.watches = {Role.WRITE: Watch(writing), Role.READ: Watch(writing, *beside)}
        self._by_mode = {mode: self._derive(mode) for mode in Mode}
        for role, engine in self.by_role.items():
            backend.prepare(engine, role)
            install(engine, demotion_is_disconnect=role is Role.WRITE)
        for watch in self.watches.values():
            watch.is_complete()
        self._shared = [SharedListeners(writing, engine) for engine in beside]
        self._direct: Direct | None = None

    def for_mode(self, mode: Mode) -> AsyncEngine:
        """Return the engine whose sessions keep the promises of ``mode``."""
        if mode.is_read_only:
            for listeners in self._shared:
                listeners.share()
        return self._by_mode[mode]

    def pool_status(self) -> dict[str, dict[str, Any]]:
        """Return per role: size, connections in use and idle, and holders."""
        return {str(role): _figures(engine.pool) for role, engine in self.by_role.items()}

    def direct(self, record: Callable[[Receipt], None]) -> Direct | None:
        """Return the backend's way for one-shot statements, None where it has none.

        Args:
            record: Takes the receipt of each write.
        """
        self._direct = self.backend.direct(self.by_role, record)
        return self._direct

    async def dispose(self, *, close: bool = True) -> None:
        """Close every connection, and open none any more.

        Connections of another event loop, which has ended, can only be let
        go (``close=False``). Readers go first: the last connection of a SQLite file moves what was
        committed from the log into the file, which only a writer may do; where none was left
        but readers, one is opened for it.
        """
        if close:
            await self.backend.end()
        for role in (Role.READ, Role.WRITE):
            if role in self.by_role:
                if close and self._direct is not None:
                    await self._direct.close(role)
                engine = self.by_role[role]
                event.listen(engine.sync_engine, "do_connect", _refuse)
                if close and isinstance(engine.pool, TrackedPool):
                    await engine.pool.close_used()
                await engine.dispose(close=close)
        if close:
            await self.backend.settle()

    def _derive(self, mode: Mode) -> AsyncEngine:
        """Return an engine with the mode's options; it shares the pool."""
        engine = self.by_role.get(mode.role, self.by_role[Role.WRITE])
        options = self.backend.execution_options(mode)
        derived = engine.execution_options(**options) if options else engine
        return_unprepared(derived)
        return derived


def _backend_for(target: Target, options: Options) -> Backend:
    """Return the backend of a target; its module is imported only here."""
    if target.backend == "sqlite":
        from hqt_async_db.connection.backends.sqlite.backend import SQLite  # noqa: PLC0415 - only what is used

        return SQLite(target, options)
    if target.backend == "postgresql":
        from hqt_async_db.connection.backends.postgresql.backend import PostgreSQL  # noqa: PLC0415 - as above

        return PostgreSQL(target, options)
    from hqt_async_db.connection.backends.mysql.backend import MySQL  # noqa: PLC0415 - as above

    return MySQL(target, options)


def _hides_rows(record: logging.LogRecord) -> bool:
    """Drop what SQLAlchemy logs at DEBUG: every row that is read."""
    return record.levelno > logging.DEBUG


logging.getLogger(f"sqlalchemy.engine.Engine.{_LOGGING_NAME}").addFilter(_hides_rows)


def _make_engine(backend: Backend, options: Options, role: Role) -> AsyncEngine:
    arguments = {**backend.engine_arguments(role), "logging_name": _LOGGING_NAME}
    try:
        engine = create_async_engine(backend.engine_url(role), **arguments)
    except ArgumentError as error:
        raise ConfigurationError(str(error)) from None
    except TypeError:
        names = ", ".join(sorted(options.engine_options)) or "these engine options"
        msg = f"SQLAlchemy does not take {names} for this database and pool class"
        raise ConfigurationError(msg) from None
    return QuickEngine(engine.sync_engine)


def _refuse(*_: object) -> NoReturn:
    msg = "the DatabaseManager of this engine was disposed; make a new one"
    raise DatabaseClosedError(msg)


def _figures(pool: Pool) -> dict[str, Any]:
    if not isinstance(pool, TrackedPool):
        return {"status": pool.status()}
    return {
        "size": pool.size(),
        "in_use": len(pool.holders),
        "idle": pool.checkedin(),
        "holders": [str(holder) for holder in pool.holders.values()],
    }
