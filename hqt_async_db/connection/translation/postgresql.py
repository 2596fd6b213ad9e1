"""PostgreSQL: the verdict comes from SQLSTATE, for asyncpg and psycopg.

Codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

from hqt_async_db.connection.translation import findings
from hqt_async_db.connection.translation.findings import Finding, Verdict

_BY_STATE: Final[dict[str, Verdict]] = {
    "08004": findings.AUTHENTICATION,
    "23001": findings.STILL_REFERRED_TO,
    "23502": findings.NOT_NULL,
    "23503": findings.FOREIGN_KEY,
    "23505": findings.DUPLICATE,
    "23514": findings.CHECK,
    "25006": findings.READ_ONLY,
    "25P02": findings.ABORTED,
    "25P03": findings.IDLE_DEADLINE,
    "25P04": findings.IDLE_DEADLINE,
    "26000": findings.GONE_PLAN,
    "3D000": findings.NO_DATABASE,
    "40002": findings.INTEGRITY,
    "40003": findings.OUTCOME_UNKNOWN,
    "40P01": findings.DEADLOCK,
    "42501": findings.PRIVILEGE,
    "42703": findings.NO_COLUMN,
    "42P01": findings.NO_TABLE,
    "53100": findings.STORAGE_FULL,
    "53300": findings.TOO_MANY_CONNECTIONS,
    "55P03": findings.LOCKED,
    "57014": findings.DEADLINE,
    "57P01": findings.LOST,
    "57P02": findings.LOST,
    "57P03": findings.NOT_READY,
    "57P05": findings.LOST,
    "58030": findings.INPUT_OUTPUT,
    "XX001": findings.DAMAGED,
    "XX002": findings.DAMAGED,
}
_BY_STATE_CLASS: Final[dict[str, Verdict]] = {
    "08": findings.LOST,
    "22": findings.VALUE,
    "23": findings.INTEGRITY,
    "28": findings.AUTHENTICATION,
    "40": findings.SERIALIZATION,
}
# Raised by the drivers themselves, without a SQLSTATE.
_BY_CLASS_NAME: Final[dict[str, Verdict]] = {
    "ClientConfigurationError": findings.BAD_SETTINGS,
    "ConnectionTimeout": findings.CONNECT_TIMEOUT,
    "DataError": findings.VALUE,
    "TargetServerAttributeNotMatched": findings.UNREACHABLE,
    "UnsupportedServerFeatureError": findings.BAD_SETTINGS,
}
# What asyncpg says where it was told to send something on a connection that has just ended.
_OF_A_LOST_CONNECTION: Final = ("connection is closed", "cannot switch to state")
_STALE_PLAN_SOURCE: Final = "RevalidateCachedQuery"
# "Key (account_id, client_order_id)=(…) already exists.", in any language.
_KEY_COLUMNS: Final = re.compile(r"\(([^()=]+)\)=\(")
_RELATION: Final = re.compile(r"\"(?:\w+\.)?(\w+)\"")


def find(error: BaseException) -> Finding:
    """Return what an exception of asyncpg or psycopg says."""
    state = getattr(error, "sqlstate", None)
    diagnosis = getattr(error, "diag", error)
    if state is None:
        return Finding(_without_state(error))
    found = Finding(_verdict(state, diagnosis), code=state)
    return _with_attributes(found, diagnosis, str(error))


def _verdict(state: str, diagnosis: Any) -> Verdict:
    if _first(diagnosis, "server_source_function", "source_function") == _STALE_PLAN_SOURCE:
        return findings.STALE_PLAN
    verdict = _BY_STATE.get(state) or _BY_STATE_CLASS.get(state[:2])
    return verdict or findings.STATEMENT


def _without_state(error: BaseException) -> Verdict:
    names = {kind.__name__ for kind in type(error).__mro__}
    for name, verdict in _BY_CLASS_NAME.items():
        if name in names:
            return verdict
    if any(words in str(error) for words in _OF_A_LOST_CONNECTION):
        return findings.LOST
    if "OperationalError" not in names:
        return findings.STATEMENT
    # libpq passes no SQLSTATE on for a failed connect; that it had to send a
    # password shows that the server was there and said no.
    attempt = getattr(error, "pgconn", None)
    return findings.AUTHENTICATION if attempt and attempt.used_password else findings.UNREACHABLE


def _with_attributes(found: Finding, diagnosis: Any, text: str) -> Finding:
    if found.verdict is findings.NO_TABLE:
        match = _RELATION.search(text)
        return replace(found, table=match[1] if match else None)
    column = _first(diagnosis, "column_name")
    columns = (column,) if column else _columns_of_key(found, diagnosis, text)
    # PostgreSQL 18 names NOT NULL constraints; no other database does.
    named = found.verdict is not findings.NOT_NULL
    return replace(
        found,
        table=_first(diagnosis, "table_name"),
        columns=columns,
        key=_first(diagnosis, "constraint_name") if named else None,
    )


def _columns_of_key(found: Finding, diagnosis: Any, text: str) -> tuple[str, ...]:
    if found.verdict is findings.FOREIGN_KEY:
        # When a parent is deleted, the detail names the parent's columns.
        table = _RELATION.search(text)
        if table is None or table[1] != _first(diagnosis, "table_name"):
            return ()
    elif found.verdict is not findings.DUPLICATE:
        return ()
    match = _KEY_COLUMNS.search(_first(diagnosis, "detail", "message_detail") or "")
    return tuple(name.strip('" ') for name in match[1].split(",")) if match else ()


def _first(diagnosis: Any, *names: str) -> str | None:
    for name in names:
        if value := getattr(diagnosis, name, None):
            return str(value)
    return None
