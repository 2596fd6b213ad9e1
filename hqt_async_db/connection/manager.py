"""The DatabaseManager: engines, sessions and the life of both."""

from __future__ import annotations

import time
import weakref
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from sqlalchemy import text

from hqt_async_db import migrations
from hqt_async_db.connection import urls, warming
from hqt_async_db.connection.backends.backend import Mode, Role
from hqt_async_db.connection.backends.direct import NoWayError
from hqt_async_db.connection.disposal import Disposal
from hqt_async_db.connection.engines import Engines
from hqt_async_db.connection.executors.shortcut import Shortcut
from hqt_async_db.connection.options import Options
from hqt_async_db.connection.ownership import Ownership
from hqt_async_db.connection.sessions.retry import RetryTurns, run_with_retries
from hqt_async_db.connection.sessions.scoped import ScopedSessions
from hqt_async_db.connection.sessions.session import Session
from hqt_async_db.connection.translation.translate import translated
from hqt_async_db.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from sqlalchemy import URL, MetaData
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
    from sqlalchemy.orm import DeclarativeBase
    from sqlalchemy.pool import Pool

    from hqt_async_db.connection.sessions.transaction import Receipt

T = TypeVar("T")

# What names the database in a URL's query or among the driver's arguments.
_DATABASE: Final = ("database", "dbname", "db")


class DatabaseManager:
    """One database: its connections, its sessions and its schema.

    Making one checks the arguments and opens nothing; the first statement
    opens the first connection. Use it in ``async with``, or call
    :meth:`dispose` when done. A manager belongs to the event loop that used
    it first.

    Args:
        url: ``sqlite:///file``, ``sqlite:///:memory:``, ``postgresql://…``,
            ``mysql://…`` or ``mariadb://…``; an explicit async driver is
            kept. None reads ``HQT_DATABASE_URL``.
        echo: Log SQL statements; bound values are never shown.
        pool_size: Connections kept open, per pool. A file or server has two
            pools, one for writing and one that the database keeps read-only.
            A SQLite file has one connection more for one-shot writes, and one
            for one-shot reads; up to as many again while these take long.
        max_overflow: Connections beyond ``pool_size`` under load.
        pool_timeout: Seconds to wait for a connection.
        pool_recycle: Seconds after which a connection is replaced.
        pool_pre_ping: Test each connection before use (one round trip).
        connect_args: Further keyword arguments of the driver.
        poolclass: Another SQLAlchemy pool class, for example ``NullPool``.
        connect_timeout_s: Seconds until a connect gives up.
        statement_timeout_s: Seconds until a statement is ended, None for no
            limit. MySQL (not MariaDB) applies it to SELECT alone.
        lock_timeout_s: Seconds to wait for a lock, or for the turn to write.
        commit_timeout_s: Seconds after which the outcome of a commit counts as
            unknown; a server is first asked to end a one-shot write.
        pgbouncer: Work behind a pooler in transaction mode.
        sqlite_synchronous: ``FULL`` survives power loss, ``NORMAL`` may lose
            the last commits then; see the README.
        sqlite_wal_limit_mb: Size of the write-ahead log past which it is
            emptied; writers wait while it is moved into the file (some seconds for
            hundreds of MiB), and before for readers, a quarter of a second at most.
        engine_options: Any further option of ``create_async_engine``.

    Raises:
        ConfigurationError: An argument cannot work; says which and why.
    """

    def __init__(  # noqa: PLR0913 - every option of the pool is offered by name
        self,
        url: str | URL | None = None,
        *,
        echo: bool = False,
        pool_size: int = 5,
        max_overflow: int = 10,
        pool_timeout: float = 30.0,
        pool_recycle: int = 3600,
        pool_pre_ping: bool = False,
        connect_args: dict[str, Any] | None = None,
        poolclass: type[Pool] | None = None,
        connect_timeout_s: float = 10.0,
        statement_timeout_s: float | None = None,
        lock_timeout_s: float = 10.0,
        commit_timeout_s: float = 30.0,
        pgbouncer: bool = False,
        sqlite_synchronous: str = "FULL",
        sqlite_wal_limit_mb: int = 64,
        **engine_options: Any,
    ) -> None:
        self._target = urls.resolve(url)
        self._options = Options(
            echo=echo,
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_timeout=pool_timeout,
            pool_recycle=pool_recycle,
            pool_pre_ping=pool_pre_ping,
            connect_args={} if connect_args is None else connect_args,
            poolclass=poolclass,
            connect_timeout_s=connect_timeout_s,
            statement_timeout_s=statement_timeout_s,
            lock_timeout_s=lock_timeout_s,
            commit_timeout_s=commit_timeout_s,
            pgbouncer=pgbouncer,
            sqlite_synchronous=sqlite_synchronous,
            sqlite_wal_limit_mb=sqlite_wal_limit_mb,
            engine_options=engine_options,
        )
        self._engines = Engines(self._target, self._options)
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self._scoped = ScopedSessions(lambda: self.open(Mode.DEFAULT, "scoped session"))
        self._outcomes: Counter[str] = Counter()
        self._retry_turns = RetryTurns(lock_timeout_s)
        self._ownership = Ownership()
        way = self._engines.direct(self._record)
        self._shortcut = None if way is None else Shortcut(way, self._engines, self._ownership)
        self._disposal = Disposal(self._ownership, self._engines, self._sessions)

    def __repr__(self) -> str:
        """Show the URL without secrets."""
        return f"{type(self).__name__}({str(self._target)!r})"

    @property
    def engine(self) -> AsyncEngine:
        """Return the engine that writes.

        Raises:
            DatabaseClosedError: The manager was disposed, or this is a child
                process.
        """
        self._ownership.check()
        return self._engines.by_role[Role.WRITE]

    @property
    def url(self) -> URL:
        """Return the URL as it was given, but with an async driver; it holds the password."""
        return self._target.given

    @property
    def options(self) -> Options:
        """Return what it was told, ``connect_args`` included, which may hold a password."""
        return self._options

    def beside(self, database: str) -> DatabaseManager:
        """Return a new manager of another database on the server, with the same options."""
        url = self.url.difference_update_query(_DATABASE).set(database=database)
        return DatabaseManager(url, **self._options.without(_DATABASE))

    @property
    def dialect_name(self) -> str:
        """Return ``sqlite``, ``postgresql``, ``mysql`` or ``mariadb``."""
        return self._target.backend

    async def __aenter__(self) -> Self:
        """Open no connection yet."""
        self._ownership.check()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Dispose."""
        await self.dispose()

    def session(
        self, *, write: bool = False, read_only: bool = False, snapshot: bool = False
    ) -> Session:
        """Return a new session: use it in ``async with``, or end it by hand.

        No connection is taken before the first statement. By default the
        isolation is READ COMMITTED; on SQLite reads are per statement until
        the first write begins IMMEDIATE.

        Args:
            write: Read-modify-write is safe: SQLite takes the write lock with
                the first statement, servers run SERIALIZABLE and end one of
                two conflicting transactions with a retryable error.
            read_only: Each statement stands alone and the database refuses
                every write.
            snapshot: All reads see one consistent state; writes are refused.

        Raises:
            InvalidInputError: More than one of the three was asked for.
            DatabaseClosedError: The manager is disposed or not of this loop.
        """
        mode = Mode.of(write=write, read_only=read_only, snapshot=snapshot)
        return self.open(mode, "session")

    get_session = session

    def scoped_session(self) -> Session:
        """Return the session of the running task, the same at every call.

        End it with ``await db.remove_scoped_session()``; one that its task
        forgot is rolled back with a ResourceWarning.
        """
        self._ownership.check()
        return self._scoped.current()

    get_scoped_session = scoped_session

    async def remove_scoped_session(self) -> None:
        """Close the running task's scoped session; uncommitted work is lost."""
        await self._scoped.remove()

    async def run(
        self,
        work: Callable[[Session], Awaitable[T]],
        *,
        attempts: int = 3,
        write: bool = False,
    ) -> T:
        """Call ``work`` with a session, commit, and retry what can succeed.

        Each attempt has a session of its own, and random pauses between them
        grow. Only errors with ``retryable`` are retried, never an unknown
        outcome; ``work`` must have no effect outside of its session.

        Args:
            work: ``async def work(session)``; its result is returned.
            attempts: Calls at most, at least 1.
            write: As for :meth:`session`.

        Raises:
            InvalidInputError: ``attempts`` is below 1.
            HqtDbError: The error of the last attempt.
        """
        open_session = partial(self.session, write=write)
        return await run_with_retries(open_session, work, attempts, self._retry_turns)

    async def create_all(
        self, base_or_metadata: type[DeclarativeBase] | MetaData | None = None
    ) -> None:
        """Create the schema and stamp it, once; safe in several processes.

        Args:
            base_or_metadata: A declarative base or a MetaData of your own;
                None is the schema of this library.

        Raises:
            SchemaMismatchError: The database has an older or a newer schema,
                or tables of a predecessor; names the way out.
        """
        self._ownership.check()
        with translated():
            await migrations.create_schema(self, base_or_metadata)

    async def drop_all(
        self,
        base_or_metadata: type[DeclarativeBase] | MetaData | None = None,
        *,
        confirm: bool = False,
    ) -> None:
        """Drop the tables and everything in them; needs ``confirm=True``.

        Raises:
            InvalidInputError: ``confirm`` was not given.
        """
        self._ownership.check()
        if not confirm:
            msg = "drop_all deletes all rows of all tables; pass confirm=True if you mean it"
            raise InvalidInputError(msg, field="confirm")
        with translated():
            await migrations.drop_schema(self, base_or_metadata)

    def schema_lock(self, connection: AsyncConnection) -> AbstractAsyncContextManager[None]:
        """Return the lock that lets one process at a time change the schema."""
        return migrations.schema_lock(connection)

    async def ping(self) -> float:
        """Ask the database for an answer; return the milliseconds it took.

        Raises:
            ConnectionFailedError: It could not be reached.
        """
        started = time.perf_counter()
        async with self.open(Mode.READ_ONLY, "ping") as session:
            await session.execute(text("SELECT 1"))
        return (time.perf_counter() - started) * 1000

    async def health(self) -> dict[str, Any]:
        """Return figures for a dashboard; one connection, few statements.

        Keys: ``url`` (without secrets), ``dialect``, ``driver``,
        ``latency_ms``, ``pools`` (see :meth:`pool_status`), ``sessions``
        (open now), ``commits``, ``rollbacks``, ``unknown_outcomes``,
        ``warnings`` (sentences for people; empty if all is well), and what
        the backend knows of itself (``server_version``, durability). SQLite
        adds ``journal_mode``, ``synchronous``, ``auto_vacuum``,
        ``wal_bytes``, ``page_size``, ``page_count`` and ``freelist_count``.
        """
        latency_ms = await self.ping()
        async with self.open(Mode.READ_ONLY, "health") as session:
            connection = await session.connection()
            with session.used():
                facts = await self._engines.backend.describe(connection)
        return {
            "url": str(self._target),
            "dialect": self._target.backend,
            "driver": self._target.driver,
            "latency_ms": latency_ms,
            "pools": self.pool_status(),
            "sessions": sum(session.in_transaction() for session in self._sessions),
            "commits": self._outcomes["committed"],
            "rollbacks": self._outcomes["rolled_back"],
            "unknown_outcomes": self._outcomes["unknown"],
            "warnings": [],
            **facts,
        }

    async def optimize(self) -> dict[str, Any]:
        """Renew what the planner knows of the tables, and give free space back.

        For a quiet hour, or after large deletes; one short statement per
        table. SQLite looks at 1000 rows per index, gives free pages back in
        steps of 256, between which writers have their turn, and empties the
        log; without ``auto_vacuum`` only ``VACUUM`` gives pages back.

        Returns:
            ``analyzed_tables``; on SQLite also ``freed_bytes``,
            ``unused_bytes`` (free, and kept in the file) and ``auto_vacuum``.
        """
        async with self.open(Mode.MAINTENANCE, "optimize") as session:
            connection = await session.connection()
            with session.used():
                return await self._engines.backend.optimize(connection)

    def pool_status(self) -> dict[str, dict[str, Any]]:
        """Return per pool (``write``, ``read``): size, in use, idle, holders."""
        return self._engines.pool_status()

    async def warm_up(self, base: type[DeclarativeBase] | None = None) -> None:
        """Pay the cold costs now: mappers, first connections, first compiles.

        One read per model of ``base``, or of this library, on the read-only
        pool and one connection of the writing pool; the schema must exist.
        To configure mappers keeps the loop busy for 50 ms, so call it first.
        """
        await warming.warm_up(self, base)

    async def dispose(self) -> None:
        """Close every connection, wait for what is on its way, and end.

        Open sessions are rolled back. Later uses raise DatabaseClosedError; who
        calls it again meanwhile waits as well.
        """
        await self._disposal.finish()

    def open(self, mode: Mode, purpose: str) -> Session:
        """Return a session of a mode; error messages name its purpose."""
        self._ownership.check()
        session = Session(
            self._engines.for_mode(mode),
            check=self._ownership.check,
            commit_timeout_s=self._options.commit_timeout_s,
            record=self._record,
            purpose=purpose,
            shortcut=self._shortcut,
            mode=mode,
        )
        self._sessions.add(session)
        return session

    def shortcut(self) -> Shortcut:
        """Return the way of one-shot statements past the sessions.

        Raises:
            NoWayError: This backend has none.
            DatabaseClosedError: The manager is disposed or not of this loop.
        """
        self._ownership.check()
        if self._shortcut is None:
            raise NoWayError
        return self._shortcut

    def _record(self, receipt: Receipt) -> None:
        self._outcomes[receipt.outcome] += 1
