"""Values of every column type, and rows of all 13 tables made of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from sqlalchemy import UniqueConstraint, inspect

from hqt_async_db import models
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
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import SearchStrategy
    from sqlalchemy import Column

Model = Any
START = datetime(2024, 1, 1, tzinfo=UTC)
SET = {"created_at": START, "updated_at": START}
RUN = {"user_id": 1, "strategy_id": 1, "name": "run", "symbol": "EURUSD", "timeframe": "H1"}
# In an empty table the database numbers them from 1.
PARENTS: Sequence[tuple[Model, dict[str, Any]]] = (
    *((models.User, SET | {"username": f"u{n}", "email": f"{n}@x", "password_hash": "h"})
      for n in range(1, 21)),
    (models.Strategy, SET | {"user_id": 1, "name": "MA"}),
    (models.Backtest, SET | RUN | {"initial_capital": 1.0, "start_date": START, "end_date": START}),
    (models.Optimization, SET | RUN),
)  # fmt: skip
MODELS: Sequence[Model] = (
    models.User, models.Strategy, models.Backtest, models.BacktestTrade, models.Optimization,
    models.OptimizationResult, models.LiveTrade, models.PaperTrade, models.AccountSnapshot,
    models.FinanceMetric, models.EdgeResult, models.Notification, models.UserSetting,
)  # fmt: skip
# What the database or the library sets by itself, and what links the tables.
_SET_ELSEWHERE = {"id", "version", "created_at", "updated_at", "timestamp"}

_EASTERN = timezone(timedelta(hours=-5))
_TEXTS = ["a", "é☃", "O'Brien", "%_:x ?", " x ", "{}", "$1"]
_DOUBLES = [0.0, -0.0, 0.1, 1 / 3, 1e300, -2.5, 5e-324, 100]
_AMOUNTS: list[Any] = ["0", "1.10", Decimal("-0.00000001"), 3, 1234567.125, "-0.0"]
_TIMES = [
    START,
    START.replace(microsecond=1, tzinfo=_EASTERN),
    START.replace(tzinfo=None) + timedelta(days=180, microseconds=999999),
]
_DOCUMENTS: list[Any] = [
    {},
    {"a": 1.5, "b": [1, None, "x"], "n": {"k": True}},
    '{"as": "text", "é": [0.1, -0.0]}',
]
_BY_TYPE: tuple[tuple[type[Any], list[Any]], ...] = (
    (Flag, [True, False]),
    (Double, _DOUBLES),
    (Money, _AMOUNTS),
    (UtcDateTime, _TIMES),
    (JsonDict, _DOCUMENTS),
    (Int32, [0, 7, -(2**31), 2**31 - 1]),
    (Int64, [0, 7, -(2**40), 2**53]),
    (ExactText, _TEXTS),
)
_numbers = count(1)


def values_of(column: Column[Any]) -> list[Any]:
    """Return values that a column takes, edges included."""
    if isinstance(column.type, Choice):
        return [*column.type.vocabulary, str(next(iter(column.type.vocabulary)))]
    if isinstance(column.type, RowId):
        return [1]
    return next(values for kind, values in _BY_TYPE if isinstance(column.type, kind))


def free_columns(model: Model) -> dict[str, Column[Any]]:
    """Return the columns that a caller gives, by attribute."""
    columns = {prop.key: prop.columns[0] for prop in inspect(model).column_attrs}
    return {name: column for name, column in columns.items() if name not in _SET_ELSEWHERE}


def unique_columns(model: Model) -> set[str]:
    """Return the columns of which no two rows have the same."""
    constraints = model.__table__.constraints
    unique = [c for c in constraints if isinstance(c, UniqueConstraint)]
    return {column.name for constraint in unique for column in constraint.columns}


def complete(model: Model, row: dict[str, Any]) -> dict[str, Any]:
    """Return the row with values in its unique columns that no other row has."""
    names = unique_columns(model)
    if names == {"user_id"}:
        return row | {"user_id": next(_numbers) % 20 + 1}
    return row | {name: f"unique {next(_numbers)}" for name in names}


def rows_of(model: Model) -> SearchStrategy[dict[str, Any]]:
    """Return what makes rows: some without what is optional, some with None."""
    required, optional = {}, {}
    for name, column in free_columns(model).items():
        some = st.sampled_from(values_of(column))
        if column.nullable or column.default is not None:
            optional[name] = some | st.none()
        else:
            required[name] = some
    for name in unique_columns(model):
        required[name] = st.just("")
        optional.pop(name, None)
    return st.fixed_dictionaries(required, optional=optional)


def sample_rows(model: Model, how_many: int) -> list[dict[str, Any]]:
    """Return rows that go through the values of each column, each at its own pace."""
    rows = []
    for number in range(how_many):
        row: dict[str, Any] = {"id": 100 + number}
        for place, (name, column) in enumerate(free_columns(model).items()):
            values = values_of(column) + ([None] if column.nullable else [])
            row[name] = values[(number * (1 + place % 3) + place) % len(values)]
        for name in {"created_at", "updated_at", "timestamp"} & set(
            inspect(model).column_attrs.keys()
        ):
            row[name] = START + timedelta(seconds=number)
        names = unique_columns(model)
        row |= dict.fromkeys(names, f"sample {number}")
        rows.append(row | ({"user_id": number + 1} if names == {"user_id"} else {}))
    return rows
