"""Points in time: aware, UTC, to the microsecond, on every backend."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import DateTime, Interval
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator

from hqt_async_db.errors import InvalidInputError
from hqt_async_db.models.types.column import ColumnType, Processor, kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Dialect
    from sqlalchemy.sql.operators import OperatorType
    from sqlalchemy.types import TypeEngine


def utc_now() -> datetime:
    """Return the current time as an aware UTC datetime."""
    return datetime.now(UTC)


class _Span(TypeDecorator[timedelta]):
    """A timedelta beside a time: PostgreSQL computes with it, the others cannot."""

    impl = Interval
    cache_ok = True

    def process_bind_param(self, value: timedelta | None, dialect: Dialect) -> timedelta | None:
        """Refuse what SQLite and MySQL would take for a point in time."""
        if value is not None and dialect.name != "postgresql":
            msg = f"{dialect.name} cannot compute with a time and a timedelta; do it in Python"
            raise InvalidInputError(msg)
        return value

    def coerce_compared_value(self, op: OperatorType | None, value: object) -> TypeEngine[Any]:
        """Return this type for a span, and that of anything else."""
        if isinstance(value, timedelta):
            return self
        return self.impl_instance.coerce_compared_value(op, value)


class UtcDateTime(ColumnType[datetime]):
    """A point in time, always read as an aware UTC datetime.

    A naive value is taken as UTC, an aware one is converted. Microseconds
    survive (``TIMESTAMPTZ``, ``DATETIME(6)``, fixed-width sortable text on
    SQLite); a ``pandas.Timestamp`` loses what it holds below a microsecond.
    Dates, strings and numbers are refused; so is a timedelta in an expression,
    but on PostgreSQL. asyncpg sends the first and the
    last microsecond that Python knows as -infinity and infinity.
    """

    impl = DateTime
    cache_ok = True

    def __init__(self) -> None:
        super().__init__(timezone=True)

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column type of one backend."""
        if dialect.name in {"mysql", "mariadb"}:
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        if dialect.name == "sqlite":
            return dialect.type_descriptor(DateTime())
        return dialect.type_descriptor(DateTime(timezone=True))

    def checked(self, value: object) -> datetime:
        """Return ``value`` as an aware UTC datetime, or refuse it."""
        if type(value) is datetime and value.tzinfo is UTC and not value.fold:
            return value
        if not isinstance(value, datetime):
            self.refuse(f"must be a datetime, not {kind_of(value)}")
        try:
            return _in_utc(value)
        except (OverflowError, TypeError, ValueError):  # year 0 or 10000; NaT
            self.refuse("is not a time between the years 1 and 9999 in UTC")

    def bind_processor(self, dialect: Dialect) -> Processor:
        """Return the function that prepares values for the driver."""
        checked = self.checked
        if dialect.name == "sqlite":
            return lambda value: None if value is None else _text(checked(value))
        if dialect.name in {"mysql", "mariadb"}:
            return lambda value: None if value is None else checked(value).replace(tzinfo=None)
        return lambda value: None if value is None else checked(value)

    def bind_all(self, values: Sequence[Any], dialect: Dialect) -> Sequence[Any] | None:
        """Take plain UTC datetimes without looking at each of them twice."""
        if type(values[0]) is not datetime or {value.tzinfo for value in values} != {UTC}:
            return None
        if dialect.name == "sqlite":
            return [value.isoformat(" ", "microseconds")[:26] for value in values]
        return values if dialect.name == "postgresql" else None

    def bind_coerced(self, dialect: Dialect) -> Processor | None:
        """Return the function that prepares what was checked for the driver."""
        if dialect.name == "sqlite":
            return lambda value: None if value is None else _text(value)
        if dialect.name in {"mysql", "mariadb"}:
            return lambda value: None if value is None else value.replace(tzinfo=None)
        return None

    @property
    def kind(self) -> str:
        """Return what stands for this type in SQL."""
        return "time"

    def kept(self, value: Any) -> str:
        """Return the time that SQLite computed in the width of all others, or refuse it."""
        try:
            moment = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            self.refuse("must be a time in ISO form")
        return _text(self.checked(moment))

    def literal_processor(self, dialect: Dialect) -> Processor:
        """Return the function that writes values into SQL text."""
        offset = "+00:00" if dialect.name == "postgresql" else ""
        return lambda value: f"'{_text(self.checked(value))}{offset}'"

    def result_processor(self, dialect: Dialect, coltype: object) -> Processor:  # noqa: ARG002
        """Return the function that reads what the driver returned."""
        return _text_to_utc if dialect.name == "sqlite" else _driver_to_utc

    def coerce_compared_value(self, op: OperatorType | None, value: object) -> TypeEngine[Any]:
        """Return the type of the other side: an interval, or a time."""
        del op
        return _Span() if isinstance(value, timedelta) else self


def _in_utc(value: datetime) -> datetime:
    """Return a plain datetime: a subclass may carry more than drivers know."""
    if value.utcoffset() is None:
        return datetime.combine(value.date(), value.time().replace(fold=0), UTC)
    plain = datetime(
        value.year, value.month, value.day, value.hour, value.minute, value.second,
        value.microsecond, value.tzinfo, fold=value.fold,
    )  # fmt: skip
    return plain.astimezone(UTC)


def _text(value: datetime) -> str:
    return value.isoformat(" ", "microseconds")[:26]  # without the offset


def _text_to_utc(value: str | None) -> datetime | None:
    # With its offset the text is parsed in one step, ten times as fast as
    # putting the time zone in afterwards.
    return None if value is None else datetime.fromisoformat(f"{value}+00:00")


def _driver_to_utc(value: datetime | None) -> datetime | None:
    if value is None or value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value.astimezone(UTC)
