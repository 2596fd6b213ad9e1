"""What the text of a SQLite statement tells about the transaction it needs."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from hqt_async_db.errors import ReadOnlyViolationError

# Statements come again, and each is looked at several times.
_MOST_KEPT: Final = 1000
_LEADING_NOISE: Final = re.compile(r"(?:\s|\(|;|--[^\n]*(?:\n|$)|/\*.*?\*/)*", re.DOTALL)
_KEYWORD: Final = re.compile(r"[A-Za-z]+")
_DML: Final = re.compile(r"\b(INSERT|UPDATE|DELETE|REPLACE)\b", re.IGNORECASE)
# These neither change rows under a transaction nor may run inside a new one.
_NO_TRANSACTION: Final = frozenset(
    {"SELECT", "VALUES", "EXPLAIN", "PRAGMA", "VACUUM", "ATTACH", "DETACH", "RELEASE", "ROLLBACK"}
)
_OUTSIDE: Final = frozenset({"PRAGMA", "VACUUM", "ATTACH", "DETACH", "BEGIN"})
_ENDING: Final = frozenset({"COMMIT", "END", "RELEASE", "ROLLBACK"})
_WRITING: Final = re.compile(r"\b(wal_checkpoint|incremental_vacuum|optimize)\b", re.IGNORECASE)
_FREEING: Final = re.compile(r"\bincremental_vacuum\b", re.IGNORECASE)
_QUERY_ONLY: Final = re.compile(r"\bquery_only\b", re.IGNORECASE)


@lru_cache(_MOST_KEPT)
def keyword_of(statement: str) -> str:
    """Return the first word in capitals, past blanks, comments and brackets."""
    start = _LEADING_NOISE.match(statement)
    word = _KEYWORD.match(statement, start.end() if start else 0)
    return word.group().upper() if word else ""


def takes_write_lock(statement: str, context: Any = None) -> bool:
    """Tell whether ``statement`` must run inside a write transaction.

    A false yes costs a lock, a false no could end in SQLITE_BUSY_SNAPSHOT;
    so what is not known to be a read counts as a write.

    Args:
        statement: SQL.
        context: SQLAlchemy's execution context, which knows what it compiled.
    """
    if context is not None:
        if context.isinsert or context.isupdate or context.isdelete:
            return True
        if getattr(context.compiled, "locks_for_update", False):
            return True
    keyword = keyword_of(statement)
    if keyword == "WITH":
        return _DML.search(statement) is not None
    return bool(keyword) and keyword not in _NO_TRANSACTION


def stays_outside(statement: str) -> bool:
    """Tell whether the statement means nothing inside a transaction of ours."""
    return keyword_of(statement) in _OUTSIDE


def ends_transaction(statement: str) -> bool:
    """Tell whether the user's own SQL may end the transaction."""
    return keyword_of(statement) in _ENDING


def moves_pages(statement: str) -> bool:
    """Tell whether the statement rewrites the file, so that no writer may meet it."""
    keyword = keyword_of(statement)
    return keyword == "VACUUM" or (keyword == "PRAGMA" and _WRITING.search(statement) is not None)


def frees_pages(statement: str) -> bool:
    """Tell whether the statement is an incremental vacuum.

    It yields a row without columns for every page, at which the driver stops;
    so it has to be run as a script.
    """
    return keyword_of(statement) == "PRAGMA" and _FREEING.search(statement) is not None


def lifts_read_only(statement: str) -> bool:
    """Tell whether the statement could let a read-only connection write."""
    return keyword_of(statement) == "PRAGMA" and _QUERY_ONLY.search(statement) is not None


def stays_read_only() -> ReadOnlyViolationError:
    """Return the error of a statement that could lift the read-only mode."""
    return ReadOnlyViolationError(
        "a read-only session stays read-only: query_only may not be set in it"
    )
