"""Lines of CSV that PostgreSQL may read itself, because nothing in them is in doubt."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from hqt_async_db.models.types import (
    Choice,
    Double,
    ExactText,
    Flag,
    Int32,
    Int64,
    Money,
    RowId,
    UtcDateTime,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Column

    from hqt_async_db.backup.formats.rows import Source

# Possessive everywhere: what does not fit is found out in one go. A minus is for
# what is no zero; the server would keep the sign of it.
_DOUBLE: Final = (
    rb"(?:-(?=[0-9.]*?[1-9]))?+[0-9]{1,20}+"
    rb"(?:\.[0-9]{1,20}+)?+(?:e[+-][0-9]{1,2}+)?+"
)
_MOMENT: Final = (
    rb"[0-9]{4}-[01][0-9]-[0-3][0-9] (?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    rb"(?:\.[0-9]{1,6}+)?+\+00"
)
# No quote, comma, backslash or apostrophe, and no character of several bytes.
_PLAIN: Final = rb"[^\x00-\x1f\"',\\\x7f-\xff]"


def canonical_lines(source: Source) -> re.Pattern[bytes] | None:
    """Return what matches whole lines that fit the columns of a source.

    It may leave out lines that fit, and takes no line that does not, but for
    numbers and dates beyond their range, which the server refuses.

    Args:
        source: A source of CSV that has started.

    Returns:
        The pattern, None where another reads the lines than PostgreSQL.
    """
    if (source.dialect.name, source.dialect.driver) != ("postgresql", "asyncpg"):
        return None
    fields = [_field(column) for column in source.columns]
    if source.formula_guard or None in fields:
        return None
    line = b",".join(field for field in fields if field is not None)
    return re.compile(rb"(?:" + line + rb"\n)*+")


def _field(column: Column[Any]) -> bytes | None:
    for kind, pattern in _PATTERNS:
        if type(column.type) is kind:
            field = pattern(column.type)
            return rb"(?:" + field + rb")?+" if column.nullable else rb"(?:" + field + rb")"
    return None


def _text(kind: Any) -> bytes:
    longest = b"" if kind.length is None else str(kind.length).encode()
    return _PLAIN + rb"{1," + longest + rb"}+"


def _choice(kind: Any) -> bytes:
    words = sorted((str(word) for word in kind.vocabulary), key=len, reverse=True)
    return b"|".join(re.escape(word.encode()) for word in words)


_PATTERNS: Final[tuple[tuple[type[Any], Callable[[Any], bytes]], ...]] = (
    (RowId, lambda _: rb"-?[0-9]{1,18}+"),
    (Int64, lambda _: rb"-?[0-9]{1,18}+"),
    (Int32, lambda _: rb"-?[0-9]{1,9}+"),
    (Double, lambda _: _DOUBLE),
    (Money, lambda _: rb"-?[0-9]{1,20}+\.[0-9]{8}"),
    (Flag, lambda _: rb"true|false"),
    (UtcDateTime, lambda _: _MOMENT),
    (Choice, _choice),
    (ExactText, _text),
)
