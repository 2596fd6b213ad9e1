"""The 13 models, their base and the column types they are made of."""

from hqt_async_db.models.accounts import AccountSnapshot
from hqt_async_db.models.backtests import Backtest, BacktestTrade
from hqt_async_db.models.base import Base, TimestampMixin
from hqt_async_db.models.notifications import Notification
from hqt_async_db.models.optimizations import Optimization, OptimizationResult
from hqt_async_db.models.research import EdgeResult, FinanceMetric
from hqt_async_db.models.strategies import Strategy
from hqt_async_db.models.trades import LiveTrade, PaperTrade
from hqt_async_db.models.types import (
    Choice,
    Double,
    ExactText,
    Flag,
    Int32,
    Int64,
    JsonDict,
    Money,
    RowId,
    UtcDateTime,
    choice_check,
)
from hqt_async_db.models.users import User, UserSetting
from hqt_async_db.models.validation import validate_values
from hqt_async_db.models.vocabulary import (
    AccountMode,
    Direction,
    NotificationLevel,
    RunStatus,
    Theme,
    TradeStatus,
)

__all__ = [
    "AccountMode",
    "AccountSnapshot",
    "Backtest",
    "BacktestTrade",
    "Base",
    "Choice",
    "Direction",
    "Double",
    "EdgeResult",
    "ExactText",
    "FinanceMetric",
    "Flag",
    "Int32",
    "Int64",
    "JsonDict",
    "LiveTrade",
    "Money",
    "Notification",
    "NotificationLevel",
    "Optimization",
    "OptimizationResult",
    "PaperTrade",
    "RowId",
    "RunStatus",
    "Strategy",
    "Theme",
    "TimestampMixin",
    "TradeStatus",
    "User",
    "UserSetting",
    "UtcDateTime",
    "choice_check",
    "validate_values",
]
