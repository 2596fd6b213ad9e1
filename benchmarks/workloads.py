"""What is done to the table: inputs, the call, and the proof that it was done."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from benchmarks.databases import DURABILITY
from benchmarks.errors import WrongWorkError
from benchmarks.measuring import Timed, calls_for, take_time
from benchmarks.peers.hqt import Hqt
from benchmarks.peers.peer import BULK, GET, INSERT, LIST, OPERATIONS, ROWS, STREAM, UPDATE
from benchmarks.table import COLUMNS, VALUES, make_change, make_row, make_rows, normal

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Sequence

    from benchmarks.peers.peer import Peer
    from benchmarks.witness import Witness

MIXED: Final = "mixed"
LIMIT: Final = 100
_CALIBRATION_S: Final = 0.05
_MOST_CALLS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much there is, and how much one call moves.

    Attributes:
        rows: In the table before each round.
        bulk: Rows of one bulk insert.
    """

    rows: int
    bulk: int


@dataclass(slots=True)
class Seat:
    """A peer at its database, with the witness beside it.

    Attributes:
        peer: Who works.
        witness: Who looks.
        sizes: How much.
        chance: Seeded; two seats with the same seed get the same inputs.
        first_new: Highest key before a round.
    """

    peer: Peer
    witness: Witness
    sizes: Sizes
    chance: random.Random
    first_new: int = field(default=0)

    async def require_durability(self) -> None:
        """Read back, over the peer's own connection, what a commit promises.

        Raises:
            WrongWorkError: It promises less than the others' commits.
        """
        for sql, wanted in DURABILITY[self.witness.backend].items():
            found = str(await self.peer.scalar(sql)).lower()
            if found != wanted:
                msg = f"{self.peer.name}: {sql} is {found}, not {wanted}"
                raise WrongWorkError(msg)

    async def round(
        self,
        operation: str,
        calls: int,
        concurrency: int,
        *,
        around: AbstractContextManager[object] | None = None,
    ) -> Timed:
        """Do one round and prove it; the table is afterwards as it was before.

        Args:
            operation: What to do.
            calls: How often.
            concurrency: From how many tasks.
            around: Entered for the calls alone, a profiler for example.
        """
        inputs = await self._inputs(operation, calls)
        call = _CALLS[operation](self.peer)
        self.first_new = self.witness.last_id()
        with around or nullcontext():
            timed = await take_time(call, inputs, concurrency)
        _PROOFS[operation](self, inputs, timed)
        if operation in {INSERT, BULK, MIXED}:
            self.witness.delete_after(self.first_new)
        return timed

    async def calibrate(self, operation: str, concurrency: int, round_s: float) -> int:
        """Warm up, and return how many calls a round takes.

        The first calls also connect and compile: unless they fill a round all
        the same, they tell nothing of the others.
        """
        calls = concurrency
        timed = await self.round(operation, calls, concurrency)
        if timed.seconds < round_s:
            timed = await self.round(operation, calls, concurrency)
        while timed.seconds < min(_CALIBRATION_S, round_s) and calls < _MOST_CALLS:
            calls *= 4
            timed = await self.round(operation, calls, concurrency)
        return min(calls_for(timed.seconds / calls, round_s, concurrency), _MOST_CALLS)

    async def _inputs(self, operation: str, calls: int) -> Sequence[Any]:
        if operation == INSERT:
            return make_rows(self.chance, calls)
        if operation == BULK:
            return [make_rows(self.chance, self.sizes.bulk) for _ in range(calls)]
        if operation in {LIST, ROWS, STREAM}:
            return [LIMIT] * calls
        keys = _keys(self.chance, self.sizes.rows, calls)
        return keys if operation == GET else await self._changes(operation, keys)

    async def _changes(self, operation: str, keys: Sequence[int]) -> Sequence[Any]:
        if isinstance(self.peer, Hqt):
            await self.peer.see(keys)
        if operation == UPDATE:
            return [(key, make_change(self.chance)) for key in keys]
        return [_mixed(self.chance, key, turn) for turn, key in enumerate(keys)]


def _keys(chance: random.Random, rows: int, count: int) -> list[int]:
    """Return random keys, none twice before each was there once."""
    keys: list[int] = []
    while len(keys) < count:
        keys += chance.sample(range(1, rows + 1), min(rows, count - len(keys)))
    return keys


def _mixed(chance: random.Random, key: int, turn: int) -> tuple[str, int, Any]:
    """Return eight reads, one update and one insert of every ten."""
    kind = {3: UPDATE, 7: INSERT}.get(turn % 10, GET)
    values = {UPDATE: make_change, INSERT: make_row}.get(kind)
    return kind, key, values(chance) if values else None


def _call_update(peer: Peer) -> Callable[[Any], Awaitable[Any]]:
    return lambda item: peer.update(*item)


def _call_stream(peer: Peer) -> Callable[[Any], Awaitable[Any]]:
    return lambda _: peer.stream()


def _call_mixed(peer: Peer) -> Callable[[Any], Awaitable[Any]]:
    async def call(item: tuple[str, int, Any]) -> Any:
        kind, key, values = item
        if kind == GET:
            return await peer.get(key)
        if kind == INSERT:
            return await peer.insert(values)
        return await peer.update(key, values)

    return call


_CALLS: Final[dict[str, Callable[[Peer], Callable[[Any], Awaitable[Any]]]]] = {
    GET: lambda peer: peer.get,
    INSERT: lambda peer: peer.insert,
    UPDATE: _call_update,
    LIST: lambda peer: peer.list,
    ROWS: lambda peer: peer.rows,
    BULK: lambda peer: peer.bulk_insert,
    STREAM: _call_stream,
    MIXED: _call_mixed,
}


def _prove_get(seat: Seat, _: Sequence[Any], timed: Timed) -> None:
    seat.witness.require_same(timed.last, who=seat.peer.name)


def _prove_list(seat: Seat, _: Sequence[Any], timed: Timed) -> None:
    if len(timed.last) != LIMIT:
        msg = f"{seat.peer.name} returned {len(timed.last)} rows instead of {LIMIT}"
        raise WrongWorkError(msg)
    for record in (timed.last[0], timed.last[-1]):
        seat.witness.require_same(record, who=seat.peer.name, is_raw=seat.peer.is_untyped)


def _prove_stream(seat: Seat, _: Sequence[Any], timed: Timed) -> None:
    count, last = timed.last
    if count != seat.sizes.rows:
        msg = f"{seat.peer.name} streamed {count} rows instead of {seat.sizes.rows}"
        raise WrongWorkError(msg)
    seat.witness.require_same(last, who=seat.peer.name, is_raw=seat.peer.is_untyped)


def _prove_rows(seat: Seat, rows: Sequence[Any]) -> None:
    """Compare what was added with what ought to have been, whatever its order and keys."""
    wanted = sorted(repr(normal((0, *(row[c] for c in VALUES)))) for row in rows)
    stored = sorted(repr((0, *row[1:])) for row in seat.witness.rows_after(seat.first_new))
    if wanted != stored:
        msg = f"{seat.peer.name} added {len(stored)} rows; {len(wanted)} were given to it"
        if len(stored) == len(wanted):
            pair = next(pair for pair in zip(wanted, stored, strict=True) if pair[0] != pair[1])
            msg = f"{seat.peer.name} was given {pair[0]} and stored {pair[1]}"
        raise WrongWorkError(msg)


def _prove_insert(seat: Seat, inputs: Sequence[Any], _: Timed) -> None:
    _prove_rows(seat, inputs)


def _prove_bulk(seat: Seat, inputs: Sequence[Any], _: Timed) -> None:
    _prove_rows(seat, [row for rows in inputs for row in rows])


def _prove_changes(seat: Seat, changes: Sequence[tuple[int, Any]]) -> None:
    """Find, in every row that was updated, one of the changes made to it."""
    allowed: dict[int, list[Any]] = {}
    for key, change in changes:
        allowed.setdefault(key, []).append(change)
    stored = seat.witness.rows(list(allowed))
    for key, given in allowed.items():
        named = dict(zip(COLUMNS, stored[key], strict=True))
        if not any(named.items() >= change.items() for change in given):
            msg = f"{seat.peer.name} updated row {key} with {given}, but stored is {named}"
            raise WrongWorkError(msg)


def _prove_update(seat: Seat, inputs: Sequence[Any], _: Timed) -> None:
    _prove_changes(seat, inputs)


def _prove_mixed(seat: Seat, inputs: Sequence[Any], _: Timed) -> None:
    _prove_rows(seat, [values for kind, _, values in inputs if kind == INSERT])
    _prove_changes(seat, [(key, values) for kind, key, values in inputs if kind == UPDATE])


_PROOFS: Final[dict[str, Callable[[Seat, Sequence[Any], Timed], None]]] = {
    GET: _prove_get,
    INSERT: _prove_insert,
    UPDATE: _prove_update,
    LIST: _prove_list,
    ROWS: _prove_list,
    BULK: _prove_bulk,
    STREAM: _prove_stream,
    MIXED: _prove_mixed,
}
ALL: Final = (*OPERATIONS, MIXED)


def rows_per_call(operation: str, sizes: Sizes) -> int:
    """Return how many rows one call moves, where rows are what counts; else 1."""
    return {BULK: sizes.bulk, STREAM: sizes.rows}.get(operation, 1)
