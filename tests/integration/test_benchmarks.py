"""The benchmarks refuse the work of those who claim more than they did."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.databases import Database
from benchmarks.errors import WrongWorkError
from benchmarks.peers.hqt import Hqt
from benchmarks.peers.peer import BULK, GET, INSERT, LIST, ROWS, STREAM, UPDATE
from benchmarks.table import make_rows
from benchmarks.witness import Witness
from benchmarks.workloads import ALL, LIMIT, Seat, Sizes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.table import Row

SIZES = Sizes(rows=150, bulk=20)


class Forgetful(Hqt):
    """Does not do what it is asked for, or not all of it."""

    async def get(self, key: int) -> Any:
        return await super().get(key + 1) if key == 0 else None

    async def insert(self, row: Row) -> Any:
        del row

    async def update(self, key: int, change: Row) -> None:
        await super().update(key, {"profit": change["profit"]})

    async def list(self, limit: int) -> Sequence[Any]:
        return await super().list(limit - 1)

    async def rows(self, limit: int) -> Sequence[Any]:
        return [(*row[:-1], "another note") for row in await super().rows(limit)]

    async def bulk_insert(self, rows: Sequence[Row]) -> None:
        await super().bulk_insert([{**row, "volume": row["volume"] + 1} for row in rows])

    async def stream(self) -> tuple[int, Any]:
        count, last = await super().stream()
        return count - 1, last


def do_rounds(path: Path, peer_type: type[Hqt], *operations: str) -> int:
    """Do a round of each operation; return how many rows there are afterwards."""
    database = Database("SQLite", f"sqlite:///{path / 'bench.db'}", pool_size=4)

    async def work(witness: Witness) -> None:
        peer = peer_type(database)
        await peer.open()
        try:
            seat = Seat(peer, witness, SIZES, random.Random(1))
            await seat.require_durability()
            for operation in operations:
                await seat.round(operation, 20, 4)
        finally:
            await peer.close()

    with Witness("SQLite", database.url) as witness:
        witness.create_table()
        witness.fill(make_rows(random.Random(1), SIZES.rows))
        asyncio.run(work(witness))
        return witness.count()


def test_honest_work_is_proven_and_leaves_the_table_as_it_was(tmp_path: Path) -> None:
    assert SIZES.rows >= LIMIT
    assert do_rounds(tmp_path, Hqt, *ALL) == SIZES.rows


@pytest.mark.parametrize("operation", [GET, INSERT, UPDATE, LIST, ROWS, BULK, STREAM])
def test_wrong_work_ends_the_run(tmp_path: Path, operation: str) -> None:
    with pytest.raises(WrongWorkError, match="hqt_async_db"):
        do_rounds(tmp_path, Forgetful, operation)


def test_less_durability_than_the_others_ends_the_run(tmp_path: Path) -> None:
    class Careless(Hqt):
        async def scalar(self, sql: str) -> object:
            return 1 if "synchronous" in sql else await super().scalar(sql)

    with pytest.raises(WrongWorkError, match="synchronous is 1, not 2"):
        do_rounds(tmp_path, Careless, GET)
