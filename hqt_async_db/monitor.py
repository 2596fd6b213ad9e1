"""Measure how long the event loop was stalled, and name what stalled it.

::

    async with StallMonitor(threshold_ms=50) as monitor:
        await trade()
    print(monitor.report().max_stall_ms)

A timer asks to be called every ``tick_ms``. The time by which a call comes
late is the delay that every other task of the loop suffered too: a market
data handler, a heartbeat, a cancelled order. Nothing else is measured, so it
does not matter whether a blocking call, long computation on the loop, another
thread that keeps the GIL or a busy machine was the cause; ``max_cpu_ms``
tells the loop's own work from the rest.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from hqt_async_db.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

logger = logging.getLogger(__name__)

_SMALLEST_MS = 0.01
_GROWTH = 1.05  # neighbouring buckets differ by 5 %, which bounds a percentile's error
_BUCKETS = 400  # the last one starts at about 47 minutes
_MOST_RECORDS_PER_STALL = 1_000  # an hour of suspension must not cost seconds afterwards
_STACK_DEPTH = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class StallReport:
    """What a `StallMonitor` has seen so far.

    A stall is the time by which a tick came late. An idle loop shows up to
    about 1 ms, because the operating system's timers are no finer.

    Attributes:
        duration_s: Seconds measured.
        ticks: How often the timer was called.
        max_stall_ms: The longest stall.
        p99_ms: 99 % of the moments measured waited no longer than this;
            at most 5 % too high.
        p999_ms: The same for 99.9 %.
        stalls: How many ticks were late by ``threshold_ms`` or more; 0
            where no threshold was given.
        max_cpu_ms: The most CPU time that the loop's thread used between
            two ticks. Much less than ``max_stall_ms`` means that the loop
            did not work but wait: for a blocking call, for the GIL, or
            for a CPU that other processes kept.
    """

    duration_s: float
    ticks: int
    max_stall_ms: float
    p99_ms: float
    p999_ms: float
    stalls: int
    max_cpu_ms: float


class StallMonitor:
    """Measure the stalls of the running event loop while a block runs.

    Costs a thousand wake-ups a second, one to three per cent of a core, and
    constant memory. It starts no task, so there is none to cancel. With a
    threshold, a daemon thread looks on as well and logs one WARNING for
    each stall while it lasts, with the task and the lines that the loop's
    thread is executing - without their text and without any value. A C
    function that keeps the GIL keeps that thread from looking too; such a
    stall is measured and counted, not named.

    A monitor may be used again after its block; it then starts at zero.

    Args:
        threshold_ms: Stalls this long are counted and logged. None, the
            default, starts no thread and counts none.
        tick_ms: How often the loop is probed, 1 by default.

    Raises:
        InvalidInputError: A time is not a positive number, or the
            threshold is shorter than a tick.
    """

    def __init__(self, *, threshold_ms: float | None = None, tick_ms: float = 1.0) -> None:
        _require_positive("tick_ms", tick_ms)
        if threshold_ms is not None:
            _require_positive("threshold_ms", threshold_ms)
            if threshold_ms < tick_ms:
                message = "threshold_ms must not be shorter than tick_ms"
                raise InvalidInputError(message, field="threshold_ms")
        self._tick_s = tick_ms / 1e3
        self._threshold_s = math.inf if threshold_ms is None else threshold_ms / 1e3
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watchdog: _Watchdog | None = None
        self._reset()

    def _reset(self) -> None:
        self._delays = _Histogram()
        self._ticks = self._stalls = 0
        self._max_cpu_s = self._cpu = 0.0
        self._started = self._ended = self._due = 0.0

    async def __aenter__(self) -> Self:
        """Start measuring the running loop.

        Raises:
            InvalidInputError: The monitor is measuring already.
        """
        if self._loop is not None:
            message = "this StallMonitor is running already; use a second one"
            raise InvalidInputError(message)
        self._reset()
        self._loop = asyncio.get_running_loop()
        self._started = time.perf_counter()
        self._cpu = time.thread_time()
        self._schedule(self._loop, self._started)
        if self._threshold_s < math.inf:
            self._watchdog = _Watchdog(self._loop, self._threshold_s, self._overdue_s)
            self._watchdog.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Stop measuring; the figures stay readable."""
        if self._timer is not None:
            self._timer.cancel()
        self._ended = time.perf_counter()
        self._observe(self._ended)
        self._loop = None
        if self._watchdog is not None:
            # Not joined: it ends by itself, and joining would stall the loop.
            self._watchdog.stop()
            self._watchdog = None

    def report(self) -> StallReport:
        """Return the figures so far, or those of the whole block after it."""
        until = self._ended or time.perf_counter()
        return StallReport(
            duration_s=until - self._started if self._started else 0.0,
            ticks=self._ticks,
            max_stall_ms=self._delays.max_ms,
            p99_ms=self._delays.quantile_ms(0.99),
            p999_ms=self._delays.quantile_ms(0.999),
            stalls=self._stalls,
            max_cpu_ms=self._max_cpu_s * 1e3,
        )

    def _overdue_s(self) -> float:
        return time.perf_counter() - self._due

    def _schedule(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        self._due = now + self._tick_s
        self._timer = loop.call_later(self._tick_s, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.perf_counter()
        self._ticks += 1
        self._observe(now)
        self._schedule(loop, now)

    def _observe(self, now: float) -> None:
        cpu = time.thread_time()
        self._max_cpu_s = max(self._max_cpu_s, cpu - self._cpu)
        self._cpu = cpu
        late = max(now - self._due, 0.0)
        self._stalls += late >= self._threshold_s
        # The ticks that a stall swallowed would have been late as well;
        # without them a percentile would hardly notice a long stall.
        step = max(self._tick_s, late / _MOST_RECORDS_PER_STALL)
        self._delays.record(late * 1e3)
        while (late := late - step) > 0:
            self._delays.record(late * 1e3)


class _Histogram:
    """Counts of delays in geometric buckets: constant memory for any run."""

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._total = 0
        self.max_ms = 0.0

    def record(self, delay_ms: float) -> None:
        bucket = int(math.log(max(delay_ms, _SMALLEST_MS) / _SMALLEST_MS, _GROWTH))
        self._counts[min(bucket, _BUCKETS - 1)] += 1
        self._total += 1
        self.max_ms = max(self.max_ms, delay_ms)

    def quantile_ms(self, share: float) -> float:
        """Return the upper edge of the bucket that holds the quantile."""
        wanted = share * self._total
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return min(_SMALLEST_MS * _GROWTH ** (bucket + 1), self.max_ms)
        return 0.0


class _Watchdog(threading.Thread):
    """Log where the loop's thread is while its tick is overdue."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        threshold_s: float,
        overdue_s: Callable[[], float],
    ) -> None:
        super().__init__(name="hqt-stall-watchdog", daemon=True)
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._threshold_s = threshold_s
        self._overdue_s = overdue_s
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def run(self) -> None:
        reported = False
        while not self._stopped.wait(self._threshold_s / 4):
            stalled = self._overdue_s() >= self._threshold_s
            if stalled and not reported:
                self._log()
            reported = stalled

    def _log(self) -> None:
        task = asyncio.current_task(self._loop)
        logger.warning(
            "event loop stalled for %.0f ms so far, task %s, at %s",
            self._overdue_s() * 1e3,
            task.get_name() if task else "none",
            _innermost_calls(self._loop_thread),
        )


def _innermost_calls(thread_id: int) -> str:
    """Name where a thread is, without source text, which may hold secrets."""
    frame = sys._current_frames().get(thread_id)  # noqa: SLF001 - the only way to see another thread
    stack = traceback.StackSummary.extract(
        traceback.walk_stack(frame), limit=_STACK_DEPTH, lookup_lines=False
    )
    own = itertools.takewhile(lambda call: call.filename != asyncio.events.__file__, stack)
    return " < ".join(f"{call.name} ({call.filename}:{call.lineno})" for call in own)


def _require_positive(field: str, milliseconds: float) -> None:
    if not 0 < milliseconds < math.inf:
        message = f"{field} must be a positive number of milliseconds"
        raise InvalidInputError(message, field=field)
