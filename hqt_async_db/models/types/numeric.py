"""Numbers: bit-exact doubles, bounded integers, real booleans."""

from __future__ import annotations

import operator
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from math import isfinite
from numbers import Real
from typing import TYPE_CHECKING, Any, SupportsIndex, cast

from sqlalchemy import BigInteger, Boolean, Integer
from sqlalchemy import Double as SqlDouble
from sqlalchemy.sql import operators

from hqt_async_db.models.types.column import (
    ColumnType,
    Processor,
    as_coerced,
    kind_of,
    unboxed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Dialect
    from sqlalchemy.sql.operators import OperatorType
    from sqlalchemy.types import TypeEngine


_NUMBERS: tuple[type[Any], ...] = (Real, Decimal)
_ONE = Decimal(1)


class Double(ColumnType[float]):
    """A double: finite values come back bit-equal, -0.0 as 0.0.

    NaN and infinity are kept by PostgreSQL and refused where the backend
    cannot hold them. Integers and NumPy scalars are accepted where a double
    holds them exactly, a Decimal becomes the nearest double; bool and str
    are refused.
    """

    impl = SqlDouble
    cache_ok = True

    def __init__(self) -> None:
        super().__init__()

    def checked(self, value: object) -> float:
        """Return ``value`` as a float, or refuse it."""
        if type(value) is float:
            return value + 0.0
        plain = unboxed(value)
        if isinstance(plain, bool) or not isinstance(plain, _NUMBERS):
            self.refuse(f"must be a number, not {kind_of(plain)}")
        try:
            number = float(plain)
        except OverflowError:
            self.refuse("is beyond the largest double")
        except ValueError:  # a signalling NaN
            self.refuse("is no number")
        if isinstance(plain, int) and number != plain:
            self.refuse("is an integer that a double cannot hold exactly")
        return number + 0.0

    def check_backend(self, value: float, dialect: Dialect) -> None:
        """Refuse NaN and infinity except on PostgreSQL."""
        if dialect.name != "postgresql" and not isfinite(value):
            self.refuse(f"is NaN or infinite, which {dialect.name} cannot hold")

    def bind_processor(self, dialect: Dialect) -> Processor:
        """Return the function that prepares values for the driver."""

        def bind(value: object) -> float | None:
            if type(value) is float and isfinite(value):
                return value + 0.0  # the only zero is the positive one
            return self.coerce(value, dialect)

        return bind

    def bind_all(self, values: Sequence[Any], dialect: Dialect) -> Sequence[Any] | None:
        """Take floats as they are, if all are finite and none is a zero."""
        del dialect
        # One that is not finite makes the sum so; where many large ones do, each is asked.
        is_plain = type(values[0]) is float and isfinite(sum(values)) and 0.0 not in values
        return values if is_plain else None

    bind_coerced = as_coerced

    def literal_processor(self, dialect: Dialect) -> Processor:
        """Return the function that writes values into SQL text."""

        def literal(value: object) -> str:
            number = self.coerce(value, dialect)
            if number is None or isfinite(number):
                # An exponent makes it a double: 1.1 alone is an exact decimal.
                text = repr(number)
                return text if "e" in text else f"{text}e0"
            return f"'{number}'::double precision"

        return literal

    @property
    def kind(self) -> str:
        """Return what stands for this type in SQL."""
        return "double"

    def kept(self, value: Any) -> float:
        """Return what SQLite computed, unless it is infinite; NaN has become NULL before."""
        try:
            number = float(value)
        except (ValueError, OverflowError):
            self.refuse("must be a number that a double can hold")
        if not isfinite(number):
            self.refuse("is infinite, which sqlite cannot hold")
        return number + 0.0

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        """Read what the driver returned as it is: every driver gives floats."""
        del dialect, coltype

    def coerce_compared_value(self, op: OperatorType | None, value: object) -> TypeEngine[Any]:
        """Return this type: the other side is a number too."""
        del op, value
        return self


class _BoundedInteger(ColumnType[int]):
    """An integer that is refused before the driver where it does not fit."""

    cache_ok = True
    bits: int

    def checked(self, value: object) -> int:
        """Return ``value`` as an int, or refuse it."""
        if type(value) is not int:
            value = self._as_int(value)
        if not -(1 << self.bits - 1) <= value < 1 << self.bits - 1:
            self.refuse(f"is beyond {self.bits} bits")
        return value

    def _as_int(self, value: object) -> int:
        if isinstance(value, bool):
            self.refuse("must be an integer, not a value of type bool")
        try:
            return int(operator.index(cast("SupportsIndex", value)))
        except TypeError:
            self.refuse(f"must be an integer, not {kind_of(value)}")

    def bind_processor(self, dialect: Dialect) -> Processor:  # noqa: ARG002
        """Return the function that prepares values for the driver."""
        checked = self.checked
        return lambda value: None if value is None else checked(value)

    def bind_all(self, values: Sequence[Any], dialect: Dialect) -> Sequence[Any] | None:
        """Take integers as they are, if the column holds the least and the largest."""
        del dialect
        limit = 1 << self.bits - 1
        is_plain = type(values[0]) is int and -limit <= min(values) and max(values) < limit
        return values if is_plain else None

    bind_coerced = as_coerced

    def literal_processor(self, dialect: Dialect) -> Processor:  # noqa: ARG002
        """Return the function that writes values into SQL text."""
        return lambda value: str(self.checked(value))

    @property
    def kind(self) -> str:
        """Return what stands for this type in SQL."""
        return f"integer {self.bits}"

    def kept(self, value: Any) -> int:
        """Return what SQLite computed, a fraction rounded half away from zero."""
        if type(value) is int:
            return self.checked(value)
        try:
            whole = Decimal(value if isinstance(value, float) else str(value)).quantize(
                _ONE, ROUND_HALF_UP
            )
        except InvalidOperation:
            self.refuse(f"must be a number of at most {self.bits} bits")
        return self.checked(int(whole))

    def coerce_compared_value(self, op: OperatorType | None, value: object) -> TypeEngine[Any]:
        """Compare with integers only; arithmetic keeps the other side's type."""
        if op is not None and not operators.is_comparison(op):
            return self.impl_instance.coerce_compared_value(op, value)
        return self


class Int32(_BoundedInteger):
    """A whole number of at most 32 bits, such as a count."""

    impl = Integer
    cache_ok = True
    bits = 32


class Int64(_BoundedInteger):
    """A whole number of at most 64 bits."""

    impl = BigInteger
    cache_ok = True
    bits = 64


class RowId(_BoundedInteger):
    """A primary key, or a reference to one: 64 bits on every backend.

    SQLite numbers rows by itself only in a column declared INTEGER. It gives
    the number of a deleted last row out again; the servers do not.
    """

    impl = BigInteger
    cache_ok = True
    bits = 64

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column type of one backend."""
        kind = Integer() if dialect.name == "sqlite" else BigInteger()
        return dialect.type_descriptor(kind)


class Flag(ColumnType[bool]):
    """True or False; 1, 0 and NumPy's booleans are taken, nothing else."""

    impl = Boolean
    cache_ok = True

    def checked(self, value: object) -> bool:
        """Return ``value`` as a bool, or refuse it."""
        if value is True or value is False:
            return value
        value = unboxed(value)
        if not isinstance(value, int) or value not in {0, 1}:
            self.refuse(f"must be True or False, not {kind_of(value)}")
        return bool(value)

    def bind_all(self, values: Sequence[Any], dialect: Dialect) -> Sequence[Any] | None:
        """Take booleans as they are: every driver does."""
        del dialect
        return values if type(values[0]) is bool else None

    bind_coerced = as_coerced

    def process_bind_param(self, value: object, dialect: Dialect) -> bool | None:
        """Prepare one value for the driver."""
        return self.coerce(value, dialect)

    @property
    def kind(self) -> str:
        """Return what stands for this type in SQL."""
        return "flag"

    def kept(self, value: Any) -> int:
        """Return the 1 or 0 that SQLite computed, or refuse it."""
        if value not in {0, 1}:
            self.refuse("must be 1 or 0")
        return int(value)

    def process_literal_param(self, value: object, dialect: Dialect) -> Any:
        """Prepare one value for SQL text."""
        return self.coerce(value, dialect)

    def coerce_compared_value(self, op: OperatorType | None, value: object) -> TypeEngine[Any]:
        """Return this type: the other side is a boolean too."""
        del op, value
        return self
