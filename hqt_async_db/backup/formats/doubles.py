"""Doubles as PostgreSQL prints them: the shortest digits that read back the same."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

# From here on an exponent is written, one decade before Python does.
_FIRST_EXPONENT: Final = 1e15
# Below, no short decimal lies exactly between two doubles.
_FIRST_HALFWAY: Final = 2.0**53
_MOST_DIGITS: Final = 17


def double_text(number: float) -> str:
    """Return the digits of a double, as PostgreSQL's ``float8out`` writes them.

    That is fixed notation from 0.0001 up to below 1e15, without a fraction
    where there is none, and an exponent of at least two digits elsewhere.
    Zero has no sign: a column takes none, though a database may compute one.
    """
    if not -_FIRST_EXPONENT < number < _FIRST_EXPONENT:
        return _large(number)
    text = repr(number + 0.0)
    return text.removesuffix(".0")


def _large(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    sign, digits, exponent = Decimal(_read_back(number)).as_tuple()
    shown = "".join(map(str, digits)).rstrip("0")
    power = len(digits) - 1 + int(exponent)
    fraction = f".{shown[1:]}" if len(shown) > 1 else ""
    return f"{'-' if sign else ''}{shown[0]}{fraction}e+{power:02}"


def _read_back(number: float) -> str:
    """Return the shortest digits whose reading depends on no rounding of ties.

    Python takes 1e+23, which lies halfway between two doubles, for the lower
    one; PostgreSQL writes a digit more than trust that everybody does so.
    """
    text = repr(number)
    if abs(number) < _FIRST_HALFWAY or not _is_halfway(Decimal(text), number):
        return text
    exact = Decimal(number)
    for places in range(len(Decimal(text).as_tuple().digits), _MOST_DIGITS + 1):
        step = Decimal((0, (1,), exact.adjusted() - places + 1))
        near = [exact.quantize(step, rounding) for rounding in (ROUND_FLOOR, ROUND_CEILING)]
        fit = [d for d in near if float(d) == number and not _is_halfway(d, number)]
        if fit:
            return str(min(fit, key=lambda decimal: abs(decimal - exact)))
    return text


def _is_halfway(decimal: Decimal, number: float) -> bool:
    exact = Decimal(number)
    beside = math.nextafter(number, math.inf if decimal > exact else -math.inf)
    return decimal != exact and 2 * abs(decimal - exact) == abs(Decimal(beside) - exact)
