"""The state of accounts over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from sqlalchemy import Double, cast, func, select, tuple_

from hqt_async_db.models import AccountSnapshot
from hqt_async_db.repositories.base import BaseRepository
from hqt_async_db.repositories.queries import given, within

if TYPE_CHECKING:
    from datetime import datetime

    from hqt_async_db.repositories.queries import ReadOptions


class AccountSnapshotRepository(BaseRepository[AccountSnapshot]):
    """Balances and equities of accounts."""

    async def get_by_account(
        self,
        account_id: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        **options: Unpack[ReadOptions],
    ) -> list[AccountSnapshot]:
        """Return the snapshots from ``start`` to before ``end``, by time. One SELECT."""
        options.setdefault("order_by", "timestamp")
        span = within(AccountSnapshot.timestamp, start, end)
        return await self.get_many(*span, account_id=account_id, **options)

    async def get_by_backtest(
        self, backtest_id: int, **options: Unpack[ReadOptions]
    ) -> list[AccountSnapshot]:
        """Return the snapshots that a backtest left, by time. One SELECT."""
        options.setdefault("order_by", "timestamp")
        return await self.get_many(backtest_id=backtest_id, **options)

    async def get_by_user(
        self, user_id: int, **options: Unpack[ReadOptions]
    ) -> list[AccountSnapshot]:
        """Return the snapshots of all accounts of a user, newest first. One SELECT."""
        options.setdefault("order_by", "-timestamp")
        return await self.get_many(user_id=user_id, **options)

    async def get_latest(self, account_id: str) -> AccountSnapshot | None:
        """Return the last snapshot of an account, or None. One SELECT."""
        found = await self.get_many(account_id=account_id, order_by="-timestamp", limit=1)
        return found[0] if found else None

    async def get_latest_per_account(
        self, *, user_id: int | None = None
    ) -> dict[str, AccountSnapshot]:
        """Return the last snapshot of each account, by account. One SELECT."""
        filters = given(user_id=user_id)
        account, moment = AccountSnapshot.account_id, AccountSnapshot.timestamp
        newest = select(account, func.max(moment)).where(*self._criteria((), filters))
        is_newest = tuple_(account, moment).in_(newest.group_by(account))
        found = await self.get_many(is_newest, order_by="id", **filters)
        return {snapshot.account_id: snapshot for snapshot in found}

    async def equity_curve(
        self, account_id: str, *, start: datetime | None = None, end: datetime | None = None
    ) -> list[Any]:
        """Return rows of (timestamp, balance, equity), by time. One SELECT.

        Args:
            account_id: The account.
            start: The first moment; the first snapshot if left out.
            end: The moment before which the curve ends.
        """
        span = within(AccountSnapshot.timestamp, start, end)
        return await self.rows(
            "timestamp", "balance", "equity",
            criteria=span, order_by=("timestamp", "id"), account_id=account_id,
        )  # fmt: skip

    async def max_drawdown(
        self, account_id: str, *, start: datetime | None = None, end: datetime | None = None
    ) -> float | None:
        """Return the deepest fall below a former peak of the equity, in percent.

        Not above zero; None without snapshots. The database computes it, in
        one SELECT.
        """
        equity = cast(AccountSnapshot.equity, Double)
        peak = func.max(equity).over(
            order_by=(AccountSnapshot.timestamp, AccountSnapshot.id), rows=(None, 0)
        )
        fall = (
            select((100 * (equity - peak) / func.nullif(peak, 0)).label("percent"))
            .where(*within(AccountSnapshot.timestamp, start, end))
            .where(AccountSnapshot.account_id == account_id)
            .subquery()
        )
        found = await self._executor.fetch(select(func.min(fall.c.percent)))
        percent: float | None = found[0][0]
        return percent
