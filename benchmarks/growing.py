"""One case of the suite ``scale``, in a process of its own."""

from __future__ import annotations

import asyncio
import random
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.errors import WrongWorkError
from benchmarks.measuring import calls_for, take_time
from benchmarks.models import HqtTrade
from benchmarks.peers.hqt import Hqt
from benchmarks.peers.peer import BULK, GET, STREAM
from benchmarks.table import make_rows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from benchmarks.databases import Database

_PAGE_ROWS: Final = 100
_BULK_ROWS: Final = 5_000
_KIB_PER_MIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Task:
    """What the process is to measure.

    Attributes:
        database: Where.
        operation: What.
        rows: In the table.
        rounds: How many.
        round_s: How long each.
        seed: Of what is chosen.
    """

    database: Database
    operation: str
    rows: int
    rounds: int
    round_s: float
    seed: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What the process found.

    Attributes:
        microseconds: Per call, or per row where calls move many; by round.
        calls: Per round.
        peak_mib: Memory beyond what the process had when it was warm.
        rows_added: How many more rows there are now.
    """

    microseconds: list[float]
    calls: int
    peak_mib: float
    rows_added: int


def measure(task: Task) -> Figures:
    """Measure one case; the process ought to be new."""
    return asyncio.run(_measure(task))


async def _measure(task: Task) -> Figures:
    peer = Hqt(task.database)
    await peer.open()
    try:
        chance = random.Random(task.seed)
        await peer.get(1)
        call, choose, rows = await _case(peer, task, chance)
        before = peak_mib()
        first = await take_time(call, choose(1), 1)
        calls = calls_for(first.seconds, task.round_s, 1)
        rounds = [await take_time(call, choose(calls), 1) for _ in range(task.rounds)]
        added = rows * (1 + calls * task.rounds) if task.operation == BULK else 0
        per_row = [taken.seconds / calls / rows * 1e6 for taken in rounds]
        return Figures(per_row, calls, peak_mib() - before, added)
    finally:
        await peer.close()


_Case = tuple["Callable[[Any], Awaitable[Any]]", "Callable[[int], Sequence[Any]]", int]


async def _case(peer: Hqt, task: Task, chance: random.Random) -> _Case:
    """Return the call, what chooses its arguments, and the rows that one call moves."""
    if task.operation == GET:
        return peer.get, lambda calls: [chance.randrange(1, task.rows + 1) for _ in range(calls)], 1
    if task.operation == STREAM:

        async def stream(_: int) -> None:
            count, _last = await peer.stream()
            if count != task.rows:
                msg = f"streamed {count} rows instead of {task.rows}"
                raise WrongWorkError(msg)

        return stream, range, task.rows
    if task.operation == BULK:
        rows = make_rows(chance, _BULK_ROWS)
        return peer.bulk_insert, lambda calls: [rows] * calls, _BULK_ROWS
    cursors = await _cursors(peer, task.rows, chance)
    return lambda cursor: _page(peer, cursor), lambda calls: chance.choices(cursors, k=calls), 1


async def _cursors(peer: Hqt, rows: int, chance: random.Random) -> list[str]:
    """Return cursors from all over the table."""
    found: list[str] = []
    for _ in range(20):
        before = chance.randrange(0, rows - _PAGE_ROWS - 1)
        page = await peer.trades.page(HqtTrade.id > before, limit=1)
        found += [page.next_cursor] if page.next_cursor else []
    return found


async def _page(peer: Hqt, cursor: str) -> None:
    page = await peer.trades.page(after=cursor, limit=_PAGE_ROWS)
    if len(page.items) != _PAGE_ROWS:
        msg = f"a page had {len(page.items)} rows instead of {_PAGE_ROWS}"
        raise WrongWorkError(msg)


def peak_mib() -> float:
    """Return the most memory that this process ever had.

    On Linux by its own account: what getrusage says there includes the parent.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / _KIB_PER_MIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (_KIB_PER_MIB**2 if sys.platform == "darwin" else _KIB_PER_MIB)
