"""Keeping the write-ahead log of a SQLite file short while it is in use."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hqt_async_db.connection import tasks
from hqt_async_db.connection.backends.sqlite import worker
from hqt_async_db.connection.backends.sqlite.gate import gate_of
from hqt_async_db.connection.usage import Usage, current_usage
from hqt_async_db.errors import HqtDbError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from hqt_async_db.connection.backends.sqlite.thread import ConnectionThread

_log = logging.getLogger("hqt_async_db")

# How long writers may be kept waiting for readers to end; to move the log comes on top.
_PATIENCE_S: Final = 0.25
_MOMENT_S: Final = 0.01
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 60.0
_FAILURES_BEFORE_WARNING: Final = 2
_MIB: Final = 1024 * 1024


class LogKeeper:
    """Empties the log of one file once it has grown past a limit.

    SQLite moves the log into the file after every 1000 pages, but begins it
    anew only at a moment without readers, which may never come; so the log
    would grow without bound. Past the limit this takes the turn to write,
    when new readers are in nobody's way any more, and waits a short time for
    those of before. Where one of them stays, it tries again ever less often,
    and says so. Writers and checkpoints of one event loop never meet.

    Attributes:
        limit_bytes: The size that the log may have.
        path: Of the log, once a connection that writes has been opened.
    """

    def __init__(self, limit_bytes: int, oldest_use: Callable[[], Usage | None]) -> None:
        self.limit_bytes = limit_bytes
        self.path: str | None = None
        self._oldest_use = oldest_use
        self._file = ""
        self._open: Callable[[], Coroutine[object, object, ConnectionThread]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_over = False
        self._failures = 0
        self._not_before = 0.0
        self._measured_at = -math.inf

    def attach(
        self,
        file: str,
        path: str,
        connect: Callable[[], Coroutine[object, object, ConnectionThread]],
    ) -> None:
        """Note where the file is, and how to open one more connection to it.

        Args:
            file: As the gate of its writers knows it.
            path: As SQLite does, links resolved.
            connect: Opens a connection that may write.
        """
        self._file, self.path, self._open = file, f"{path}-wal", connect

    def measure(self) -> int:
        """Return the size of the log, 0 if it was measured a moment ago; on any thread.

        To look costs 10 µs, a twentieth of a commit. What is written in the
        last moment before a pause is measured after the next commit.
        """
        now = time.monotonic()
        if self.path is None or now - self._measured_at < _MOMENT_S:
            return 0
        self._measured_at = now
        try:
            return os.stat(self.path).st_size  # noqa: PTH116 - a path costs twice as much
        except OSError:
            return 0

    def note(self, log_bytes: int) -> None:
        """Take note of the log's size after a commit; costs nothing below the limit."""
        if log_bytes <= self.limit_bytes or self._task is not None or self._is_over:
            return
        if asyncio.get_running_loop().time() >= self._not_before:
            self._task = tasks.start(
                self._keep_short(log_bytes), name="hqt_async_db checkpoint", owner=self
            )

    async def end(self) -> None:
        """Stop what is being done, and do nothing any more."""
        self._is_over = True
        task = self._task
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await tasks.drain(self)

    async def leave_none(self) -> None:
        """Move what is left of the log into the file, if a reader closed last, which cannot.

        Costs a look, and one connection where there is a log; that of others
        who have the file open stays.
        """
        if self._open is None or self.path is None:
            return
        if not await asyncio.to_thread(_are_there, self.path):
            return
        # What was committed is safe in the log; the next one who opens the file reads it.
        with contextlib.suppress(HqtDbError, sqlite3.Error, OSError):
            await (await self._open()).close()

    async def _keep_short(self, log_bytes: int) -> None:
        current_usage.set(Usage("checkpoint of the write-ahead log"))
        try:
            self._settle(log_bytes, is_empty=await self._checkpoint())
        except (HqtDbError, sqlite3.Error) as error:
            self._settle(log_bytes, is_empty=False, error=error)
        finally:
            self._task = None

    async def _checkpoint(self) -> bool:
        """Empty the log; a connection of its own waits for nobody's pool."""
        assert self._open is not None  # noqa: S101 - only a connection that was attached notes
        gate = gate_of(self._file)
        opening = tasks.start(self._open(), name="hqt_async_db open checkpoint", owner=self)
        cancelled = await tasks.wait(opening, None)
        thread = opening.result()
        has_turn = False
        try:
            if cancelled is not None:
                raise cancelled
            await gate.enter(_LONGEST_PAUSE_S)
            has_turn = True
            return bool(await thread.hop(worker.checkpoint, thread.connection, _PATIENCE_S))
        finally:
            try:
                # What was cancelled still runs until then; the next writer must not meet it.
                await tasks.finish(thread.close(), name="hqt_async_db close checkpoint", owner=self)
            finally:
                if has_turn:
                    gate.leave()

    def _settle(self, log_bytes: int, *, is_empty: bool, error: Exception | None = None) -> None:
        """Begin anew, or wait longer than the last time."""
        if is_empty:
            self._failures = 0
            return
        pause_s = min(_FIRST_PAUSE_S * 2**self._failures, _LONGEST_PAUSE_S)
        self._not_before = asyncio.get_running_loop().time() + pause_s
        self._failures += 1
        if self._failures == _FAILURES_BEFORE_WARNING:
            _log.warning("%s", self.describe(log_bytes, error))

    def describe(self, log_bytes: int, error: Exception | None = None) -> str:
        """Say that the log is too long, and who keeps it so."""
        place = self.path or "of the file"
        return (
            f"the write-ahead log {place} has grown to {log_bytes / _MIB:.1f} MiB "
            f"(sqlite_wal_limit_mb is {self.limit_bytes // _MIB}) and was not emptied: "
            f"{self._reason(error)}"
        )

    def _reason(self, error: Exception | None) -> str:
        if error is not None:
            return f"{type(error).__name__} {getattr(error, 'sqlite_errorname', '')}".rstrip()
        use = self._oldest_use()
        if use is None or use.age_s < _PATIENCE_S:
            return (
                "no reader of this process is to blame, so look for another process that keeps a "
                "transaction open, or a writing session that keeps a stream open"
            )
        return f"a reader needs what is in it; the oldest is {use}"


def _are_there(log: str) -> bool:
    """Tell whether there is a log, and its file: a connection would make a new one."""
    return Path(log).exists() and Path(log.removesuffix("-wal")).exists()
