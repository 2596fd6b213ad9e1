"""Live and paper trades: positions from the opening order to the exit."""

from __future__ import annotations

from collections import defaultdict
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any, Final, TypeVar, Unpack

from hqt_async_db.errors import InvalidInputError
from hqt_async_db.models import LiveTrade, PaperTrade, TradeStatus
from hqt_async_db.models.types import utc_now
from hqt_async_db.repositories.base import BaseRepository
from hqt_async_db.repositories.queries import given, within

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from sqlalchemy import ColumnElement

    from hqt_async_db.connection.executors.streams import RowStream
    from hqt_async_db.repositories.queries import ReadOptions

PositionT = TypeVar("PositionT", bound=LiveTrade | PaperTrade)

_UNFILLED: Final = (TradeStatus.PENDING, TradeStatus.SUBMITTED)
# Sums are exact whatever the application has set for its own decimals.
_EXACT: Final = Context(prec=60)
_IN_MARKET: Final = (TradeStatus.PARTIALLY_FILLED, TradeStatus.OPEN, TradeStatus.CLOSING)


class PositionRepository(BaseRepository[PositionT]):
    """Positions of accounts; the same for real money and on paper."""

    async def record(
        self, account_id: str, client_order_id: str, **values: Any
    ) -> tuple[PositionT, bool]:
        """Write an order down, once; tell whether this call did.

        Call it before the order is sent, and send it only if the answer is
        True: a replay of the same ``client_order_id`` changes nothing and
        returns the row as it is now, in any task or process. One SELECT and,
        for a new order, one INSERT.

        Args:
            account_id: The account that trades.
            client_order_id: The order's identifier of one's own making.
            values: The other fields; ``symbol``, ``direction`` and ``volume``
                are required.

        Raises:
            InvalidInputError: The identifier belongs to an order of another
                symbol or direction.
        """
        stored, created = await self.get_or_create(
            values, account_id=account_id, client_order_id=client_order_id
        )
        if any(getattr(stored, name) != values[name] for name in ("symbol", "direction")):
            msg = f"client_order_id was used for another order, on {stored.symbol}"
            raise InvalidInputError(msg, field="client_order_id")
        return stored, created

    async def get_by_client_order_id(
        self, account_id: str, client_order_id: str
    ) -> PositionT | None:
        """Return the position that an order opened, or None. One SELECT."""
        return await self.get_one_or_none(account_id=account_id, client_order_id=client_order_id)

    async def get_by_venue_order_id(
        self, venue_order_id: str, *, account_id: str | None = None
    ) -> PositionT | None:
        """Return the position by the venue's name of its order, or None. One SELECT.

        Raises:
            MultipleRecordsFoundError: Two venues use the same name.
        """
        return await self.get_one_or_none(
            venue_order_id=venue_order_id, **given(account_id=account_id)
        )

    async def get_open(
        self,
        account_id: str | None = None,
        *,
        symbol: str | None = None,
        **options: Unpack[ReadOptions],
    ) -> list[PositionT]:
        """Return the positions in the market, oldest first. One SELECT.

        Those are open, partially filled or closing.
        """
        options.setdefault("order_by", "id")
        filters = given(account_id=account_id, symbol=symbol)
        return await self.get_many(status=_IN_MARKET, **filters, **options)

    async def get_unfilled(
        self, account_id: str | None = None, **options: Unpack[ReadOptions]
    ) -> list[PositionT]:
        """Return the orders that were written down and not filled, oldest first.

        Ask the venue about these after a crash. One SELECT.
        """
        return await self.get_many(status=_UNFILLED, **given(account_id=account_id), **options)

    async def get_closed(
        self,
        account_id: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        **options: Unpack[ReadOptions],
    ) -> list[PositionT]:
        """Return the closed positions by exit time, from ``start`` to before ``end``.

        One SELECT.
        """
        options.setdefault("order_by", "exit_time")
        span = within(self.model.exit_time, start, end)
        return await self.get_many(
            *span, account_id=account_id, status=TradeStatus.CLOSED, **options
        )

    async def get_by_user(self, user_id: int, **options: Unpack[ReadOptions]) -> list[PositionT]:
        """Return the positions of a user. One SELECT."""
        return await self.get_many(user_id=user_id, **options)

    async def get_by_strategy(
        self, strategy_id: int, **options: Unpack[ReadOptions]
    ) -> list[PositionT]:
        """Return the positions of a strategy, by entry time. One SELECT."""
        options.setdefault("order_by", "entry_time")
        return await self.get_many(strategy_id=strategy_id, **options)

    async def get_by_symbol(self, symbol: str, **options: Unpack[ReadOptions]) -> list[PositionT]:
        """Return the positions on a symbol, by entry time. One SELECT."""
        options.setdefault("order_by", "entry_time")
        return await self.get_many(symbol=symbol, **options)

    async def get_by_status(self, status: str, **options: Unpack[ReadOptions]) -> list[PositionT]:
        """Return the positions of a :class:`TradeStatus`. One SELECT."""
        return await self.get_many(status=status, **options)

    async def mark_open(
        self, position: PositionT, *, entry_price: Any, entry_time: datetime | None = None,
        **values: Any,
    ) -> PositionT:  # fmt: skip
        """Note that the order was filled. One UPDATE.

        Args:
            position: A position whose order was not filled completely.
            entry_price: Price per unit, in the quote currency.
            entry_time: When it was filled; now if left out.
            values: Further fields, such as ``venue_order_id`` or ``volume``.

        Raises:
            InvalidInputError: It is open or closed already.
            StaleRecordError: Another task changed the row meanwhile.
        """
        self._require_instance(position)
        _require_status(position, *_UNFILLED, TradeStatus.PARTIALLY_FILLED)
        opened = {"entry_price": entry_price, "entry_time": entry_time or utc_now()}
        return await self.update(position, **{"status": TradeStatus.OPEN, **opened, **values})

    async def mark_closed(
        self, position: PositionT, *, exit_price: Any, profit: Any,
        exit_time: datetime | None = None, **values: Any,
    ) -> PositionT:  # fmt: skip
        """Note that the position was closed. One UPDATE.

        Args:
            position: A position in the market.
            exit_price: Price per unit, in the quote currency.
            profit: After commission and swap, in the account's currency.
            exit_time: When it was closed; now if left out.
            values: Further fields, such as ``exit_reason`` or ``commission``.

        Raises:
            InvalidInputError: It is not in the market.
            StaleRecordError: Another task changed the row meanwhile.
        """
        self._require_instance(position)
        _require_status(position, *_IN_MARKET)
        closed = {"exit_price": exit_price, "profit": profit, "exit_time": exit_time or utc_now()}
        return await self.update(position, **{"status": TradeStatus.CLOSED, **closed, **values})

    async def realised_profit(
        self, account_id: str, *, start: datetime | None = None, end: datetime | None = None
    ) -> Decimal:
        """Return the profit of positions closed from ``start`` to before ``end``.

        Without bounds, also of those that have no ``exit_time``. Exact on
        every backend; one SELECT, constant memory.
        """
        profit = Decimal(0)
        async with self._closed(account_id, within(self.model.exit_time, start, end)) as rows:
            async for row in rows:
                profit = _EXACT.add(profit, row.profit)
        return profit

    async def daily_profit(
        self, account_id: str, *, start: datetime | None = None, end: datetime | None = None
    ) -> dict[date, Decimal]:
        """Return the realised profit per day of UTC, in the order of days.

        Positions without ``exit_time`` are of no day, and left out. Exact on
        every backend; one SELECT, constant memory per day.
        """
        days: defaultdict[date, Decimal] = defaultdict(Decimal)
        closed_at = self.model.exit_time
        times = [*within(closed_at, start, end), closed_at.is_not(None)]
        async with self._closed(account_id, times, order_by="exit_time") as rows:
            async for row in rows:
                day = row.exit_time.date()
                days[day] = _EXACT.add(days[day], row.profit)
        return dict(days)

    def _closed(
        self, account_id: str, times: Sequence[ColumnElement[bool]], **options: Any
    ) -> RowStream[Any]:
        """Stream when positions were closed, and their profits."""
        return self.stream(
            *times,
            self.model.profit.is_not(None),
            columns=("exit_time", "profit"),
            account_id=account_id,
            status=TradeStatus.CLOSED,
            **options,
        )


class LiveTradeRepository(PositionRepository[LiveTrade]):
    """Positions with real money."""


class PaperTradeRepository(PositionRepository[PaperTrade]):
    """Simulated positions on live prices."""


def _require_status(position: LiveTrade | PaperTrade, *allowed: TradeStatus) -> None:
    if position.status not in allowed:
        msg = f"the position is {position.status}; it must be {' or '.join(allowed)}"
        raise InvalidInputError(msg, field="status")
