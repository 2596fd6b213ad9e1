"""A value that its type has coerced goes to the driver without a second look."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.engine import make_url

from hqt_async_db.connection.executors.bulk_direct import speaks_for_all
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
    from sqlalchemy import Dialect

    from hqt_async_db.models.types import ColumnType

DIALECTS: list[Dialect] = [
    sqlite.dialect(),
    make_url("postgresql+asyncpg://").get_dialect()(),
    mysql.dialect(),
]


class Side(StrEnum):
    """What to do."""

    BUY = "buy"


class Shouted(ExactText):
    """Text that is more than it was given as."""

    cache_ok = True

    def checked(self, value: object) -> str:
        """Return it in capitals."""
        return super().checked(value).upper()


VALUES: list[tuple[ColumnType[Any], list[object]]] = [
    (ExactText(), ["", "a", "é😀", Side.BUY, None]),
    (ExactText(3), ["abc", Side.BUY]),
    (Choice(Side), ["buy", Side.BUY, None]),
    (Double(), [0.0, -0.0, 1, 1e308, 5e-324, Decimal("0.1"), None]),
    (Int32(), [0, -(2**31), 2**31 - 1, None]),
    (Int64(), [-(2**63), 2**63 - 1]),
    (RowId(), [1, None]),
    (Flag(), [True, False, 1, 0, None]),
    (
        UtcDateTime(),
        [
            datetime(1, 1, 1, tzinfo=UTC),
            datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            datetime(2026, 3, 29, 1, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
            datetime(2026, 11, 1, 1, 30, 0, 5, fold=1),  # noqa: DTZ001 - taken as UTC
            None,
        ],
    ),
]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(("kind", "values"), VALUES, ids=lambda of: type(of).__name__)
def test_the_driver_gets_what_it_would_get(
    dialect: Dialect, kind: ColumnType[Any], values: list[object]
) -> None:
    assert speaks_for_all(kind, "bind_coerced")
    at_once = kind.dialect_impl(dialect).bind_processor(dialect)
    left = kind.bind_coerced(dialect)
    for value in values:
        coerced = kind.coerce(value, dialect)
        bound = coerced if left is None else left(coerced)
        expected = coerced if at_once is None else at_once(value)
        if isinstance(kind, Flag) and expected is not None:
            expected = bool(expected)  # some get 1 and 0, which are the same to them
        assert (type(bound), repr(bound)) == (type(expected), repr(expected))


@pytest.mark.parametrize("kind", [Money(), JsonDict(), Shouted()])
def test_others_are_looked_at_again(kind: ColumnType[Any]) -> None:
    assert not speaks_for_all(kind, "bind_coerced")
