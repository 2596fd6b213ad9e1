"""32 tasks that insert one row per transaction.

One-shot calls that wait together share a commit; each session has its own,
whether it flushes what was added to it or creates it through a repository.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.exc import SQLAlchemyError

from benchmarks.errors import WrongWorkError
from benchmarks.measuring import calls_for, percentiles, rotated, take_time
from benchmarks.models import HqtTrade, HqtTrades
from benchmarks.peers.sqlalchemy_orm import Trade
from benchmarks.results import Measurement
from benchmarks.table import make_rows
from benchmarks.verdicts import judge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.measuring import Timed
    from benchmarks.results import SuiteResult
    from benchmarks.sqlite_cases.site import Site
    from benchmarks.suite import Settings
    from benchmarks.table import Row

TASKS: Final = 32
ONE_SHOT: Final = "create (ours)"
SESSION: Final = "session (ours)"
IN_SESSION: Final = "create in a session (ours)"
STOCK: Final = "session, stock"
TRANSACTIONS: Final = 100_000
_QUICK_TRANSACTIONS: Final = 320
_STOCK_ROUND_S: Final = 2.0
FASTER: Final = 3.0
P99_TO_MEDIAN: Final = 3.0


class Writers:
    """The ways to insert a row, and the errors they met."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.errors: dict[str, int] = dict.fromkeys((ONE_SHOT, IN_SESSION, SESSION, STOCK), 0)
        self._ways: dict[str, Callable[[Row], Awaitable[Any]]] = {
            ONE_SHOT: site.ours.insert,
            IN_SESSION: self._create_in_session,
            SESSION: self._through_session,
            STOCK: self._through_stock,
        }

    async def _create_in_session(self, row: Row) -> None:
        async with self._site.ours.db.session() as session:
            await HqtTrades(session).create(**row)

    async def _through_session(self, row: Row) -> None:
        async with self._site.ours.db.session() as session:
            session.add(HqtTrade(**row))

    async def _through_stock(self, row: Row) -> None:
        async with self._site.stock_sessions.begin() as session:
            session.add(Trade(**row))

    async def round(self, way: str, transactions: int) -> Timed:
        """Insert rows, count errors, and count what is in the file.

        Raises:
            WrongWorkError: The file has other rows than were acknowledged.
        """
        insert = self._ways[way]
        before, failed = self._site.witness.count(), self.errors[way]

        async def write(row: Row) -> None:
            try:
                await insert(row)
            except SQLAlchemyError:
                self.errors[way] += 1

        timed = await take_time(write, make_rows(self._site.chance, transactions), TASKS)
        stored = self._site.witness.count() - before
        acknowledged = transactions - (self.errors[way] - failed)
        if stored != acknowledged:
            msg = f"{way} acknowledged {acknowledged} rows, and {stored} are stored"
            raise WrongWorkError(msg)
        self._site.witness.delete_after(self._site.rows)
        return timed


async def measure(site: Site, settings: Settings, result: SuiteResult) -> None:
    """Compare throughput with the stock dialect; look at latencies and errors."""
    writers = Writers(site)
    per_round = await _transactions(writers, settings)
    timed: dict[str, list[Timed]] = {way: [] for way in per_round}
    for number in range(settings.rounds):
        for way in rotated(list(per_round), number):
            timed[way].append(await writers.round(way, per_round[way]))
    result.measurements += [
        Measurement(
            backend="SQLite",
            operation="writers",
            subject=way,
            concurrency=TASKS,
            unit="op/s",
            rounds=tuple(round_.calls_per_s for round_ in rounds),
            calls=per_round[way],
            latency_us=percentiles([one for round_ in rounds for one in round_.latencies_s]),
        )
        for way, rounds in timed.items()
    ]
    for way in (SESSION, IN_SESSION, ONE_SHOT):
        _judge(result, way, timed, writers.errors[way], per_round[way] * settings.rounds)


async def _transactions(writers: Writers, settings: Settings) -> dict[str, int]:
    """Warm up, and return how many transactions a round of each has."""
    for way in (ONE_SHOT, IN_SESSION, SESSION):
        await writers.round(way, TASKS)
    stock = await writers.round(STOCK, TASKS * 2)
    if settings.quick:
        return dict.fromkeys((ONE_SHOT, IN_SESSION, SESSION, STOCK), _QUICK_TRANSACTIONS)
    own = -(-TRANSACTIONS // (settings.rounds * TASKS)) * TASKS
    seconds = stock.seconds / len(stock.latencies_s)
    ours = dict.fromkeys((ONE_SHOT, IN_SESSION, SESSION), own)
    return {**ours, STOCK: calls_for(seconds, _STOCK_ROUND_S, TASKS)}


def _judge(
    result: SuiteResult, way: str, timed: dict[str, list[Timed]], errors: int, transactions: int
) -> None:
    def throughput(name: str) -> float:
        return statistics.median(round_.calls_per_s for round_ in timed[name])

    tails = [percentiles(round_.latencies_s) for round_ in timed[way]]
    result.verdicts += [
        judge(
            f"32 tasks inserting, {way}",
            throughput(way) / throughput(STOCK),
            FASTER,
            f"at least {FASTER:.0f} times the stock dialect",
            at_least=True,
        ),
        judge(
            f"32 tasks inserting, p99 to median, {way}",
            statistics.median(tail["p99"] / tail["p50"] for tail in tails),
            P99_TO_MEDIAN,
            f"at most {P99_TO_MEDIAN:.0f} times the median",
            at_least=False,
        ),
        judge(
            f"errors in {transactions:,} transactions, {way}",
            errors,
            0,
            "none",
            at_least=False,
            unit="errors",
        ),
    ]
