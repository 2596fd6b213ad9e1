"""Searches for good parameters, and what they found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from hqt_async_db.models import Optimization, OptimizationResult
from hqt_async_db.repositories.base import BaseRepository
from hqt_async_db.repositories.queries import require_count
from hqt_async_db.repositories.runs import RunRepository
from hqt_async_db.repositories.statistics import is_known

if TYPE_CHECKING:
    from hqt_async_db.repositories.queries import ReadOptions


class OptimizationRepository(RunRepository[Optimization]):
    """Optimisations and how far they have come."""

    async def advance(self, optimization_id: int, combinations: int = 1) -> bool:
        """Add to ``completed_combinations``, atomically; tell whether the row exists.

        Workers may call it at once. One UPDATE.
        """
        counter = Optimization.completed_combinations
        values = {counter.key: counter + require_count("combinations", combinations)}
        return await self.update_many(id=optimization_id, values=values) > 0


class OptimizationResultRepository(BaseRepository[OptimizationResult]):
    """Combinations of parameters that were tried."""

    async def get_by_optimization(
        self, optimization_id: int, **options: Unpack[ReadOptions]
    ) -> list[OptimizationResult]:
        """Return the results of an optimisation, as they were stored. One SELECT."""
        return await self.get_many(optimization_id=optimization_id, **options)

    async def get_best(self, optimization_id: int, limit: int = 10) -> list[OptimizationResult]:
        """Return the results with the best score, in the sense of the optimisation.

        Results without a score are left out, and those whose score is NaN,
        which PostgreSQL keeps. Two SELECTs.
        """
        direction = OptimizationResult.optimization.has(Optimization.maximize)
        async with self._in_snapshot() as repository:
            maximize = await repository.exists(direction, optimization_id=optimization_id)
            order_by = "-score" if maximize else "score"
            scored = is_known(OptimizationResult.score)
            return await repository.get_many(
                scored, optimization_id=optimization_id, order_by=order_by, limit=limit
            )
