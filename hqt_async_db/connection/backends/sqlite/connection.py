"""What SQLAlchemy sees of the SQLite driver: connections.

A statement is one hop to the connection's thread: begin, execute, fetch and
close. A transaction begins where it is needed, not before.
"""

from __future__ import annotations

import functools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy.dialects.sqlite.aiosqlite import (
    AsyncAdapt_aiosqlite_connection,
)
from sqlalchemy.util.concurrency import await_, in_greenlet

from hqt_async_db.connection import tasks
from hqt_async_db.connection.backends.direct import Answer
from hqt_async_db.connection.backends.sqlite import worker
from hqt_async_db.connection.backends.sqlite.cursors import (
    HqtSQLiteCursor,
    HqtSQLiteStreamCursor,
)
from hqt_async_db.connection.backends.sqlite.statements import (
    frees_pages,
    lifts_read_only,
    moves_pages,
    stays_read_only,
    takes_write_lock,
)
from hqt_async_db.connection.backends.sqlite.worker import Call
from hqt_async_db.errors import StatementFailedError, TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from hqt_async_db.connection.backends.direct import Parameters, Write
    from hqt_async_db.connection.backends.sqlite.gate import WriteGate
    from hqt_async_db.connection.backends.sqlite.thread import ConnectionThread

T = TypeVar("T")

READ_COMMITTED: Final = "READ COMMITTED"
SERIALIZABLE: Final = "SERIALIZABLE"
REPEATABLE_READ: Final = "REPEATABLE READ"
AUTOCOMMIT: Final = "AUTOCOMMIT"


class Stream:
    """The rows of a SELECT that is read without SQLAlchemy."""

    most_rows = 2000  # fetched on the connection's thread

    def __init__(self, connection: HqtSQLiteConnection, call: Call) -> None:
        self._connection = connection
        self._call = call

    async def fetch(self, size: int) -> Sequence[Any]:
        """Return the next rows, at most ``size``, none at the end; one hop."""
        return await self._connection.fetch_directly(self._call, size)

    async def work(self, make: Callable[[Callable[[int], Sequence[Any]]], T]) -> T | None:
        """Call ``make(fetch)`` on the connection's thread, in one hop.

        Returns:
            What it returned; None once all rows were read.
        """
        return await self._connection.work_directly(self._call, make)


class HqtSQLiteConnection(AsyncAdapt_aiosqlite_connection):
    """A connection that knows its transaction, its turn to write and its hops.

    Attributes:
        isolation: What the transactions to come promise.
        read_only: Whether SQLite is to refuse every write.
        lock_timeout_s: How long to wait for a lock, or for the turn to write.
        statement_timeout_s: When to interrupt a statement, None for never.
        streams: What was not read to its end.
    """

    __slots__ = (
        "_began",
        "_gate",
        "_has_turn",
        "_keep",
        "_thread",
        "isolation",
        "lock_timeout_s",
        "read_only",
        "statement_timeout_s",
        "streams",
    )

    _cursor_cls: Any = HqtSQLiteCursor
    _ss_cursor_cls: Any = HqtSQLiteStreamCursor

    def __init__(
        self,
        dbapi: Any,
        thread: ConnectionThread,
        *,
        gate: WriteGate | None,
        keep: Callable[[ConnectionThread], None] | None,
    ) -> None:
        super().__init__(dbapi, thread.raw)
        self._thread = thread
        self._gate = gate
        self._keep = keep
        self._has_turn = False
        self._began = False
        self.isolation = READ_COMMITTED
        self.read_only = keep is None and bool(thread.is_query_only)
        self.lock_timeout_s = 5.0
        self.statement_timeout_s: float | None = None
        self.streams: set[Call] = set()

    @property
    def thread(self) -> ConnectionThread:
        """Return the thread, for statements that are transactions of their own."""
        return self._thread

    @property
    def gate(self) -> WriteGate | None:
        """Return the gate of the file, None for a database in memory."""
        return self._gate

    @property
    def in_transaction(self) -> bool:
        """Tell whether SQLite has a transaction open."""
        return self._thread.in_transaction

    @property
    def has_work(self) -> bool:
        """Tell whether a transaction or a stream waits for its end."""
        return self._began or bool(self.streams)

    def _await(self, work: Any) -> Any:
        """Wait for a hop, in the greenlet of SQLAlchemy."""
        try:
            return await_(work)
        except Exception as error:  # noqa: BLE001 - translates, then raises
            self._handle_exception(error)

    def run(self, call: Call, *, writes: bool | None) -> None:
        """Run a statement, in the transaction that it needs, in one hop."""
        self._await(self._run(call, writes=writes))

    async def read_directly(self, sql: str, parameters: Parameters) -> Sequence[Any]:
        """Run a SELECT without SQLAlchemy, in one hop, and return its rows."""
        call = Call(sql, parameters)
        await self._run(call, writes=False)
        return call.rows

    async def write_directly(self, write: Write) -> Answer:
        """Run an INSERT, UPDATE or DELETE without SQLAlchemy, in one hop."""
        call = Call(write.sql, write.parameters)
        await self._run(call, writes=True)
        return Answer(call.rowcount, call.rows)

    @asynccontextmanager
    async def stream_directly(self, sql: str, parameters: Parameters) -> AsyncIterator[Stream]:
        """Run a SELECT without SQLAlchemy, and lend its rows."""
        call = Call(sql, parameters)
        call.keep_open = True
        self.streams.add(call)
        try:
            await self._run(call, writes=False)
            yield Stream(self, call)
        finally:
            self.streams.discard(call)
            if not call.done:  # cancelled, and about to open what nobody would close
                self._thread.interrupt()
            if (call.is_open or not call.done) and not self._thread.is_closed:
                await self._thread.hop(call.close)

    def fetch(self, stream: Call, size: int) -> Sequence[Any]:
        """Fetch rows of a stream in one hop; none once it was read to its end.

        Raises:
            StatementFailedError: The transaction ended before the stream.
        """
        rows: Sequence[Any] = self._await(self.fetch_directly(stream, size))
        return rows

    async def fetch_directly(self, stream: Call, size: int) -> Sequence[Any]:
        """Do as :meth:`fetch` does, for whoever can await."""
        return await self.work_directly(stream, lambda fetch: fetch(size)) or []

    async def work_directly(
        self, stream: Call, make: Callable[[Callable[[int], Sequence[Any]]], T]
    ) -> T | None:
        """Have the thread fetch rows of a stream and make something of them.

        Raises:
            StatementFailedError: The transaction ended before the stream.
        """
        if stream.was_cut_off:
            msg = "the transaction of this stream has ended; read a stream to its end before"
            raise StatementFailedError(msg)
        if not stream.is_open:
            return None
        made: T = await self._thread.hop(
            lambda job: make(functools.partial(stream.fetch, job)),
            timeout_s=self.statement_timeout_s,
        )
        if not stream.is_open:
            self.streams.discard(stream)
        return made

    def close_stream(self, stream: Call) -> None:
        """Close a stream, in one hop if it has rows left."""
        if stream in self.streams:
            self.streams.discard(stream)
            if stream.is_open and not self._thread.is_closed:
                self._await(self._thread.hop(stream.close))

    async def _run(self, call: Call, *, writes: bool | None) -> None:
        self._refuse_lost_transaction()
        if self.read_only and lifts_read_only(call.sql):
            raise stays_read_only()
        if not self._began:
            writes = takes_write_lock(call.sql) if writes is None else writes
            await self._prepare(call, writes=writes)
        try:
            await self._thread.hop(
                call.run, self._thread.connection, timeout_s=self.statement_timeout_s
            )
        finally:
            self._settle(call)

    async def _prepare(self, call: Call, *, writes: bool) -> None:
        """Take the turn and plan the transaction that a statement begins."""
        call.patience_s = self.lock_timeout_s
        if self.read_only != self._thread.is_query_only:
            call.query_only = self.read_only
        takes_lock = (writes or self.isolation == SERIALIZABLE) and not self.read_only
        if takes_lock or moves_pages(call.sql):
            await self._take_turn()
            call.is_script = frees_pages(call.sql)
        if self.isolation == AUTOCOMMIT or call.stays_outside:
            return
        if takes_lock:
            call.begin = "BEGIN IMMEDIATE"
            call.open_streams = tuple(self.streams)
        elif self.isolation == REPEATABLE_READ:
            call.begin = "BEGIN"

    async def _take_turn(self) -> None:
        if self._gate is not None and not self._has_turn:
            await self._gate.enter(self.lock_timeout_s)
            self._has_turn = True

    def _settle(self, call: Call) -> None:
        """Note what a statement did; one that still runs is ended by ``terminate``."""
        if not call.done and not self._thread.is_closed:
            return
        if call.query_only is not None:
            self._thread.is_query_only = call.query_only
        self._began = self._began or call.began
        if call.ends_transaction:
            self._began = self.in_transaction
        if not self._began:
            self._leave()

    def _refuse_lost_transaction(self) -> None:
        """Stop a transaction that SQLite rolled back by itself.

        After an interrupt, an I/O error or a full disk SQLite may do so;
        statements that follow would be committed without those before.
        """
        if self._began and not self.in_transaction:
            msg = (
                "SQLite has rolled this transaction back after an earlier error; roll back and "
                "run it again (db.run does)"
            )
            raise TransientError(msg)

    def commit(self) -> None:
        """Commit in one hop; without a transaction it costs nothing."""
        if not self._began:
            return
        try:
            self._refuse_lost_transaction()
            self._await(
                self._thread.hop(
                    worker.commit, self._thread.connection, self.lock_timeout_s, self.streams
                )
            )
        except Exception:
            self.streams = set()
            self._ended()  # it was rolled back in the same hop, or by SQLite before
            raise
        self._ended()

    def rollback(self) -> None:
        """Roll back in one hop; without a transaction it costs nothing."""
        if self.streams or (self._began and self.in_transaction):
            streams, self.streams = self.streams, set()
            self._await(self._thread.hop(worker.roll_back, self._thread.connection, streams))
        self._ended()

    def close(self) -> None:
        """Roll back, close the file and end the thread."""
        self._finish(self._thread.close(self.streams))

    def terminate(self) -> None:
        """Interrupt the running statement, roll back and close, at once.

        A database in memory is its connection, so that one is kept for the
        next use instead.
        """
        if not in_greenlet():
            self._terminate_soon()
            return
        self._finish(self._discard())

    async def _discard(self) -> None:
        if self._keep is None:
            await self._thread.close(self.streams)
            return
        await self._thread.reset(self.streams)
        self._keep_thread(self._keep)

    def _keep_thread(self, keep: Callable[[ConnectionThread], None]) -> None:
        self._thread.is_query_only = None  # what was interrupted may have set it
        keep(self._thread)

    def _finish(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it to the end, whether or not the caller is cancelled again.

        Nothing is left to the garbage collector, which would keep the lock.
        """
        task = tasks.start(work, name="hqt_async_db close SQLite connection")
        task.add_done_callback(lambda _: self._ended())
        cancelled = await_(tasks.wait(task, None))
        if cancelled is not None:
            raise cancelled
        task.result()

    def _terminate_soon(self) -> None:
        """Close without a greenlet: a collector found the connection, on any thread."""
        if self._keep is None:
            self._thread.close_soon()
        else:
            self._thread.reset_soon(self.streams)
            self._keep_thread(self._keep)
        self._began = False
        if self._has_turn and self._gate is not None:
            self._has_turn = False
            self._gate.leave_from_any_thread()

    def _ended(self) -> None:
        self._began = False
        self._leave()

    def _leave(self) -> None:
        if self._has_turn and self._gate is not None:
            self._has_turn = False
            self._gate.leave()
