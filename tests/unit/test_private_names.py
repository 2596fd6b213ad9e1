"""The private parts of other libraries that the connection layer stands on.

Each is used because there is no public way; if one of these fails after an
upgrade, the code that uses it must be looked at before the bounds are moved.
"""

# ruff: noqa: SLF001 - the private names are the subject

from __future__ import annotations

import inspect
import threading
from typing import TYPE_CHECKING, Any

import aiosqlite
import pytest
from sqlalchemy import Connection, Engine, pool
from sqlalchemy.connectors.asyncio import AsyncAdapt_dbapi_cursor, AsyncAdapt_terminate
from sqlalchemy.dialects.sqlite.aiosqlite import (
    AsyncAdapt_aiosqlite_connection,
    AsyncAdapt_aiosqlite_dbapi,
)
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction
from sqlalchemy.orm import Session as OrmSession
from sqlalchemy.orm import SessionTransaction
from sqlalchemy.util import concurrency

from hqt_async_db.connection.greenlets import spawn
from hqt_async_db.connection.pool import TrackedPool
from hqt_async_db.connection.proxies import (
    QuickConnection,
    QuickEngine,
    QuickSession,
    QuickTransaction,
)
from hqt_async_db.connection.sessions.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable


class TestAiosqlite:
    """Used by the thread of a SQLite connection."""

    @pytest.fixture
    async def raw(self) -> Any:
        raw = aiosqlite.connect(":memory:")
        assert isinstance(raw._thread, threading.Thread)
        assert not raw._thread.is_alive()
        raw._thread.daemon = True
        async with raw:
            yield raw

    def test_a_connection_calls_what_opens_the_file(self) -> None:
        parameters = list(inspect.signature(aiosqlite.Connection.__init__).parameters)
        assert parameters[:3] == ["self", "connector", "iter_chunk_size"]

    async def test_execute_runs_a_function_on_the_thread(self, raw: Any) -> None:
        assert await raw._execute(threading.current_thread) is raw._thread

    async def test_the_queue_takes_work_nobody_waits_for(self, raw: Any) -> None:
        done = threading.Event()
        raw._tx.put_nowait((None, done.set))
        assert await raw._execute(done.wait, 1)

    async def test_the_connection_itself(self, raw: Any) -> None:
        assert not raw._conn.in_transaction

    async def test_stop_ends_the_thread(self) -> None:
        raw: Any = aiosqlite.connect(":memory:")
        await raw
        ended = raw.stop()
        assert ended is not None
        await ended
        with pytest.raises(ValueError, match="onnection"):
            await raw._execute(int)


class TestSQLAlchemy:
    @pytest.mark.parametrize(
        ("function", "parameters"),
        [
            (pool.QueuePool._do_get, ["self"]),
            (pool.QueuePool._do_return_conn, ["self", "record"]),
            (pool.NullPool._do_get, ["self"]),
            (pool.Pool._close_connection, ["self", "connection", "terminate"]),
            (AsyncAdapt_dbapi_cursor._async_soft_close, ["self"]),
            (AsyncAdapt_terminate.terminate, ["self"]),
            (AsyncAdapt_aiosqlite_connection._handle_exception, ["self", "error"]),
            (AsyncAdapt_aiosqlite_dbapi.__init__, ["self", "aiosqlite", "sqlite"]),
            (AsyncSessionTransaction.start, ["self", "is_ctxmanager"]),
            (OrmSession._autobegin_t, ["self", "begin"]),
            (OrmSession._is_clean, ["self"]),
            (OrmSession._register_persistent, ["self", "states"]),
            (SessionTransaction._begin, ["self", "nested"]),
            (SessionTransaction.rollback, ["self", "_capture_exception", "_to_root"]),
            (concurrency.await_, ["awaitable"]),
            (concurrency.in_greenlet, []),
        ],
    )
    def test_a_function(self, function: Callable[..., Any], parameters: list[str]) -> None:
        assert list(inspect.signature(function).parameters) == parameters

    def test_the_queue_of_a_pool(self) -> None:
        queue = pool.AsyncAdaptedQueuePool(lambda: None, pool_size=2, max_overflow=3)  # type: ignore[arg-type]  # nothing connects
        assert queue._max_overflow == 3
        assert queue.checkedin() == 0
        assert callable(queue._pool.get_nowait)

    def test_a_pool_of_ours_is_recreated_as_one(self) -> None:
        ours = TrackedPool(lambda: None, pool_size=2, max_overflow=3, timeout=4)
        again = ours.recreate()
        assert isinstance(again, TrackedPool)
        assert (again.size(), again._max_overflow, again.timeout()) == (2, 3, 4)

    def test_the_class_of_an_engine_s_connections(self) -> None:
        assert Engine._connection_cls is Connection
        assert "_dbapi_connection" in inspect.getsource(Connection.__init__)

    @pytest.mark.parametrize("ours", [QuickConnection, QuickEngine, QuickSession, QuickTransaction])
    def test_what_makes_greenlets_keeps_them_here(self, ours: type[Any]) -> None:
        spawning = {
            name
            for name, member in vars(ours.__base__).items()
            if "greenlet_spawn" in getattr(getattr(member, "__code__", None), "co_names", ())
        }
        assert len(spawning) > 1
        for name in spawning & {"execute", "commit", "rollback", "start", "dispose"}:
            assert vars(ours)[name].__globals__["greenlet_spawn"] is spawn
            assert getattr(ours.__base__, name).__globals__["greenlet_spawn"] is not spawn
        assert spawning <= vars(ours).keys()

    def test_the_names_of_greenlet_spawn(self) -> None:
        required = inspect.signature(concurrency.greenlet_spawn).parameters["_require_await"]
        assert required.default is inspect.signature(spawn).parameters["_require_await"].default

    def test_every_awaitable_of_a_session_is_guarded(self) -> None:
        """A method that a new version adds would let two tasks into one session."""
        ours = vars(Session)
        awaitables = {
            name
            for name, member in vars(AsyncSession).items()
            if inspect.iscoroutinefunction(member) and not name.startswith("_")
        }
        assert awaitables - set(ours) == {"aclose"}, "which calls close"
