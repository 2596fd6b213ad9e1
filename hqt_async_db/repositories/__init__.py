"""Repositories: awaited queries, one class per model."""

from hqt_async_db.repositories.accounts import AccountSnapshotRepository
from hqt_async_db.repositories.backtests import BacktestRepository, TradeRepository
from hqt_async_db.repositories.base import BaseRepository
from hqt_async_db.repositories.notifications import NotificationRepository
from hqt_async_db.repositories.optimizations import (
    OptimizationRepository,
    OptimizationResultRepository,
)
from hqt_async_db.repositories.pages import Page
from hqt_async_db.repositories.positions import LiveTradeRepository, PaperTradeRepository
from hqt_async_db.repositories.queries import ReadOptions
from hqt_async_db.repositories.research import EdgeResultRepository, FinanceMetricRepository
from hqt_async_db.repositories.statistics import TradeStatistics
from hqt_async_db.repositories.strategies import StrategyRepository
from hqt_async_db.repositories.users import UserRepository, UserSettingRepository

__all__ = [
    "AccountSnapshotRepository",
    "BacktestRepository",
    "BaseRepository",
    "EdgeResultRepository",
    "FinanceMetricRepository",
    "LiveTradeRepository",
    "NotificationRepository",
    "OptimizationRepository",
    "OptimizationResultRepository",
    "Page",
    "PaperTradeRepository",
    "ReadOptions",
    "StrategyRepository",
    "TradeRepository",
    "TradeStatistics",
    "UserRepository",
    "UserSettingRepository",
]
