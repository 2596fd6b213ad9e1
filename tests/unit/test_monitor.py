"""What the stall monitor sees, and what it leaves behind."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from time import sleep as blocking_sleep  # before the blocking-call detector replaces it

import pytest

from hqt_async_db.errors import InvalidInputError
from hqt_async_db.monitor import StallMonitor, _Histogram

STALL_S = 0.05


def stall_waiting() -> None:
    """Block the loop without using the CPU, as a synchronous driver does."""
    blocking_sleep(STALL_S)


def stall_computing() -> None:
    """Keep the loop's thread busy, as decoding many rows does."""
    until = time.thread_time() + STALL_S
    while time.thread_time() < until:
        pass


async def test_idle_loop_has_small_stalls() -> None:
    """Ticks keep coming, and the median machine is far below a stall."""
    async with StallMonitor() as monitor:
        await asyncio.sleep(0.3)
    report = monitor.report()
    assert report.duration_s >= 0.3
    assert report.ticks > 30
    assert 0 < report.p99_ms <= report.p999_ms <= report.max_stall_ms
    assert report.stalls == 0


async def test_blocking_call_is_seen_as_waiting() -> None:
    """A sleep of 50 ms is a stall of about that length without CPU time."""
    async with StallMonitor(threshold_ms=40) as monitor:
        await asyncio.sleep(0.01)
        stall_waiting()
        await asyncio.sleep(0.01)
    report = monitor.report()
    assert report.max_stall_ms >= 45
    assert report.stalls >= 1
    assert report.max_cpu_ms < 40


async def test_computation_is_seen_as_work_of_the_loop() -> None:
    """A computation of 50 ms is a stall and CPU time of the loop's thread."""
    async with StallMonitor(threshold_ms=40) as monitor:
        await asyncio.sleep(0.01)
        stall_computing()
        await asyncio.sleep(0.01)
    report = monitor.report()
    assert report.max_stall_ms >= 45
    assert report.max_cpu_ms >= 45


async def test_stall_at_the_end_of_the_block_counts() -> None:
    """Leaving the block before the late tick comes does not lose the stall."""
    async with StallMonitor(threshold_ms=40) as monitor:
        stall_computing()
    report = monitor.report()
    assert report.max_stall_ms >= 45
    assert report.stalls == 1


async def test_percentile_counts_the_ticks_that_a_stall_swallowed() -> None:
    """One stall that fills a third of the time is in the 99th percentile."""
    async with StallMonitor() as monitor:
        await asyncio.sleep(0.1)
        stall_computing()
    report = monitor.report()
    assert 25 < report.p99_ms <= report.max_stall_ms


async def test_long_stall_is_logged_once_with_task_and_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The one record names who stalled the loop and where."""
    task = asyncio.current_task()
    assert task is not None
    task.set_name("order-router")
    with caplog.at_level(logging.WARNING, logger="hqt_async_db.monitor"):
        async with StallMonitor(threshold_ms=10):
            await asyncio.sleep(0.05)
            stall_computing()
            await asyncio.sleep(0.05)
    named = [record for record in caplog.messages if "stall_computing" in record]
    assert len(named) == 1
    assert "order-router" in named[0]
    assert "test_monitor.py" in named[0]


async def test_figures_can_be_read_while_measuring() -> None:
    """A health page may ask at any time."""
    async with StallMonitor() as monitor:
        await asyncio.sleep(0.05)
        early = monitor.report()
        await asyncio.sleep(0.05)
    late = monitor.report()
    assert 0 < early.ticks < late.ticks
    assert early.duration_s < late.duration_s
    assert monitor.report() == late


async def test_used_again_it_starts_at_zero() -> None:
    """The figures of an earlier block do not leak into the next."""
    monitor = StallMonitor()
    async with monitor:
        stall_computing()
    async with monitor:
        pass
    assert monitor.report().max_stall_ms < 45


async def test_running_twice_at_once_is_refused() -> None:
    """Two blocks would mix their figures."""
    async with StallMonitor() as monitor:
        with pytest.raises(InvalidInputError, match="running already"):
            await monitor.__aenter__()


async def test_cancelled_block_leaves_no_task_timer_or_thread() -> None:
    """Cancelling the measured work ends the measuring."""
    tasks_before = asyncio.all_tasks()
    monitor = StallMonitor(threshold_ms=10)

    async def measured() -> None:
        async with monitor:
            await asyncio.sleep(60)

    task = asyncio.create_task(measured())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    ticks = monitor.report().ticks
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == tasks_before
    assert monitor.report().ticks == ticks
    assert "hqt-stall-watchdog" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"tick_ms": 0}, "tick_ms"),
        ({"tick_ms": float("nan")}, "tick_ms"),
        ({"threshold_ms": -1}, "threshold_ms"),
        ({"threshold_ms": float("inf")}, "threshold_ms"),
        ({"threshold_ms": 1, "tick_ms": 2}, "threshold_ms"),
    ],
)
def test_impossible_times_are_refused(options: dict[str, float], field: str) -> None:
    """The refusal names the argument."""
    with pytest.raises(InvalidInputError, match=field) as refusal:
        StallMonitor(**options)
    assert refusal.value.field == field


def test_histogram_is_right_within_five_per_cent() -> None:
    """Percentiles of known delays, far apart in size."""
    delays = _Histogram()
    for delay_ms in range(1, 10_001):
        delays.record(float(delay_ms))
    assert delays.quantile_ms(0.5) == pytest.approx(5_000, rel=0.05)
    assert delays.quantile_ms(0.99) == pytest.approx(9_900, rel=0.05)
    assert delays.quantile_ms(1.0) == delays.max_ms == 10_000


def test_histogram_takes_any_delay() -> None:
    """Neither no delay nor hours of suspension fall out of it."""
    delays = _Histogram()
    assert delays.quantile_ms(0.99) == 0
    delays.record(0.0)
    delays.record(86_400_000.0)
    assert delays.max_ms == 86_400_000.0
    assert delays.quantile_ms(0.5) < 0.02
