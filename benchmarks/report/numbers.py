"""Figures as people read them."""

from __future__ import annotations

from typing import Final

_THOUSANDS: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_ONE_DIGIT: Final = 10
_NO_DIGIT: Final = 100
_NOTHING: Final = 0.005


def short(value: float) -> str:
    """Return three significant digits, thousands as k, M or G."""
    for size, letter in _THOUSANDS:
        if abs(value) >= size:
            return f"{_digits(value / size)}{letter}"
    return _digits(value)


def _digits(value: float) -> str:
    if abs(value) >= _NO_DIGIT or abs(value) < _NOTHING:
        return f"{abs(value):.0f}" if abs(value) < _NOTHING else f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= _ONE_DIGIT else f"{value:.2f}"


def duration(microseconds: float) -> str:
    """Return a time in the unit that suits it."""
    if microseconds < 1e3:  # noqa: PLR2004 - a millisecond
        return f"{_digits(microseconds)} µs"
    if microseconds < 1e6:  # noqa: PLR2004 - a second
        return f"{_digits(microseconds / 1e3)} ms"
    return f"{_digits(microseconds / 1e6)} s"


def quantity(value: float, unit: str) -> str:
    """Return a figure with its unit."""
    if unit in {"times", "of bare"}:
        return f"{value:.2f} {unit}"
    if unit == "µs":
        return duration(value)
    return f"{short(value)} {unit}"
