"""Sessions: SQLAlchemy's AsyncSession, made safe to cancel and to misuse."""

from __future__ import annotations

import contextlib
import functools
import logging
from typing import TYPE_CHECKING, Any, Final, Self, cast

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction
from sqlalchemy.orm import Session as SyncSession

from hqt_async_db.connection import tasks
from hqt_async_db.connection.translate import translated
from hqt_async_db.connection.transaction import Outcome, Receipt, commit
from hqt_async_db.connection.usage import Usage, current_task, current_usage
from hqt_async_db.errors import ConnectionFailedError, SessionInUseError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Iterator
    from types import TracebackType

    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.orm import ORMExecuteState

_log = logging.getLogger("hqt_async_db")

# Every awaitable of AsyncSession that may reach the database.
_GUARDED: Final = (
    "connection",
    "delete",
    "delete_all",
    "execute",
    "flush",
    "get",
    "get_one",
    "invalidate",
    "merge",
    "merge_all",
    "refresh",
    "run_sync",
    "scalar",
    "scalars",
    "stream",
    "stream_scalars",
)


class _SyncSession(SyncSession):
    """The synchronous half of a Session; knows what the transaction wrote."""

    written_tables: set[str]
    has_written: bool


class Session(AsyncSession):
    """One unit of work: use it in ``async with``, or end it by hand.

    Leaving the block commits, an exception rolls back, and it always closes.
    No connection is taken before the first statement. Objects stay readable
    after the commit (``expire_on_commit=False``).

    Attributes:
        receipt: What became of the last transaction, None before its end.
    """

    sync_session: _SyncSession

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        check: Callable[[], None],
        commit_timeout_s: float,
        record: Callable[[Receipt], None],
        purpose: str = "session",
    ) -> None:
        super().__init__(engine, sync_session_class=_SyncSession, expire_on_commit=False)
        self.sync_session.written_tables = set()
        self.sync_session.has_written = False
        self._check = check
        self._commit_timeout_s = commit_timeout_s
        self._report = record
        self._usage = Usage(purpose)
        self._active: asyncio.Task[object] | None = None
        self._abandoned = False
        self.receipt: Receipt | None = None

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
            CommitOutcomeUnknownError: The connection broke during COMMIT.
            IntegrityViolationError: A deferred constraint refused it.
        """
        with self._used():
            if self.sync_session.new or self.sync_session.dirty or self.sync_session.deleted:
                await super().flush()
            if not self.in_transaction():
                self._record(Receipt("committed", frozenset()))
                return
            await commit(
                super().commit,
                tables=frozenset(self.sync_session.written_tables),
                timeout_s=self._commit_timeout_s,
                record=self._record,
                owner=self,
            )

    async def rollback(self) -> None:
        """Roll back, whether or not the caller is cancelled meanwhile."""
        if self._abandoned:
            return
        with self._used():
            await self._roll_back()

    async def close(self) -> None:
        """Give the connection back; what was not committed is rolled back."""
        if self._abandoned:
            return
        with self._used():
            if not self.in_transaction():
                await super().close()
                return
            if self.sync_session.has_written or self.receipt is None:
                self._record(Receipt("rolled_back", frozenset()))
            await tasks.finish(super().close(), name="hqt_async_db close", owner=self)

    async def abandon(self) -> None:
        """Discard the connection because the manager is being disposed.

        A commit on its way is waited for; anything else is rolled back.
        """
        await tasks.drain(self)
        self._abandoned = True
        if self.in_transaction():
            self._record(Receipt("rolled_back", frozenset()))
            await super().invalidate()

    def begin(self) -> AsyncSessionTransaction:
        """Return a block that commits at its end; the session stays open."""
        return _Transaction(self)

    def begin_nested(self) -> AsyncSessionTransaction:
        """Return a block that is a savepoint: an exception undoes only it."""
        return _Savepoint(self, nested=True)

    async def __aenter__(self) -> Self:
        """Open nothing yet."""
        self._check()
        return self

    async def __aexit__(
        self,
        type_: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Commit, or roll back after an exception; then close."""
        try:
            if value is None:
                await self.commit()
            else:
                await self._roll_back_after(value)
        finally:
            await self.close()

    async def _roll_back_after(self, error: BaseException) -> None:
        """Roll back without hiding the error that is on its way."""
        try:
            await self.rollback()
        except ConnectionFailedError:
            _log.warning(
                "the connection was lost before the rollback after %s; the server rolls back",
                type(error).__name__,
            )

    async def _roll_back(self) -> None:
        if not self.in_transaction():
            return
        self._record(Receipt("rolled_back", frozenset()))
        await tasks.finish(super().rollback(), name="hqt_async_db rollback", owner=self)

    def _record(self, receipt: Receipt) -> None:
        self.receipt = receipt
        self.sync_session.written_tables.clear()
        self.sync_session.has_written = False
        self._report(receipt)

    @contextlib.contextmanager
    def _used(self) -> Iterator[None]:
        """Let one task at a time in, and translate what fails inside."""
        self._check()
        task, outer = current_task(), self._active
        if outer is not None and outer is not task:
            msg = (
                f"this session is in use by task {outer.get_name()!r} ({self._usage}); "
                "give each task a session of its own"
            )
            raise SessionInUseError(msg)
        self._active = self._usage.task = task
        token = current_usage.set(self._usage)
        try:
            with translated():
                yield
        finally:
            self._active = outer
            current_usage.reset(token)


class _Savepoint(AsyncSessionTransaction):
    """A savepoint whose every await is guarded like the session's own."""

    session: Session

    async def start(self, is_ctxmanager: bool = False) -> AsyncSessionTransaction:  # noqa: FBT001, FBT002 - SQLAlchemy's signature
        with self.session._used():  # noqa: SLF001 - one mechanism, two classes
            return await super().start(is_ctxmanager=is_ctxmanager)

    async def commit(self) -> None:
        with self.session._used():  # noqa: SLF001 - as above
            await super().commit()

    async def rollback(self) -> None:
        with self.session._used():  # noqa: SLF001 - as above
            await super().rollback()

    async def __aexit__(
        self,
        type_: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self.session._used():  # noqa: SLF001 - as above
            await super().__aexit__(type_, value, traceback)


class _Transaction(_Savepoint):
    """A block of ``session.begin()``: its end is the session's own commit."""

    async def commit(self) -> None:
        await self.session.commit()

    async def rollback(self) -> None:
        await self.session.rollback()

    async def __aexit__(
        self,
        type_: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        del type_, traceback
        if value is None:
            await self.session.commit()
        else:
            await self.session._roll_back_after(value)  # noqa: SLF001 - as above


def _guard(name: str) -> Callable[..., Awaitable[Any]]:
    original = getattr(AsyncSession, name)

    @functools.wraps(original)
    async def guarded(self: Session, *arguments: Any, **keywords: Any) -> Any:
        with self._used():
            return await original(self, *arguments, **keywords)

    return guarded


for _name in _GUARDED:
    setattr(Session, _name, _guard(_name))


@event.listens_for(_SyncSession, "do_orm_execute")
def _note_statement(state: ORMExecuteState) -> None:
    """Remember that something may be written, and the table where it is known."""
    if state.is_select:
        return
    session = cast("_SyncSession", state.session)
    session.has_written = True
    table = getattr(state.statement, "table", None)
    if table is not None:
        session.written_tables.add(table.name)


@event.listens_for(_SyncSession, "before_flush")
def _note_flush(session: _SyncSession, *_: object) -> None:
    """Remember the tables of the objects that are about to be written."""
    session.has_written = True
    for instance in (*session.new, *session.dirty, *session.deleted):
        session.written_tables.add(instance.__mapper__.local_table.name)
