"""This library beside the bare drivers and beside other libraries."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from benchmarks import environment
from benchmarks.interleaving import compare
from benchmarks.peers import load_peers
from benchmarks.peers.peer import OPERATIONS, OURS
from benchmarks.profiling import Profile, is_possible
from benchmarks.report.peer_charts import draw_peers
from benchmarks.suite import Suite
from benchmarks.table import make_rows
from benchmarks.verdicts import judge_peers
from benchmarks.witness import Witness
from benchmarks.workloads import Seat, Sizes

if TYPE_CHECKING:
    from benchmarks.peers.peer import Peer
    from benchmarks.results import SuiteResult
    from benchmarks.suite import Bench

_CONCURRENCY: Final = (1, 32)
_BACKENDS: Final = ("SQLite", "PostgreSQL")
_FULL: Final = {1: Sizes(rows=20_000, bulk=5_000), 32: Sizes(rows=20_000, bulk=1_000)}
_QUICK: Final = {1: Sizes(rows=500, bulk=200), 32: Sizes(rows=500, bulk=50)}


async def run(bench: Bench, result: SuiteResult) -> None:
    """Measure every peer on every backend."""
    peers, absent = load_peers()
    result.notes += [f"{name} did not take part: {reason}" for name, reason in absent.items()]
    for backend in bench.backends(result, *_BACKENDS):
        here = [peer for peer in peers if backend in peer.backends]
        await _run_backend(bench, result, backend, here)
    result.notes += [
        f"{peer.name} ({peer.kind}; {environment.version_of(peer.packages)}): {peer.how}."
        for peer in peers
    ]


async def _run_backend(
    bench: Bench, result: SuiteResult, backend: str, peers: list[type[Peer]]
) -> None:
    sizes = _QUICK if bench.settings.quick else _FULL
    for concurrency in _CONCURRENCY:
        async with AsyncExitStack() as closing:
            seats = [
                await _take_seat(bench, closing, backend, peer, sizes[concurrency])
                for peer in peers
            ]
            for operation in OPERATIONS:
                if bench.settings.wants(backend, operation):
                    bench.say(f"{backend}: {operation}, {concurrency} at once")
                    await _measure(bench, result, seats, operation, concurrency)


async def _measure(
    bench: Bench, result: SuiteResult, seats: list[Seat], operation: str, concurrency: int
) -> None:
    """Compare, judge, and look at what the time goes into where ours falls short."""
    here = {seat.peer.name: seat for seat in seats if operation in seat.peer.operations}
    measurements = await compare(bench.settings, here, operation, concurrency)
    result.measurements += measurements
    for verdict in judge_peers(measurements):
        falls_short = not verdict.passed and not bench.settings.quick and is_possible()
        if falls_short or bench.settings.profile:
            (ours,) = [seat for seat in seats if seat.peer.kind == OURS]
            profile = Profile()
            await ours.round(operation, concurrency * 20, concurrency, around=profile)
            result.profiles[verdict.what] = profile.text
            result.verdicts.append(replace(verdict, why=profile.shares))
        else:
            result.verdicts.append(verdict)


async def _take_seat(
    bench: Bench, closing: AsyncExitStack, backend: str, peer_type: type[Peer], sizes: Sizes
) -> Seat:
    """Give a peer a database of its own, with the same rows as everybody's."""
    database = bench.databases.create(backend)
    closing.callback(bench.databases.drop, database)
    witness = closing.enter_context(
        Witness(backend, database.url, time_suffix=peer_type.time_suffix)
    )
    witness.fill(make_rows(random.Random(bench.settings.seed), sizes.rows))
    peer = peer_type(database)
    await peer.open()
    closing.push_async_callback(peer.close)
    seat = Seat(peer, witness, sizes, random.Random(bench.settings.seed))
    await seat.require_durability()
    return seat


SUITE: Final = Suite(
    title="Beside its peers",
    about=(
        "The same work by every library: the same table, rows, keys and durability, the same "
        "number of connections, a fresh session or transaction for every call. The bare driver "
        "decodes to the same Python types. Rounds are interleaved and the order rotates; bars "
        "show the median relative to the bare driver. What was written is read back over an "
        "independent connection after every round. With 32 tasks a bulk insert has 1,000 rows, "
        "alone it has 5,000."
    ),
    operations=OPERATIONS,
    run=run,
    draw=draw_peers,
)
