"""Real money: exact decimals."""

from __future__ import annotations

from contextlib import suppress
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from sqlalchemy import Numeric
from sqlalchemy.sql import operators
from sqlalchemy.types import TypeDecorator

from hqt_async_db.errors import InvalidInputError
from hqt_async_db.models.types.column import ColumnType, Processor, kind_of, unboxed

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.sql.operators import OperatorType
    from sqlalchemy.types import TypeEngine

_CONTEXT = Context(prec=50, rounding=ROUND_HALF_EVEN)
_OF_SERVERS = Context(prec=50, rounding=ROUND_HALF_UP)
_QUANTUM = Decimal("0.00000001")
_LIMIT = Decimal(10) ** 20
# A zero with eight places would print as 0E-8.
_ZERO = Decimal(0)
# Below this, 8 decimal places are at most 15 significant digits.
_ALWAYS_EXACT = Decimal(10) ** 7
_SQLITE_DIGITS = 15
# As quick as str(), which a format specification is not.
_digits = "%.15g".__mod__


class _Factor(TypeDecorator[Decimal]):
    """What money is multiplied with or divided by: a rate or a share, not rounded."""

    impl = Numeric
    cache_ok = True

    def process_bind_param(self, value: object, dialect: Dialect) -> Decimal | None:
        """Prepare one number for the driver, a float through its repr."""
        del dialect
        if value is None:
            return None
        value = unboxed(value)
        factor = None
        if isinstance(value, int | Decimal | str | float) and not isinstance(value, bool):
            with suppress(InvalidOperation):  # text that is no number
                factor = Decimal(float.__repr__(value) if isinstance(value, float) else value)
        if factor is None or not factor.is_finite():
            msg = f"money is multiplied with a finite number, not {kind_of(value)}"
            raise InvalidInputError(msg)
        return factor


class Money(ColumnType[Decimal]):
    """Real money, a price or a volume: NUMERIC(28, 8), exact.

    Read as a Decimal with eight places, zero as plain 0. int, Decimal, str and
    float (through its repr) are accepted and rounded half-even to eight places
    in Python, alike on every backend. On SQLite the column holds a plain
    number, so a value with more than 15 significant digits is refused there.

    What the database computes is rounded half away from zero to eight places.
    SQLite computes with doubles: 15 significant digits of a result are kept
    and read, and those of a larger exact one are lost there.
    """

    impl = Numeric
    cache_ok = True

    def __init__(self) -> None:
        super().__init__(28, 8)

    def checked(self, value: object) -> Decimal:
        """Return ``value`` rounded to eight places, or refuse it."""
        if type(value) is Decimal and value.same_quantum(_QUANTUM):
            rounded = value
        elif value is _ZERO:
            return _ZERO
        else:
            rounded = self._rounded(value)
        if not -_LIMIT < rounded < _LIMIT:
            self.refuse("must be smaller than 10**20")
        return rounded or _ZERO

    def _rounded(self, value: object) -> Decimal:
        value = unboxed(value)
        if isinstance(value, bool) or not isinstance(value, int | Decimal | str | float):
            self.refuse(f"must be a number, not {kind_of(value)}")
        if isinstance(value, int) and not -_LIMIT < value < _LIMIT:
            self.refuse("must be smaller than 10**20")
        try:
            exact = Decimal(float.__repr__(value) if isinstance(value, float) else value)
            rounded = exact.quantize(_QUANTUM, context=_CONTEXT)
        except InvalidOperation:
            self.refuse("must be a number smaller than 10**20")
        if not rounded.is_finite():
            self.refuse("must be a finite number")
        return rounded

    def check_backend(self, value: Decimal, dialect: Dialect) -> None:
        """Refuse on SQLite what 15 significant digits cannot hold."""
        if dialect.name == "sqlite":
            self._check_digits(value)

    def _check_digits(self, value: Decimal) -> None:
        if -_ALWAYS_EXACT < value < _ALWAYS_EXACT:
            return
        if len(value.normalize(_CONTEXT).as_tuple().digits) > _SQLITE_DIGITS:
            self.refuse(
                f"is {value}: more than {_SQLITE_DIGITS} significant digits, "
                "which SQLite cannot hold exactly"
            )

    def bind_processor(self, dialect: Dialect) -> Processor:
        """Return the function that prepares values for the driver."""
        checked, check_backend = self.checked, self.check_backend
        if dialect.name != "sqlite":
            return lambda value: None if value is None else checked(value)

        def bind(value: object) -> float | None:
            if value is None:
                return None
            number = checked(value)
            check_backend(number, dialect)
            return float(number)

        return bind

    def literal_processor(self, dialect: Dialect) -> Processor:
        """Return the function that writes values into SQL text."""
        return lambda value: f"{self.coerce(value, dialect):f}"

    def result_processor(self, dialect: Dialect, coltype: object) -> Processor:  # noqa: ARG002
        """Return the function that reads what the driver returned."""
        return _read_money

    def coerce_compared_value(self, op: OperatorType | None, value: object) -> TypeEngine[Any]:
        """Return this type, or that of a factor: it may have more places."""
        del value
        return _Factor() if op in {operators.mul, operators.truediv} else self

    @property
    def kind(self) -> str:
        """Return what stands for this type in SQL."""
        return "money"

    def kept(self, value: Any) -> float:
        """Return what SQLite computed, rounded as the servers do: half away from zero."""
        try:
            number = stored_money(value)
            if isinstance(value, int) and float(number) != value:
                number = Decimal(value)  # which has more digits
            rounded = number.quantize(_QUANTUM, context=_OF_SERVERS)
        except (InvalidOperation, TypeError, ValueError):
            self.refuse("must be a number smaller than 10**20")
        rounded = self.checked(rounded)
        self._check_digits(rounded)
        return float(rounded)


def stored_money(value: Any) -> Decimal:
    """Return what SQLite stored: the digits that a double holds of any number.

    It keeps a whole one as an integer, whose further digits are no one's.
    """
    return Decimal(_digits(value) if isinstance(value, int | float) else str(value))


def _read_money(value: object) -> Decimal | None:
    """Read a stored number; a sum or product is rounded to eight places too."""
    if type(value) is float:  # as stored_money does, without a call for each
        return Decimal(_digits(value)).quantize(_QUANTUM, context=_CONTEXT) or _ZERO
    if value is None:
        return None
    if type(value) is Decimal and value.same_quantum(_QUANTUM):
        return value or _ZERO
    exact = value if isinstance(value, Decimal) else stored_money(value)
    return exact.quantize(_QUANTUM, context=_CONTEXT) or _ZERO
