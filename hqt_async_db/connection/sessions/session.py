"""Sessions: SQLAlchemy's AsyncSession, made safe to cancel and to misuse."""

from __future__ import annotations

import contextlib
import functools
import logging
from typing import TYPE_CHECKING, Any, Final, Self

from hqt_async_db.connection import tasks
from hqt_async_db.connection.backends.backend import Mode
from hqt_async_db.connection.backends.direct import NoWayError
from hqt_async_db.connection.greenlets import spawn
from hqt_async_db.connection.proxies import QuickConnection, QuickSession
from hqt_async_db.connection.sessions import reading
from hqt_async_db.connection.sessions.endings import second_to
from hqt_async_db.connection.sessions.lost import is_lost
from hqt_async_db.connection.sessions.occupancy import Occupancy
from hqt_async_db.connection.sessions.savepoints import Savepoint, Transaction
from hqt_async_db.connection.sessions.tracked import TrackedSession
from hqt_async_db.connection.sessions.transaction import Outcome, Receipt, commit
from hqt_async_db.connection.sessions.unread import UnreadRows
from hqt_async_db.connection.translation.translate import translated
from hqt_async_db.connection.usage import Usage
from hqt_async_db.errors import ConnectionFailedError, DatabaseClosedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping
    from types import TracebackType

    from sqlalchemy.ext.asyncio import (
        AsyncEngine,
        AsyncResult,
        AsyncScalarResult,
        AsyncSessionTransaction,
    )

    from hqt_async_db.connection.executors.fetching import Shape
    from hqt_async_db.connection.executors.shortcut import Shortcut

_log = logging.getLogger("hqt_async_db")

# Every awaitable of AsyncSession that may reach the database.
_GUARDED: Final = (
    "delete",
    "delete_all",
    "execute",
    "flush",
    "get_one",
    "merge",
    "merge_all",
    "refresh",
    "scalar",
    "scalars",
)


class Session(QuickSession):
    """One unit of work: use it in ``async with``, or end it by hand.

    Leaving the block commits, an exception rolls back, and it always closes.
    No connection is taken before the first statement. Objects stay readable
    after the commit (``expire_on_commit=False``).

    Attributes:
        unread: Streams that let nothing else in, on MySQL.
        shortcut: The way of reads past SQLAlchemy's execution, if there is one.
        reads_stand_alone: Whether a read before the first statement of a
            transaction may run outside of it.
        receipt: What became of the last transaction, None before its end.
        has_committed: Whether any of its transactions wrote and committed,
            or may have.
    """

    sync_session: TrackedSession

    def __init__(  # noqa: PLR0913 - what it needs of its manager
        self,
        engine: AsyncEngine,
        *,
        check: Callable[[], None],
        commit_timeout_s: float,
        record: Callable[[Receipt], None],
        purpose: str = "session",
        shortcut: Shortcut | None = None,
        mode: Mode,
    ) -> None:
        super().__init__(engine, sync_session_class=TrackedSession, expire_on_commit=False)
        self.sync_session.written_tables = set()
        self._check = check
        self._commit_timeout_s = commit_timeout_s
        self._report = record
        self._occupancy = Occupancy(Usage(purpose), translated(engine.url))
        self._is_given_up = False
        self._is_over = False
        self.unread = UnreadRows()
        self.shortcut = shortcut
        self.reads_stand_alone = mode in (Mode.DEFAULT, Mode.READ_ONLY)
        self._may_write = not mode.is_read_only
        self.receipt: Receipt | None = None
        self.has_committed = False

    @property
    def outcome(self) -> Outcome | None:
        """Return how the last transaction ended, None before its end.

        ``unknown`` means that COMMIT was sent and its answer never came.
        """
        return None if self.receipt is None else self.receipt.outcome

    async def commit(self) -> None:
        """Flush and commit; a cancelled caller waits for the end of it.

        Costs a hop or a round trip, and nothing if no transaction is open.

        Raises:
            CommitOutcomeUnknownError: The connection broke during COMMIT, or
                its answer did not come in ``commit_timeout_s``.
            ConnectionFailedError: It was lost before, and nothing committed;
                or at any time, where the session only reads.
            IntegrityViolationError: A deferred constraint refused it.
        """
        with self.within():
            await self.drain()
            if self.sync_session.new or self.sync_session.dirty or self.sync_session.deleted:
                await super().flush()
            if self.in_transaction():
                await self._commit()
            elif self._has_receipt_due:
                self._record(Receipt("committed", frozenset()))

    async def _commit(self) -> None:
        if is_lost(self.sync_session.open_connection):
            self._record(Receipt("rolled_back", frozenset()))
            await self.end(super().invalidate())
            msg = "the connection was lost before the commit was sent; nothing was committed"
            raise ConnectionFailedError(msg, connection_invalidated=True)
        with self._occupancy.uninterrupted():
            try:
                await commit(
                    super().commit,
                    tables=frozenset(self.sync_session.written_tables),
                    timeout_s=self._commit_timeout_s,
                    record=self._record,
                    owner=self,
                    may_write=self._may_write,
                )
            finally:
                self._is_given_up = tasks.are_running(self)

    async def rollback(self) -> None:
        """Roll back, whether or not the caller is cancelled meanwhile; objects expire."""
        if self._is_given_up:
            return
        with self.within():
            if self.in_transaction():
                self._record(Receipt("rolled_back", frozenset()))
                await self.end(self._drained(super().rollback()))
            elif self._has_receipt_due:
                self.sync_session.expire_all()  # as the rollback of a transaction does
                self._record(Receipt("rolled_back", frozenset()))

    @property
    def _has_receipt_due(self) -> bool:
        """Tell whether something ends without a transaction: reads that stood alone, or nothing."""
        return self.receipt is None or self.sync_session.has_read_alone

    async def close(self) -> None:
        """Give the connection back; what was not committed is rolled back.

        Raises:
            SessionInUseError: Another task is using it; it is closed as soon
                as that use has ended.
        """
        if self._is_given_up:
            return
        if not self._occupancy.is_free:
            self._occupancy.when_left(self._close_later)
        with self._inside():
            await self._close(super().close)

    async def reset(self) -> None:
        """Do as :meth:`close` does; the session can be used again either way."""
        await self.close()

    async def invalidate(self) -> None:
        """Close the connection instead of giving it back; nothing is committed."""
        if self._is_given_up:
            return
        with self.within():
            self.unread.forget()
            await self._close(super().invalidate)

    async def _close(self, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if not self.in_transaction():
            self.sync_session.has_read_alone = False
            await close()
            return
        if self.sync_session.has_written or self.receipt is None:
            self._record(Receipt("rolled_back", frozenset()))
        await self.end(self._drained(close()))

    def _close_later(self) -> None:
        tasks.start(self.close(), name="hqt_async_db close")

    async def drain(self) -> None:
        """Read what MySQL sends before it takes the end of a transaction or of a savepoint.

        Raises:
            ConnectionFailedError: It did not come in time.
        """
        if self.unread.are_there:
            await self.end(self.unread.drain())
            self._inside()

    async def end(self, ending: Coroutine[Any, Any, None]) -> None:
        """End the transaction, or undo a savepoint, in a task that no cancellation reaches."""
        with self._occupancy.uninterrupted():
            try:
                await tasks.finish(
                    ending, name="hqt_async_db end", owner=self, timeout_s=self._commit_timeout_s
                )
            except TimeoutError:
                _log.warning("the server did not answer; the connection of %s is given up", self)
            finally:
                self._is_given_up = tasks.are_running(self)

    async def _drained(self, ending: Coroutine[Any, Any, None]) -> None:
        try:
            await self.unread.drain()
        finally:
            await ending

    async def connection(self, *arguments: Any, **keywords: Any) -> QuickConnection:
        """Return the transaction's connection, for statements without the ORM.

        What is done with it counts as a write, as nobody can know.
        """
        with self.used():
            self.sync_session.has_written = True
            return await super().connection(*arguments, **keywords)

    async def read(
        self, statement: Any, values: Mapping[str, Any] | None, shape: Shape
    ) -> list[Any]:
        """Read as :func:`reading.read` does."""
        with self.used():
            return await reading.read(self, statement, values, shape)

    async def stream(self, statement: Any, *arguments: Any, **keywords: Any) -> AsyncResult[Any]:
        """Run a statement whose rows are fetched as they are read.

        In a read-only session on PostgreSQL, which streams in transactions
        only, the session then sees one snapshot until it ends.
        """
        with self.used():
            await self._begin_for_stream()
            result: AsyncResult[Any] = await super().stream(statement, *arguments, **keywords)
            if self.get_bind().dialect.name in {"mysql", "mariadb"}:
                self.unread.expect(result)
            return result

    async def stream_scalars(
        self, statement: Any, *arguments: Any, **keywords: Any
    ) -> AsyncScalarResult[Any]:
        """Run a statement as :meth:`stream` does; give its first column."""
        return (await self.stream(statement, *arguments, **keywords)).scalars()

    async def _begin_for_stream(self) -> None:
        if self.get_bind().dialect.name == "postgresql" and await self.is_autocommit():
            await super().commit()  # nothing: each statement has stood alone
            await super().connection(execution_options={"isolation_level": "REPEATABLE READ"})

    async def is_autocommit(self) -> bool:
        """Tell whether each statement is a transaction of its own; may connect."""
        connection = await super().connection()
        pooled = (await connection.get_raw_connection()).dbapi_connection
        return pooled is not None and connection.dialect.detect_autocommit_setting(pooled)

    async def abandon(self) -> None:
        """Discard the connection because the manager is being disposed.

        A commit on its way is waited for; whatever else runs is interrupted,
        and its task gets a DatabaseClosedError.
        """
        await tasks.drain(self)
        self._is_given_up = True
        if self._occupancy.is_stranded:  # the pool closes the connection
            return
        await self._occupancy.interrupt()
        if self.in_transaction():
            self._record(Receipt("rolled_back", frozenset()))
            await super().invalidate()

    def begin(self) -> AsyncSessionTransaction:
        """Return a block that commits at its end; the session stays open."""
        return Transaction(self)

    def begin_nested(self) -> AsyncSessionTransaction:
        """Return a block that is a savepoint: an exception undoes only it."""
        return Savepoint(self, nested=True)

    async def __aenter__(self) -> Self:
        """Open nothing yet."""
        self._check()
        self._is_over = False
        self.receipt = None
        return self

    async def __aexit__(
        self,
        type_: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Commit, or roll back after an exception; then close."""
        try:
            if value is not None:
                await self.roll_back_after(value)
                await self._close_after(value)
                return
            try:
                await self.commit()
            finally:
                await self.close()
        finally:
            self._is_over = True

    async def roll_back_after(self, error: BaseException) -> None:
        """Roll back without hiding the error that is on its way."""
        with second_to(error):
            await self.rollback()

    async def _close_after(self, error: BaseException) -> None:
        with second_to(error):
            await self.close()

    def _record(self, receipt: Receipt) -> None:
        if receipt.outcome == "rolled_back" and self.sync_session.is_committed:
            receipt = Receipt("committed", receipt.tables)  # a listener failed afterwards
        self.sync_session.is_committed = False
        self.receipt = receipt
        if receipt.outcome != "rolled_back" and self.sync_session.has_written:
            self.has_committed = True
        self.sync_session.written_tables.clear()
        self.sync_session.has_written = self.sync_session.has_read_alone = False
        self._report(receipt)

    def used(self) -> Occupancy:
        """Return a block that lets one task at a time in, and translates what fails inside."""
        self.unread.refuse_others()
        return self.within()

    def within(self) -> Occupancy:
        """Return a block as :meth:`used` does, for what may come beside an unread stream."""
        if self._is_over:
            self._check()
            msg = "the block of this session has ended; open another one with db.session()"
            raise DatabaseClosedError(msg)
        return self._inside()

    def _inside(self) -> Occupancy:
        self._check()
        if self._is_given_up:
            msg = "the server did not answer, and this session's connection was given up"
            raise ConnectionFailedError(msg)
        return self._occupancy


def _guard(name: str) -> Callable[..., Awaitable[Any]]:
    original = getattr(QuickSession, name)

    @functools.wraps(original)
    async def guarded(self: Session, *arguments: Any, **keywords: Any) -> Any:
        with self.used():
            return await original(self, *arguments, **keywords)

    return guarded


for _name in _GUARDED:
    setattr(Session, _name, _guard(_name))


async def _get(self: Session, entity: Any, ident: Any, **options: Any) -> Any:
    with self.used():
        if not options:
            with contextlib.suppress(NoWayError):
                return await reading.get(self, entity, ident)
        return await QuickSession.get(self, entity, ident, **options)


async def _run_sync(self: Session, fn: Any, *arguments: Any, **keywords: Any) -> Any:
    with self.used():
        return await spawn(fn, self.sync_session, *arguments, **keywords)


for _ours in (_get, _run_sync):
    _name = _ours.__name__.removeprefix("_")
    setattr(Session, _name, functools.wraps(getattr(QuickSession, _name))(_ours))
