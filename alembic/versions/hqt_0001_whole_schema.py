"""Create the whole schema.

Revision ID: hqt_0001
Revises:
Create Date: 2026-11-23
"""
# ruff: noqa: INP001 - an __init__.py here would shadow the alembic package

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

if TYPE_CHECKING:
    from collections.abc import Sequence

revision: str = "hqt_0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Create every table with its constraints and indexes."""
    for table, create_table in TABLES.items():
        create_table(table)


def downgrade() -> None:
    """Drop every table, with all rows."""
    for table in reversed(TABLES):
        op.drop_table(table)


def text(length: int | None = None) -> sa.types.TypeEngine[str]:
    """Return text in code-point order; the collation depends on the server."""
    mariadb = getattr(op.get_context().dialect, "is_mariadb", False)
    collation = "utf8mb4_nopad_bin" if mariadb else "utf8mb4_0900_bin"
    kind = sa.Text if length is None else sa.String
    on_mysql: sa.String = mysql.LONGTEXT(charset="utf8mb4", collation=collation)
    if length is not None:
        on_mysql = mysql.VARCHAR(length, charset="utf8mb4", collation=collation)
    variants = kind(length).with_variant(kind(length, collation="C"), "postgresql")
    return variants.with_variant(on_mysql, "mysql", "mariadb")


def row_id() -> sa.types.TypeEngine[int]:
    """Return 64 bits; SQLite numbers rows by itself only in an INTEGER."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def utc() -> sa.types.TypeEngine[Any]:
    """Return a point in time, to the microsecond."""
    return sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def required(kind: sa.types.TypeEngine[Any], names: str) -> list[sa.Column[Any]]:
    """Return columns of one type that must have a value."""
    return [sa.Column(name, kind, nullable=False) for name in names.split()]


def optional(kind: sa.types.TypeEngine[Any], names: str) -> list[sa.Column[Any]]:
    """Return columns of one type that may be NULL."""
    return [sa.Column(name, kind, nullable=True) for name in names.split()]


def unique(table: str, names: str) -> sa.UniqueConstraint:
    """Return a unique key, named after its columns."""
    columns = names.split()
    return sa.UniqueConstraint(*columns, name=op.f(f"uq_{table}_{'_'.join(columns)}"))


def one_of(table: str, column: str, words: str) -> sa.CheckConstraint:
    """Return the constraint that closes a column to a vocabulary."""
    quoted = ", ".join(f"'{word}'" for word in words.split())
    return sa.CheckConstraint(f"{column} IN ({quoted})", name=op.f(f"ck_{table}_{column}"))


def reference(table: str, column: str, target: str, ondelete: str) -> sa.ForeignKeyConstraint:
    """Return the foreign key of one column."""
    name = op.f(f"fk_{table}_{column}")
    return sa.ForeignKeyConstraint([column], [target], name=name, ondelete=ondelete)


def create(table: str, *items: sa.schema.SchemaItem, indexes: Sequence[str] = ()) -> None:
    """Create a table with a numbered primary key, and its indexes."""
    key = sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}"))
    op.create_table(table, *required(row_id(), "id"), *items, key)
    for names in indexes:
        columns = names.split()
        op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, columns)


def _create_users(table: str) -> None:
    create(
        table,
        *required(text(50), "username"),
        *required(text(254), "email"),
        *required(text(255), "password_hash"),
        *optional(text(100), "full_name"),
        *required(sa.Boolean(), "is_active is_superuser"),
        *required(utc(), "created_at updated_at"),
        unique(table, "username"),
        unique(table, "email"),
        indexes=("is_active",),
    )


def _create_notifications(table: str) -> None:
    create(
        table,
        *required(row_id(), "user_id"),
        *required(text(16), "level"),
        *optional(text(64), "category"),
        *required(text(200), "title"),
        *required(text(), "message"),
        *required(sa.Boolean(), "is_read"),
        *optional(utc(), "read_at"),
        *required(utc(), "created_at"),
        one_of(table, "level", "debug info success warning error critical"),
        reference(table, "user_id", "users.id", "CASCADE"),
        indexes=("level created_at", "user_id created_at", "user_id is_read created_at"),
    )


def _create_strategies(table: str) -> None:
    create(
        table,
        *required(row_id(), "user_id"),
        *required(text(100), "name"),
        *optional(text(), "description"),
        *optional(text(255), "class_name"),
        *required(sa.JSON(), "parameters"),
        *required(sa.Boolean(), "is_active"),
        *required(utc(), "created_at updated_at"),
        reference(table, "user_id", "users.id", "CASCADE"),
        indexes=("is_active", "name", "user_id name"),
    )


def _create_user_settings(table: str) -> None:
    create(
        table,
        *required(row_id(), "user_id"),
        *required(text(16), "theme language"),
        *required(text(64), "timezone"),
        *required(text(16), "base_currency"),
        *optional(text(64), "default_symbol"),
        *optional(text(16), "default_timeframe"),
        *optional(sa.Double(), "risk_per_trade"),
        *required(sa.Boolean(), "email_notifications"),
        *required(sa.JSON(), "settings"),
        *required(utc(), "created_at updated_at"),
        *required(sa.Integer(), "version"),
        one_of(table, "theme", "system light dark"),
        unique(table, "user_id"),
        reference(table, "user_id", "users.id", "CASCADE"),
    )


def _create_backtests(table: str) -> None:
    create(
        table,
        *required(row_id(), "user_id strategy_id"),
        *required(text(200), "name"),
        *required(text(64), "symbol"),
        *required(text(16), "timeframe"),
        *required(utc(), "start_date end_date"),
        *required(sa.JSON(), "parameters"),
        *required(text(16), "status"),
        *optional(text(), "error_message"),
        *optional(utc(), "started_at completed_at"),
        *required(sa.Double(), "initial_capital"),
        *optional(
            sa.Double(),
            "final_capital peak_capital commission total_return annual_return buy_hold_return "
            "cagr sharpe_ratio sortino_ratio calmar_ratio alpha beta max_drawdown avg_drawdown "
            "max_drawdown_duration_s avg_drawdown_duration_s volatility exposure",
        ),
        *optional(sa.Integer(), "total_trades winning_trades losing_trades"),
        *optional(
            sa.Double(),
            "win_rate profit_factor expectancy avg_win avg_loss best_trade_pct worst_trade_pct "
            "avg_trade_pct max_trade_duration_s avg_trade_duration_s sqn kelly_criterion",
        ),
        *required(utc(), "created_at updated_at"),
        one_of(table, "status", "pending running completed failed cancelled"),
        reference(table, "user_id", "users.id", "CASCADE"),
        reference(table, "strategy_id", "strategies.id", "CASCADE"),
        indexes=("status", "strategy_id created_at", "symbol timeframe", "user_id created_at"),
    )


def _create_trades(table: str) -> None:
    create(
        table,
        *optional(row_id(), "user_id strategy_id"),
        *required(text(64), "account_id client_order_id"),
        *optional(text(64), "venue"),
        *optional(text(128), "venue_order_id venue_trade_id"),
        *required(text(64), "symbol"),
        *required(text(16), "direction status"),
        *required(sa.Numeric(28, 8), "volume"),
        *optional(sa.Numeric(28, 8), "entry_price"),
        *optional(utc(), "entry_time"),
        *optional(sa.Numeric(28, 8), "exit_price"),
        *optional(utc(), "exit_time"),
        *optional(sa.Numeric(28, 8), "stop_loss take_profit"),
        *required(sa.Numeric(28, 8), "commission swap"),
        *optional(sa.Numeric(28, 8), "profit"),
        *optional(text(64), "exit_reason"),
        *required(utc(), "created_at updated_at"),
        *required(sa.Integer(), "version"),
        unique(table, "account_id client_order_id"),
        one_of(table, "direction", "long short"),
        one_of(
            table,
            "status",
            "pending submitted partially_filled open closing closed cancelled rejected expired",
        ),
        reference(table, "user_id", "users.id", "RESTRICT"),
        reference(table, "strategy_id", "strategies.id", "RESTRICT"),
        indexes=(
            "account_id exit_time",
            "account_id status",
            "status",
            "strategy_id entry_time",
            "symbol entry_time",
            "user_id status",
            "venue_order_id",
            "venue_trade_id",
        ),
    )


def _create_optimizations(table: str) -> None:
    create(
        table,
        *required(row_id(), "user_id strategy_id"),
        *required(text(200), "name"),
        *required(text(64), "symbol"),
        *required(text(16), "timeframe"),
        *optional(utc(), "start_date end_date"),
        *required(text(32), "method"),
        *required(text(64), "objective"),
        *required(sa.Boolean(), "maximize"),
        *required(sa.JSON(), "parameter_space"),
        *required(text(16), "status"),
        *optional(text(), "error_message"),
        *optional(sa.BigInteger(), "total_combinations"),
        *required(sa.BigInteger(), "completed_combinations"),
        *optional(sa.Double(), "best_score"),
        *optional(sa.JSON(), "best_parameters"),
        *optional(utc(), "started_at completed_at"),
        *required(utc(), "created_at updated_at"),
        one_of(table, "status", "pending running completed failed cancelled"),
        reference(table, "user_id", "users.id", "CASCADE"),
        reference(table, "strategy_id", "strategies.id", "CASCADE"),
        indexes=("status", "strategy_id created_at", "symbol timeframe", "user_id created_at"),
    )


def _create_account_snapshots(table: str) -> None:
    create(
        table,
        *optional(row_id(), "user_id backtest_id"),
        *required(text(64), "account_id"),
        *required(text(16), "mode"),
        *required(utc(), "timestamp"),
        *optional(text(16), "currency"),
        *required(sa.Numeric(28, 8), "balance equity"),
        *optional(sa.Numeric(28, 8), "margin free_margin margin_level profit"),
        *optional(sa.Integer(), "open_positions"),
        one_of(table, "mode", "live paper backtest"),
        reference(table, "user_id", "users.id", "RESTRICT"),
        reference(table, "backtest_id", "backtests.id", "CASCADE"),
        indexes=("account_id timestamp", "backtest_id timestamp", "user_id timestamp"),
    )


def _create_backtest_trades(table: str) -> None:
    create(
        table,
        *required(row_id(), "backtest_id"),
        *required(text(64), "symbol"),
        *required(text(16), "direction"),
        *required(sa.Double(), "volume"),
        *required(utc(), "entry_time"),
        *required(sa.Double(), "entry_price"),
        *optional(utc(), "exit_time"),
        *optional(sa.Double(), "exit_price"),
        *optional(text(64), "exit_reason"),
        *optional(sa.Double(), "stop_loss take_profit"),
        *required(sa.Double(), "commission swap"),
        *optional(sa.Double(), "profit profit_pct mae mfe"),
        one_of(table, "direction", "long short"),
        reference(table, "backtest_id", "backtests.id", "CASCADE"),
        indexes=("backtest_id entry_time", "symbol entry_time"),
    )


def _create_edge_results(table: str) -> None:
    create(
        table,
        *optional(text(100), "name"),
        *optional(sa.Integer(), "sample_size"),
        *optional(
            sa.Double(),
            "expectancy win_rate avg_win avg_loss payoff_ratio profit_factor edge_ratio "
            "kelly_criterion sqn t_statistic p_value confidence_low confidence_high",
        ),
        *optional(sa.Boolean(), "is_significant"),
        *required(sa.JSON(), "metrics"),
        *optional(row_id(), "user_id strategy_id backtest_id"),
        *optional(text(64), "symbol"),
        *optional(text(16), "timeframe"),
        *optional(utc(), "period_start period_end"),
        *required(utc(), "created_at"),
        reference(table, "user_id", "users.id", "CASCADE"),
        reference(table, "strategy_id", "strategies.id", "CASCADE"),
        reference(table, "backtest_id", "backtests.id", "CASCADE"),
        indexes=(
            "backtest_id created_at",
            "strategy_id created_at",
            "symbol timeframe",
            "user_id created_at",
        ),
    )


def _create_finance_metrics(table: str) -> None:
    create(
        table,
        *optional(text(64), "account_id"),
        *optional(
            sa.Double(),
            "total_return annual_return volatility sharpe_ratio sortino_ratio calmar_ratio "
            "omega_ratio max_drawdown recovery_factor ulcer_index value_at_risk "
            "conditional_value_at_risk skewness kurtosis alpha beta",
        ),
        *optional(sa.Integer(), "total_trades"),
        *optional(
            sa.Double(),
            "win_rate profit_factor expectancy avg_win avg_loss kelly_criterion sqn",
        ),
        *required(sa.JSON(), "metrics"),
        *optional(row_id(), "user_id strategy_id backtest_id"),
        *optional(text(64), "symbol"),
        *optional(text(16), "timeframe"),
        *optional(utc(), "period_start period_end"),
        *required(utc(), "created_at"),
        reference(table, "user_id", "users.id", "CASCADE"),
        reference(table, "strategy_id", "strategies.id", "CASCADE"),
        reference(table, "backtest_id", "backtests.id", "CASCADE"),
        indexes=(
            "account_id",
            "backtest_id created_at",
            "strategy_id created_at",
            "symbol timeframe",
            "user_id created_at",
        ),
    )


def _create_optimization_results(table: str) -> None:
    create(
        table,
        *required(row_id(), "optimization_id"),
        *required(sa.JSON(), "parameters"),
        *optional(
            sa.Double(),
            "score total_return sharpe_ratio max_drawdown profit_factor win_rate",
        ),
        *optional(sa.Integer(), "total_trades"),
        *required(sa.JSON(), "metrics"),
        *required(utc(), "created_at"),
        reference(table, "optimization_id", "optimizations.id", "CASCADE"),
        indexes=("optimization_id score",),
    )


# Referenced tables come before those that refer to them.
TABLES = {
    "users": _create_users,
    "notifications": _create_notifications,
    "strategies": _create_strategies,
    "user_settings": _create_user_settings,
    "backtests": _create_backtests,
    "live_trades": _create_trades,
    "optimizations": _create_optimizations,
    "paper_trades": _create_trades,
    "account_snapshots": _create_account_snapshots,
    "backtest_trades": _create_backtest_trades,
    "edge_results": _create_edge_results,
    "finance_metrics": _create_finance_metrics,
    "optimization_results": _create_optimization_results,
}
