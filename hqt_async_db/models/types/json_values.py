"""Which JSON values every backend holds unchanged."""

from __future__ import annotations

import json
from contextlib import suppress
from math import isfinite
from typing import Any

from hqt_async_db.models.types.column import encodable, kind_of, unboxed

# MariaDB's JSON_VALID stops at 32 levels, the outermost object included.
MAX_DEPTH = 30

_MOST_DIGITS = 20

encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class UnfitJsonError(ValueError):
    """A value that JSON, or one of the backends, cannot hold unchanged.

    The message names the reason and never the value.
    """


def fit(value: object, depth: int = 0) -> Any:
    """Return a JSON value as plain dicts, lists and scalars.

    Args:
        value: Tuples become lists and NumPy scalars Python's.
        depth: How many containers there are around ``value``.

    Raises:
        UnfitJsonError: It cannot be stored unchanged on every backend.
    """
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return _fit_text(value)
    if isinstance(value, dict | list | tuple):
        return _fit_container(value, depth)
    return _fit_number(unboxed(value))


def parse(text: str) -> object:
    """Return the value of a JSON text.

    Raises:
        UnfitJsonError: The text is no JSON, or repeats a key in one object.
    """
    with suppress(json.JSONDecodeError, RecursionError):
        return json.loads(text, object_pairs_hook=_without_duplicates, parse_int=_parsed_integer)
    # Raised out here, because the parser's own error carries the whole text.
    reason = "is not valid JSON text"
    raise UnfitJsonError(reason)


def _parsed_integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:  # int() itself would refuse thousands of digits
        reason = "contains an integer beyond 64 bits"
        raise UnfitJsonError(reason)
    return int(digits)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        reason = "repeats a key in one object"
        raise UnfitJsonError(reason)
    return unique


def _fit_container(value: dict[Any, Any] | list[Any] | tuple[Any, ...], depth: int) -> object:
    if depth >= MAX_DEPTH:
        reason = f"is nested more than {MAX_DEPTH} levels deep"
        raise UnfitJsonError(reason)
    if isinstance(value, dict):
        return {_fit_key(key): fit(item, depth + 1) for key, item in value.items()}
    return [fit(item, depth + 1) for item in value]


def _fit_key(key: object) -> str:
    if not isinstance(key, str):
        reason = f"has {kind_of(key)} as a key, where JSON knows text only"
        raise UnfitJsonError(reason)
    return _fit_text(key)


def _fit_text(value: str) -> str:
    if "\0" in value:
        reason = "contains text with a NUL character"
        raise UnfitJsonError(reason)
    if not value.isascii() and not encodable(value):
        reason = "contains text with a lone surrogate"
        raise UnfitJsonError(reason)
    return str.__str__(value)


def _fit_number(value: object) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return _fit_integer(value)
    if not isinstance(value, float):
        reason = f"contains {kind_of(value)}, which is no JSON value"
        raise UnfitJsonError(reason)
    if not isfinite(value):
        reason = "contains NaN or infinity"
        raise UnfitJsonError(reason)
    return float(value)


def _fit_integer(value: int) -> int:
    if not -(1 << 63) <= value < 1 << 63:
        reason = "contains an integer beyond 64 bits"
        raise UnfitJsonError(reason)
    return int(value)
