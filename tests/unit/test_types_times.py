"""Times are aware UTC wherever they come from."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sqlalchemy import Column, MetaData, Table
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.engine import make_url

from hqt_async_db.errors import InvalidInputError
from hqt_async_db.models.types import UtcDateTime

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

DIALECTS: list[Dialect] = [
    sqlite.dialect(),
    make_url("postgresql+asyncpg://").get_dialect()(),
    mysql.dialect(),
]
PLUS_FIVE = timezone(timedelta(hours=5))


class Tick(datetime):
    """A datetime with more to it, as pandas has one."""


def bars() -> Table:
    return Table("bars", MetaData(), Column("time", UtcDateTime()))


@given(st.datetimes(timezones=st.timezones()))
def test_a_time_is_the_same_instant_in_utc(value: datetime) -> None:
    try:
        wanted = value.astimezone(UTC)
    except OverflowError:
        assume(False)  # noqa: FBT003 - hypothesis's idiom
    stored = UtcDateTime().checked(value)
    assert stored == wanted
    assert stored.tzinfo is UTC
    assert stored.fold == 0


@given(st.datetimes())
def test_a_naive_time_is_taken_as_utc(value: datetime) -> None:
    assert UtcDateTime().checked(value) == value.replace(tzinfo=UTC)
    assert UtcDateTime().checked(value.replace(fold=1)).fold == 0


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@given(st.datetimes(timezones=st.just(UTC)))
def test_what_is_bound_is_read_back(dialect: Dialect, value: datetime) -> None:
    bind = UtcDateTime().bind_processor(dialect)
    read = UtcDateTime().result_processor(dialect, None)
    assert read(bind(value)) == value
    assert read(bind(value)).tzinfo is UTC


@given(st.lists(st.datetimes(timezones=st.just(UTC)), max_size=5))
def test_text_on_sqlite_sorts_by_time_and_has_one_width(values: list[datetime]) -> None:
    bind = UtcDateTime().bind_processor(DIALECTS[0])
    texts = [bind(value) for value in values]
    assert sorted(texts) == [bind(value) for value in sorted(values)]
    assert {len(text) for text in texts} <= {26}


def test_examples() -> None:
    noon = datetime(2023, 6, 1, 12, 0, 0, 1, UTC)
    checked = UtcDateTime().checked
    assert checked(datetime(2023, 6, 1, 12, 0, 0, 1)) == noon  # noqa: DTZ001 - naive on purpose
    assert checked(datetime(2023, 6, 1, 17, 0, 0, 1, PLUS_FIVE)) == noon
    assert checked(datetime(2023, 6, 1, 14, 0, 0, 1, ZoneInfo("Europe/Berlin"))) == noon
    assert type(checked(Tick(2023, 6, 1, 12, 0, 0, 1, UTC))) is datetime
    assert type(checked(Tick(2023, 6, 1, 12))) is datetime


@pytest.mark.parametrize(
    "value",
    [
        date(2023, 6, 1),
        "2023-06-01",
        1685620800,
        datetime(1, 1, 1, tzinfo=PLUS_FIVE),
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-5))),
    ],
)
def test_a_refusal_names_the_column(value: object) -> None:
    column_type = bars().c.time.type
    assert isinstance(column_type, UtcDateTime)
    with pytest.raises(InvalidInputError, match=r"^bars\.time ") as refusal:
        column_type.coerce(value)
    assert refusal.value.field == "bars.time"


def test_pandas_times_are_taken_and_its_missing_time_is_refused() -> None:
    pandas = pytest.importorskip("pandas")
    stamp = pandas.Timestamp("2023-06-01 17:00:00.000001", tz="Asia/Karachi")
    assert UtcDateTime().checked(stamp) == datetime(2023, 6, 1, 12, 0, 0, 1, UTC)
    assert type(UtcDateTime().checked(stamp)) is datetime
    with pytest.raises(InvalidInputError):
        UtcDateTime().checked(pandas.NaT)


@pytest.mark.parametrize(
    ("dialect", "wanted"),
    [
        (DIALECTS[0], "'2023-06-01 00:00:00.000000'"),
        (DIALECTS[1], "'2023-06-01 00:00:00.000000+00:00'"),
        (DIALECTS[2], "'2023-06-01 00:00:00.000000'"),
    ],
    ids=["sqlite", "postgresql", "mysql"],
)
def test_times_in_sql_text(dialect: Dialect, wanted: str) -> None:
    criterion = bars().c.time > datetime(2023, 6, 1, tzinfo=UTC)
    literal = str(criterion.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    assert literal == f"bars.time > {wanted}"


def test_an_interval_may_be_added() -> None:
    moved = bars().c.time + timedelta(days=1)
    assert "INTERVAL" in str(moved.compile(dialect=DIALECTS[1]))


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_none_stays_none(dialect: Dialect) -> None:
    assert UtcDateTime().bind_processor(dialect)(None) is None
    assert UtcDateTime().result_processor(dialect, None)(None) is None
