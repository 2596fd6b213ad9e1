"""A session for each read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.models import HqtTrade
from benchmarks.peers.sqlalchemy_orm import Trade
from benchmarks.sqlite_cases.site import side_by_side
from benchmarks.verdicts import judge

if TYPE_CHECKING:
    from benchmarks.results import SuiteResult
    from benchmarks.sqlite_cases.site import Site
    from benchmarks.suite import Settings

OURS = "session (ours)"
STOCK = "session, stock"
AT_LEAST = 2.5


async def measure(site: Site, settings: Settings, result: SuiteResult) -> None:
    """Compare with the stock dialect."""
    calls = 50 if settings.quick else 1000

    async def ours(key: int) -> Any:
        async with site.ours.db.session() as session:
            return await session.get(HqtTrade, key)

    async def stock(key: int) -> Any:
        async with site.stock_sessions() as session:
            return await session.get(Trade, key)

    for read in (ours, stock):
        site.witness.require_same(await read(1), who="a session")
    found = await side_by_side(
        settings, "session per read", {OURS: ours, STOCK: stock}, lambda: site.keys(calls)
    )
    result.measurements += found
    median = {one.subject: one.median for one in found}
    result.verdicts.append(
        judge(
            "a session per read",
            median[STOCK] / median[OURS],
            AT_LEAST,
            f"at least {AT_LEAST} times as fast as the stock dialect",
            at_least=True,
        )
    )
