"""A trader on paper: candles in, trades and account snapshots out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING

from crossover.research import (
    COMMISSION,
    CURRENCY,
    LEVERAGE,
    POSITION_UNITS,
    SPREAD,
    SYMBOL,
    UNITS_PER_LOT,
)
from hqt_async_db import (
    AccountMode,
    AccountSnapshotRepository,
    Direction,
    NotificationLevel,
    NotificationRepository,
    PaperTradeRepository,
    TradeStatus,
)

if TYPE_CHECKING:
    import asyncio

    from crossover.research import Candle, Parameters
    from crossover.storing import Owner
    from hqt_async_db import DatabaseManager, PaperTrade, Session

ACCOUNT = "paper-ma-crossover"
VENUE = "replay"
UNITS = Decimal(POSITION_UNITS)
TICK = Decimal("0.00001")
CENT = Decimal("0.01")


class CrossoverSignal:
    """The crossing of two moving averages, candle by candle."""

    def __init__(self, parameters: Parameters) -> None:
        self._fast, self._slow = parameters.fast, parameters.slow
        self._closes: deque[Decimal] = deque(maxlen=parameters.slow)
        self._last_gap = Decimal(0)

    def update(self, close: Decimal) -> Direction | None:
        """Take the next close; return the direction if the averages just crossed."""
        self._closes.appendleft(close)
        if len(self._closes) < self._slow:
            return None
        fast_sum = sum(islice(self._closes, self._fast), Decimal(0))
        gap = fast_sum / self._fast - sum(self._closes, Decimal(0)) / self._slow
        last_gap, self._last_gap = self._last_gap, gap
        if last_gap < 0 < gap:
            return Direction.LONG
        if last_gap > 0 > gap:
            return Direction.SHORT
        return None


@dataclass(frozen=True)
class Position:
    """The open position as the trader remembers it; its row is in the database."""

    order_id: str
    direction: str
    entry_price: Decimal

    def gain(self, price: Decimal) -> Decimal:
        """Return what the position has gained at a price, before commission."""
        difference = price - self.entry_price
        return UNITS * (difference if self.direction == Direction.LONG else -difference)


class Trader:
    """Trade a crossover on paper and record every step.

    An order is written down when it is decided, and filled at the open of the
    next candle. All that one candle changes is one transaction, so no reader
    sees a trade without its effect on the account. Orders carry an id made
    of the candle's time: who replays the same candles finds them recorded
    and changes nothing.
    """

    def __init__(
        self, db: DatabaseManager, owner: Owner, parameters: Parameters, balance: Decimal
    ) -> None:
        self._db = db
        self._owner = owner
        self._signal = CrossoverSignal(parameters)
        self._balance = balance
        self._position: Position | None = None
        self._ordered: str | None = None  # the id of the order that waits for its fill
        self.candles = 0

    def warm_up(self, candles: list[Candle]) -> None:
        """Feed the averages with candles that are not traded."""
        for candle in candles:
            self._signal.update(candle.close)

    async def run(self, feed: asyncio.Queue[Candle | None]) -> None:
        """Trade until the feed ends."""
        while (candle := await feed.get()) is not None:
            async with self._db.session() as session:
                await self._on_candle(session, candle)
            self.candles += 1

    async def _on_candle(self, session: Session, candle: Candle) -> None:
        if self._ordered is not None:
            if self._position is not None:
                await self._close(session, self._position, candle)
            self._position = await self._open(session, self._ordered, candle)
        direction = self._signal.update(candle.close)
        self._ordered = await self._order(session, direction, candle) if direction else None
        await self._snapshot(session, candle)

    async def _order(self, session: Session, direction: Direction, candle: Candle) -> str:
        """Write the intended order down, before it is sent."""
        order_id = f"{candle.time:%Y%m%dT%H%M}-{direction}"
        await PaperTradeRepository(session).record(
            ACCOUNT,
            order_id,
            user_id=self._owner.user_id,
            strategy_id=self._owner.strategy_id,
            venue=VENUE,
            symbol=SYMBOL,
            direction=direction,
            volume=UNITS / UNITS_PER_LOT,
        )
        return order_id

    async def _open(self, session: Session, order_id: str, candle: Candle) -> Position:
        """Fill the waiting order at the open of this candle."""
        trades = PaperTradeRepository(session)
        trade = await trades.get_one(account_id=ACCOUNT, client_order_id=order_id)
        price = _with_spread(candle.open, trade.direction)
        self._balance -= _commission(price)
        if trade.status == TradeStatus.PENDING:
            await trades.mark_open(
                trade,
                venue_order_id=f"{VENUE}-{order_id}",
                entry_time=candle.time,
                entry_price=price,
                commission=_commission(price),
            )
        return Position(order_id, trade.direction, price)

    async def _close(self, session: Session, position: Position, candle: Candle) -> None:
        """Close the position at the open of this candle."""
        gain = position.gain(candle.open)
        self._balance += gain - _commission(candle.open)
        costs = _commission(position.entry_price) + _commission(candle.open)
        trades = PaperTradeRepository(session)
        trade = await trades.get_one(account_id=ACCOUNT, client_order_id=position.order_id)
        if trade.status == TradeStatus.OPEN:
            await trades.mark_closed(
                trade,
                exit_time=candle.time,
                exit_price=candle.open,
                exit_reason="crossover",
                commission=costs,
                profit=gain - costs,
            )
            await self._notify(session, trade)

    async def _notify(self, session: Session, trade: PaperTrade) -> None:
        """Tell the user in the transaction that closes the trade."""
        profit = trade.profit or Decimal(0)
        await NotificationRepository(session).create(
            user_id=self._owner.user_id,
            level=NotificationLevel.SUCCESS if profit > 0 else NotificationLevel.WARNING,
            category="paper trade",
            title=f"Closed {trade.client_order_id}: {profit:+,.2f} {CURRENCY}",
            message=f"{trade.direction} {trade.symbol} {trade.entry_price} to {trade.exit_price}",
        )

    async def _snapshot(self, session: Session, candle: Candle) -> None:
        """Record the account at the close of this candle."""
        open_profit = self._position.gain(candle.close) if self._position else Decimal(0)
        equity = self._balance + open_profit
        margin = UNITS * candle.close / LEVERAGE if self._position else Decimal(0)
        margin = margin.quantize(CENT)
        await AccountSnapshotRepository(session).get_or_create(
            account_id=ACCOUNT,
            timestamp=candle.time,
            defaults={
                "user_id": self._owner.user_id,
                "mode": AccountMode.PAPER,
                "currency": CURRENCY,
                "balance": self._balance,
                "equity": equity,
                "margin": margin,
                "free_margin": equity - margin,
                "margin_level": (equity / margin * 100).quantize(CENT) if margin else None,
                "profit": open_profit,
                "open_positions": 1 if self._position else 0,
            },
        )


def _with_spread(price: Decimal, direction: str) -> Decimal:
    spread = Decimal(str(SPREAD)) * (1 if direction == Direction.LONG else -1)
    return (price * (1 + spread)).quantize(TICK)


def _commission(price: Decimal) -> Decimal:
    return (UNITS * price * Decimal(str(COMMISSION))).quantize(CENT)
