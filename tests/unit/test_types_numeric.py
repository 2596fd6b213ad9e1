"""Numbers are normalised or refused before a driver sees them."""

from __future__ import annotations

import struct
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, MetaData, Table, create_engine, select
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.engine import make_url

from hqt_async_db.errors import InvalidInputError
from hqt_async_db.models.types import ColumnType, Double, Flag, Int32, Int64, Money, RowId

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

SQLITE: Dialect = sqlite.dialect()
POSTGRESQL: Dialect = make_url("postgresql+asyncpg://").get_dialect()()
MYSQL: Dialect = mysql.dialect()
EIGHT_PLACES = Decimal("0.00000001")
WIDE = Context(prec=60, rounding=ROUND_HALF_EVEN)


def column_of(column_type: ColumnType[Any], name: str = "amount") -> ColumnType[Any]:
    """Return the type as the column ``ledger.<name>`` knows it."""
    Table("ledger", MetaData(), Column(name, column_type))
    return column_type


def bits(number: float) -> bytes:
    return struct.pack(">d", number)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_finite_double_keeps_its_bits(number: float) -> None:
    wanted = 0.0 if number == 0 else number
    assert bits(Double().checked(number)) == bits(wanted)


@pytest.mark.parametrize("number", [-0.0, Decimal("-0"), Fraction(0), 0])
def test_there_is_one_zero(number: object) -> None:
    assert bits(Double().checked(number)) == bits(0.0)


def test_a_double_takes_what_it_holds_exactly() -> None:
    assert Double().checked(2**53) == float(2**53)
    assert Double().checked(Decimal("1.1")) == 1.1


@pytest.mark.parametrize("value", [True, "1.0", 1j, b"1", [], 2**53 + 1, 10**400, Decimal("sNaN")])
def test_a_double_refuses_what_is_no_double(value: object) -> None:
    with pytest.raises(InvalidInputError, match=r"^ledger\.amount ") as refusal:
        column_of(Double()).checked(value)
    assert refusal.value.field == "ledger.amount"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_only_postgresql_keeps_nan_and_infinity(value: float) -> None:
    column_type = column_of(Double())
    assert repr(column_type.coerce(value, POSTGRESQL)) == repr(value)
    for dialect in (SQLITE, MYSQL):
        with pytest.raises(InvalidInputError, match=r"ledger\.amount is NaN or infinite"):
            column_type.coerce(value, dialect)


@given(st.decimals(min_value=-(10**19), max_value=10**19, allow_nan=False))
def test_money_is_rounded_half_even_to_eight_places(value: Decimal) -> None:
    rounded = Money().checked(value)
    assert rounded == value.quantize(EIGHT_PLACES, context=WIDE)
    assert rounded.as_tuple().exponent == (-8 if rounded else 0)
    assert str(Money().checked(rounded)) == str(rounded)


@given(st.decimals(min_value=-(10**11), max_value=10**11, allow_nan=False, places=8))
def test_money_is_the_same_from_text_and_from_a_decimal(value: Decimal) -> None:
    assert Money().checked(str(value)) == Money().checked(value) == value


@given(st.floats(min_value=-1e15, max_value=1e15))
def test_money_takes_a_float_through_its_repr(value: float) -> None:
    assert Money().checked(value) == Decimal(repr(value)).quantize(EIGHT_PLACES, context=WIDE)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (1.1, "1.10000000"),
        ("1.000000005", "1.00000000"),
        ("1.000000015", "1.00000002"),
        ("-0.000000001", "0"),
        (Decimal("-0"), "0"),
        (7, "7.00000000"),
        (99999999999999999999, "99999999999999999999.00000000"),
    ],
)
def test_money_has_one_form(value: object, wanted: str) -> None:
    assert str(Money().checked(value)) == wanted


def test_money_ignores_the_callers_decimal_context() -> None:
    with localcontext(Context(prec=3)):
        assert str(Money().checked("123456789.123456789")) == "123456789.12345679"


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        "nan",
        "-Infinity",
        Decimal("sNaN"),
        "1,5",
        "",
        "1e999999999",
        10**20,
        -(10**20),
        "99999999999999999999.999999999",
        True,
        object(),
        b"1",
    ],
)
def test_money_refuses_what_is_no_amount(value: object) -> None:
    with pytest.raises(InvalidInputError, match=r"^ledger\.amount ") as refusal:
        column_of(Money()).checked(value)
    assert refusal.value.field == "ledger.amount"


@pytest.mark.parametrize(
    "value", ["1234567890123456", "12345678.12345678", "-99999999999999999999.99999999"]
)
def test_money_beyond_15_digits_is_refused_on_sqlite_by_name_and_value(value: str) -> None:
    column_type = column_of(Money())
    amount = column_type.coerce(value, POSTGRESQL)
    with pytest.raises(InvalidInputError, match=r"^ledger\.amount is .*15 significant") as refusal:
        column_type.coerce(value, SQLITE)
    assert str(amount) in str(refusal.value)


@given(st.integers(-(10**15) + 1, 10**15 - 1), st.integers(0, 8))
def test_15_digits_survive_sqlite(digits: int, places: int) -> None:
    amount = Money().checked(Decimal(digits).scaleb(-places))
    bind = Money().bind_processor(SQLITE)
    read = Money().result_processor(SQLITE, None)
    assert read(bind(amount)) == amount


@pytest.mark.parametrize(
    ("column_type", "bits_"), [(Int32(), 32), (Int64(), 64), (RowId(), 64)], ids=str
)
def test_integers_end_where_their_column_does(column_type: ColumnType[int], bits_: int) -> None:
    top = 2 ** (bits_ - 1)
    assert column_type.checked(top - 1) == top - 1
    assert column_type.checked(-top) == -top
    for beyond in (top, -top - 1, 10**4000):
        with pytest.raises(InvalidInputError, match=f"beyond {bits_} bits"):
            column_type.checked(beyond)


@pytest.mark.parametrize("value", [True, 1.0, "1", Decimal(1), object()])
def test_integers_refuse_other_numbers(value: object) -> None:
    with pytest.raises(InvalidInputError, match=r"ledger\.amount must be an integer"):
        column_of(Int32()).checked(value)


def test_flags_are_true_or_false() -> None:
    assert [Flag().checked(value) for value in (True, False, 1, 0)] == [True, False, True, False]
    for wrong in (2, 1.0, "true", "", object()):
        with pytest.raises(InvalidInputError, match=r"ledger\.amount must be True or False"):
            column_of(Flag()).checked(wrong)


def test_numpy_scalars_become_pythons() -> None:
    numpy = pytest.importorskip("numpy")
    assert type(Double().checked(numpy.float64(1.5))) is float
    assert Double().checked(numpy.float32(0.5)) == 0.5
    assert type(Int64().checked(numpy.int64(5))) is int
    assert Flag().checked(numpy.bool_(1)) is True
    assert Money().checked(numpy.float64(1.1)) == Decimal("1.1")


@pytest.mark.parametrize("column_type", [Double(), Money(), Int32(), Int64(), RowId(), Flag()])
def test_none_stays_none(column_type: ColumnType[Any]) -> None:
    assert column_type.coerce(None) is None
    bind = column_type.dialect_impl(SQLITE).bind_processor(SQLITE)
    assert bind is not None
    assert bind(None) is None


@pytest.mark.parametrize(
    ("column_type", "value", "dialect", "wanted"),
    [
        (Double(), 1.5, SQLITE, "1.5e0"),
        (Double(), 5e-324, MYSQL, "5e-324"),
        (Double(), float("nan"), POSTGRESQL, "'nan'::double precision"),
        (Money(), "1.1", MYSQL, "1.10000000"),
        (Int32(), 5, MYSQL, "5"),
    ],
)
def test_numbers_in_sql_text(
    column_type: ColumnType[Any], value: object, dialect: Dialect, wanted: str
) -> None:
    table = Table("ledger", MetaData(), Column("amount", column_type))
    statement = select(table).where(table.c.amount == value)
    text = str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    assert text.endswith(f"amount = {wanted}")


def test_a_comparison_refuses_what_the_column_could_not_hold() -> None:
    table = Table("ledger", MetaData(), Column("count", Int32()))
    engine = create_engine("sqlite://")
    with (
        engine.connect() as connection,
        pytest.raises(InvalidInputError, match=r"ledger\.count must be an integer"),
    ):
        connection.execute(select(table).where(table.c.count == "5"))
    engine.dispose()


def test_arithmetic_keeps_the_other_sides_type() -> None:
    table = Table("ledger", MetaData(), Column("count", Int32()))
    statement = select(table.c.count * 0.5)
    text = str(statement.compile(dialect=SQLITE, compile_kwargs={"literal_binds": True}))
    assert "ledger.count * 0.5" in text
