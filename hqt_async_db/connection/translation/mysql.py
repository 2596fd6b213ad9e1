"""MySQL and MariaDB: the verdict comes from the error number.

Numbers: https://mariadb.com/kb/en/mariadb-error-code-reference/ and
https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hqt_async_db.connection.translation import findings
from hqt_async_db.connection.translation.findings import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

_NUMBERS: Final[dict[Verdict, tuple[int, ...]]] = {
    findings.DUPLICATE: (1022, 1062, 1169, 1586, 1761, 1762),
    findings.PARENT_MISSING: (1216, 1452),
    findings.STILL_REFERRED_TO: (1217, 1451),
    findings.CHECK: (3819, 4025),
    findings.NOT_NULL: (1048, 1263, 1364),
    findings.DEADLOCK: (1213,),
    # 1020: a row changed since this snapshot (innodb_snapshot_isolation).
    findings.SERIALIZATION: (1020,),
    findings.LOCKED: (1099, 1100, 1205, 1689, 3572),
    findings.DEADLINE: (1317, 1969, 3024),
    findings.READ_ONLY: (1036, 1290, 1792, 1836),
    findings.STORAGE_FULL: (1021, 1114),
    findings.DAMAGED: (1034, 1035, 1194, 1195, 1712),
    findings.AUTHENTICATION: (
        1044,
        1045,
        1129,
        1130,
        1251,
        1698,
        1820,
        1862,
        2054,
        2059,
        3118,
    ),
    findings.NO_DATABASE: (1049,),
    findings.BAD_SETTINGS: (2012, 2026),
    findings.UNREACHABLE: (2001, 2002, 2003, 2004, 2005, 2009),
    findings.TOO_MANY_CONNECTIONS: (1040, 1203, 1226),
    findings.NOT_READY: (1047, 1053, 1077, 1079, 3168),
    findings.LOST: (
        *(1042, 1043, 1080, 1152, 1158, 1159, 1160, 1161, 1184, 1927),
        *(2006, 2013, 2014, 2027, 2045, 2055, 4031),
    ),
    findings.TOO_LARGE: (1153,),
    findings.VALUE: (
        1264,
        1265,
        1292,
        1300,
        1365,
        1366,
        1367,
        1406,
        1411,
        1441,
        1690,
        3140,
    ),
    findings.NO_TABLE: (1051, 1109, 1146),
    findings.NO_COLUMN: (1054,),
    findings.PRIVILEGE: (1142, 1143, 1227, 1370),
    findings.INPUT_OUTPUT: (3, 1023, 1024, 1026, 1030),
}
_BY_NUMBER: Final[dict[int, Verdict]] = {
    number: verdict for verdict, numbers in _NUMBERS.items() for number in numbers
}
_BY_STATE_CLASS: Final[dict[str, Verdict]] = {
    "08": findings.LOST,
    "22": findings.VALUE,
    "23": findings.INTEGRITY,
    "28": findings.AUTHENTICATION,
}
_SOCKET_CLASSES: Final = ("InterfaceError", "InternalError")
# Like: Duplicate entry '…' for key 'users.uq_users_email'; the value comes first.
_LAST_QUOTED: Final = re.compile(r"'(?:[^'.]+\.)?([^'.]+)'\s*\Z")
_QUOTED: Final = re.compile(r"'(?:\w+\.)*(\w+)'")
# Like: fails (`db`.`strategies`, CONSTRAINT `fk_…` FOREIGN KEY (`user_id`) REFERENCES …
_FOREIGN_KEY: Final = re.compile(
    r"`([^`]+)`, CONSTRAINT `([^`]+)` FOREIGN KEY \(([^)]+)\) REFERENCES"
)
# Like: CONSTRAINT `ck_…` failed for `db`.`users`
_MARIADB_CHECK: Final = re.compile(r"`(?:[^`.]+\.)?([^`.]+)` [^`]*`[^`]+`\.`([^`]+)`\Z")
# Like: Incorrect integer value: '…' for column `db`.`users`.`level` at row 1
_COLUMN: Final = re.compile(r"[`'](\w+)[`'] at row \d+\Z")


def find(error: BaseException) -> Finding:
    """Return what an exception of asyncmy, aiomysql or PyMySQL says."""
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = str(error.args[1]) if len(error.args) > 1 else ""
    if not number:
        return Finding(_without_number(error))
    found = Finding(_verdict(number, error), code=str(number))
    return _with_attributes(found, text)


def _verdict(number: int, error: BaseException) -> Verdict:
    if number in _BY_NUMBER:
        return _BY_NUMBER[number]
    state = getattr(error, "sqlstate", None) or ""
    return _BY_STATE_CLASS.get(state[:2], findings.STATEMENT)


def _without_number(error: BaseException) -> Verdict:
    """Judge what the client raised: these two classes mean a dead socket."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return findings.STATEMENT if names.isdisjoint(_SOCKET_CLASSES) else findings.LOST


def _with_attributes(found: Finding, text: str) -> Finding:
    read = _READERS.get(found.verdict)
    return read(found, text) if read is not None else found


def _with_key(found: Finding, text: str) -> Finding:
    match = _LAST_QUOTED.search(text)
    return replace(found, key=match[1]) if match else found


def _with_foreign_key(found: Finding, text: str) -> Finding:
    match = _FOREIGN_KEY.search(text)
    if match is None:
        return found
    columns = tuple(name.strip("` ") for name in match[3].split(","))
    return replace(found, table=match[1], key=match[2], columns=columns)


def _with_required_column(found: Finding, text: str) -> Finding:
    match = _QUOTED.search(text)
    return replace(found, columns=(match[1],)) if match else found


def _with_column(found: Finding, text: str) -> Finding:
    match = _COLUMN.search(text)
    return replace(found, columns=(match[1],)) if match else found


def _with_table(found: Finding, text: str) -> Finding:
    match = _QUOTED.search(text)
    return replace(found, table=match[1]) if match else found


def _with_check(found: Finding, text: str) -> Finding:
    if match := _MARIADB_CHECK.search(text):
        return replace(found, table=match[2], key=match[1])
    match = _QUOTED.search(text)
    return replace(found, key=match[1]) if match else found


_READERS: Final[dict[Verdict, Callable[[Finding, str], Finding]]] = {
    findings.DUPLICATE: _with_key,
    findings.PARENT_MISSING: _with_foreign_key,
    findings.STILL_REFERRED_TO: _with_foreign_key,
    findings.CHECK: _with_check,
    findings.NOT_NULL: _with_required_column,
    findings.VALUE: _with_column,
    findings.NO_TABLE: _with_table,
}
