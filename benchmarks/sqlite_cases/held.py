"""One row by key on a connection that is held.

Its floor does both in one call: an empty hop, then the statement. That is
more than the two in loops of their own, beside it, because what follows a
wait for a thread runs on cold caches, whoever wrote it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiosqlite
from sqlalchemy import create_engine, select

from benchmarks.errors import WrongWorkError
from benchmarks.models import HqtTrade, HqtTrades
from benchmarks.sqlite_cases.site import side_by_side
from benchmarks.verdicts import judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.results import Measurement, SuiteResult, Verdict
    from benchmarks.sqlite_cases.site import Site
    from benchmarks.suite import Settings

HOP = "an empty hop"
CORE = "sync Core"
FLOOR = "hop, then sync Core"
OURS = "held (ours)"
OURS_CORE = "held (Core)"
AT_MOST = 1.2


async def measure(site: Site, settings: Settings, result: SuiteResult) -> None:
    """Compare with the floor; show what it consists of."""
    columns = select(*HqtTrade.__table__.columns)
    calls = 100 if settings.quick else 3000
    no_tracing: Any = None  # which aiosqlite's annotation forgets; it is a hop that does nothing
    engine = create_engine(site.database.url)
    async with (
        aiosqlite.connect(site.database.path) as bare,
        site.ours.db.engine.connect() as ours,
        site.ours.db.session() as session,
    ):
        await session.connection()  # from here on the session holds one
        trades = HqtTrades(session)
        with engine.connect() as core:

            async def hop(_: int) -> None:
                await bare.set_trace_callback(no_tracing)

            async def through_core(key: int) -> Any:
                return core.execute(columns.where(HqtTrade.id == key)).one()

            async def floor(key: int) -> Any:
                await hop(key)
                return await through_core(key)

            async def through_ours_core(key: int) -> Any:
                return (await ours.execute(columns.where(HqtTrade.id == key))).one()

            async def through_ours(key: int) -> Any:
                return (await trades.rows(id=key))[0]

            if not await through_core(1) == await through_ours(1) == await through_ours_core(1):
                msg = "the three ways to read one row disagree"
                raise WrongWorkError(msg)
            found = await side_by_side(
                settings,
                "held connection",
                {
                    HOP: hop,
                    CORE: through_core,
                    FLOOR: floor,
                    OURS: through_ours,
                    OURS_CORE: through_ours_core,
                },
                lambda: site.keys(calls),
            )
    engine.dispose()
    result.measurements += found
    result.verdicts += [
        _judge(found, OURS, "one row by key on a held connection, by a repository"),
        _judge(found, OURS_CORE, "the same through SQLAlchemy's AsyncConnection"),
    ]


def _judge(found: Sequence[Measurement], subject: str, what: str) -> Verdict:
    median = {one.subject: one.median for one in found}
    return judge(
        what,
        median[subject] / median[FLOOR],
        AT_MOST,
        f"at most {AT_MOST} of a bare hop, then synchronous Core",
        at_least=False,
    )
