"""Trading strategies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from hqt_async_db.models import Strategy
from hqt_async_db.repositories.base import BaseRepository
from hqt_async_db.repositories.queries import given

if TYPE_CHECKING:
    from hqt_async_db.repositories.queries import ReadOptions


class StrategyRepository(BaseRepository[Strategy]):
    """Strategies, their code and their parameters."""

    async def get_by_user(self, user_id: int, **options: Unpack[ReadOptions]) -> list[Strategy]:
        """Return the strategies of a user, by name. One SELECT."""
        options.setdefault("order_by", "name")
        return await self.get_many(user_id=user_id, **options)

    async def get_by_name(
        self, name: str, *, user_id: int | None = None, **options: Unpack[ReadOptions]
    ) -> list[Strategy]:
        """Return the strategies of this name, of one user or of all. One SELECT."""
        return await self.get_many(name=name, **given(user_id=user_id), **options)

    async def get_active(
        self, *, user_id: int | None = None, **options: Unpack[ReadOptions]
    ) -> list[Strategy]:
        """Return the active strategies, of one user or of all. One SELECT."""
        return await self.get_many(is_active=True, **given(user_id=user_id), **options)

    async def activate(self, strategy: Strategy) -> Strategy:
        """Make the strategy one that bots run. One UPDATE."""
        return await self.update(strategy, is_active=True)

    async def deactivate(self, strategy: Strategy) -> Strategy:
        """Make the strategy one that no bot runs; nothing is deleted. One UPDATE."""
        return await self.update(strategy, is_active=False)
