"""The schema holds what its users and its servers need."""

from __future__ import annotations

import pytest
from sqlalchemy import CheckConstraint, Table, UniqueConstraint
from sqlalchemy.orm import RelationshipDirection, configure_mappers

from hqt_async_db import models
from hqt_async_db.models import Base, Choice, ExactText

NAMES = {
    "User": "users",
    "Strategy": "strategies",
    "Backtest": "backtests",
    "BacktestTrade": "backtest_trades",
    "Optimization": "optimizations",
    "OptimizationResult": "optimization_results",
    "LiveTrade": "live_trades",
    "PaperTrade": "paper_trades",
    "AccountSnapshot": "account_snapshots",
    "FinanceMetric": "finance_metrics",
    "EdgeResult": "edge_results",
    "Notification": "notifications",
    "UserSetting": "user_settings",
}
TABLES = [Base.metadata.tables[name] for name in NAMES.values()]
VERSIONED = {"live_trades", "paper_trades", "user_settings"}
# MySQL's limit for a key, four bytes a character and eight for anything else.
KEY_BYTES = 3072

each_table = pytest.mark.parametrize("table", TABLES, ids=str)
each_model = pytest.mark.parametrize(
    "model", [getattr(models, name) for name in NAMES], ids=NAMES.keys()
)


def key_columns(table: Table) -> list[list[str]]:
    keys: list[list[str]] = [[column.name for column in table.primary_key]]
    keys += [[column.name for column in index.columns] for index in table.indexes]
    return keys + [
        [column.name for column in constraint.columns]
        for constraint in table.constraints
        if isinstance(constraint, UniqueConstraint)
    ]


@each_model
def test_related_rows_come_in_one_order_on_every_backend(model: type[Base]) -> None:
    for relationship in model.__mapper__.relationships:
        if relationship.uselist:
            assert relationship.order_by, relationship


def test_the_models_and_their_tables() -> None:
    mapped = {name: getattr(models, name).__tablename__ for name in NAMES}
    assert mapped == NAMES
    assert set(NAMES) <= set(models.__all__)
    assert models.__all__ == sorted(models.__all__)


@each_table
def test_an_index_leads_with_each_foreign_key(table: Table) -> None:
    leading = {columns[0] for columns in key_columns(table)}
    assert {column.name for column in table.columns if column.foreign_keys} <= leading


@each_table
def test_no_index_repeats_another(table: Table) -> None:
    keys = key_columns(table)
    for key in keys:
        others = [other for other in keys if other is not key]
        assert not any(other[: len(key)] == key for other in others), key


@each_table
def test_every_foreign_key_says_what_deleting_means(table: Table) -> None:
    for key in table.foreign_keys:
        kept = table.name in {"live_trades", "paper_trades"} or (
            table.name == "account_snapshots" and key.parent.name == "user_id"
        )
        assert key.ondelete == ("RESTRICT" if kept else "CASCADE"), key.parent


@each_table
def test_every_constraint_has_a_name_that_fits_everywhere(table: Table) -> None:
    names = [item.name for item in table.constraints] + [item.name for item in table.indexes]
    for name in names:
        assert isinstance(name, str)
        assert len(name) <= 63


@each_table
def test_keys_fit_into_mysql(table: Table) -> None:
    for columns in key_columns(table):
        types = [table.columns[name].type for name in columns]
        sizes = [4 * (t.length or 10**6) if isinstance(t, ExactText) else 8 for t in types]
        assert sum(sizes) <= KEY_BYTES, columns


@each_table
def test_closed_vocabularies_are_checked_by_the_database(table: Table) -> None:
    words = {
        column.name: ", ".join(f"'{word}'" for word in column.type.vocabulary)
        for column in table.columns
        if isinstance(column.type, Choice)
    }
    checks = {
        str(constraint.sqltext)
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    assert checks == {f"{name} IN ({allowed})" for name, allowed in words.items()}


@each_model
def test_relationships_have_two_ends_and_leave_deleting_to_the_database(model: type[Base]) -> None:
    configure_mappers()
    for relationship in model.__mapper__.relationships:
        if relationship.direction is RelationshipDirection.ONETOMANY:
            assert relationship.back_populates
            assert relationship.passive_deletes
        other = relationship.back_populates
        assert other is None or relationship.mapper.relationships[other].back_populates


@each_model
def test_version_counters(model: type[Base]) -> None:
    counter = model.__mapper__.version_id_col
    assert (counter is not None) == (model.__tablename__ in VERSIONED)


def test_an_order_is_recorded_once() -> None:
    for table in (Base.metadata.tables["live_trades"], Base.metadata.tables["paper_trades"]):
        unique = [key for key in table.constraints if isinstance(key, UniqueConstraint)]
        assert [key.columns.keys() for key in unique] == [["account_id", "client_order_id"]]
        assert not table.c.account_id.nullable
        assert not table.c.client_order_id.nullable
