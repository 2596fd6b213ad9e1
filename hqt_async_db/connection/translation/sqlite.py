"""SQLite: the verdict comes from the extended result code."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import replace
from typing import Final

from hqt_async_db.connection.translation import findings
from hqt_async_db.connection.translation.findings import Finding, Verdict

_BY_NAME: Final[dict[str, Verdict]] = {
    "SQLITE_CONSTRAINT_UNIQUE": findings.DUPLICATE,
    "SQLITE_CONSTRAINT_PRIMARYKEY": findings.DUPLICATE,
    "SQLITE_CONSTRAINT_ROWID": findings.DUPLICATE,
    "SQLITE_CONSTRAINT_FOREIGNKEY": findings.FOREIGN_KEY,
    "SQLITE_CONSTRAINT_CHECK": findings.CHECK,
    "SQLITE_CONSTRAINT_NOTNULL": findings.NOT_NULL,
    "SQLITE_CONSTRAINT_DATATYPE": findings.VALUE,
    "SQLITE_READONLY_DBMOVED": findings.FILE_REPLACED,
    "SQLITE_READONLY_DIRECTORY": findings.DIRECTORY_READ_ONLY,
    "SQLITE_IOERR_READ": findings.NOT_READABLE,
}
_BY_PRIMARY_CODE: Final[dict[int, Verdict]] = {
    sqlite3.SQLITE_BUSY: findings.LOCKED,
    sqlite3.SQLITE_CANTOPEN: findings.CANNOT_OPEN,
    sqlite3.SQLITE_CONSTRAINT: findings.INTEGRITY,
    sqlite3.SQLITE_CORRUPT: findings.CORRUPT,
    sqlite3.SQLITE_FULL: findings.STORAGE_FULL,
    sqlite3.SQLITE_INTERRUPT: findings.DEADLINE,
    sqlite3.SQLITE_IOERR: findings.INPUT_OUTPUT,
    sqlite3.SQLITE_LOCKED: findings.LOCKED,
    sqlite3.SQLITE_MISMATCH: findings.VALUE,
    sqlite3.SQLITE_NOTADB: findings.NOT_A_DATABASE,
    sqlite3.SQLITE_PROTOCOL: findings.LOCKED,
    sqlite3.SQLITE_READONLY: findings.READ_ONLY,
    sqlite3.SQLITE_SCHEMA: findings.STALE_PLAN,
    sqlite3.SQLITE_TOOBIG: findings.VALUE,
}
_FOREIGN_KEY_TEXT: Final = "FOREIGN KEY constraint failed"
_COLUMNS: Final = re.compile(r"constraint failed: (\w+\.\w+(?:, \w+\.\w+)*)\Z")
_INDEX: Final = re.compile(r"constraint failed: index '([^']+)'\Z")
_CHECK: Final = re.compile(r"constraint failed: (\w+)\Z")
_DATATYPE: Final = re.compile(r" column (\w+)\.(\w+)\Z")
_REFUSED: Final = re.compile(r"(\w+)\.(\w+): value ")
_NO_TABLE: Final = re.compile(r"\Ano such table: ([\w.]+)\Z")
_NO_COLUMN: Final = re.compile(r"\A(?:no such column:|table \w+ has no column named) ([\w.]+)\Z")


def find(error: BaseException) -> Finding:
    """Return what an exception of ``sqlite3`` says."""
    name = getattr(error, "sqlite_errorname", None)
    verdict = _verdict(name, getattr(error, "sqlite_errorcode", None), str(error))
    found = Finding(verdict, code=name)
    return _with_attributes(found, str(error))


def _verdict(name: str | None, code: int | None, text: str) -> Verdict:
    if name == "SQLITE_CONSTRAINT_TRIGGER" and text == _FOREIGN_KEY_TEXT:
        # ON DELETE RESTRICT is a trigger inside SQLite, and this constant of
        # its source is all that tells it from a trigger of the schema.
        return findings.FOREIGN_KEY
    if name in _BY_NAME:
        return _BY_NAME[name]
    if code is None:
        return findings.STATEMENT
    return _BY_PRIMARY_CODE.get(code & 0xFF, findings.STATEMENT)


def _with_attributes(found: Finding, text: str) -> Finding:
    if found.verdict is findings.STATEMENT:
        found = _about_schema(found, text)
    if match := _COLUMNS.search(text):
        pairs = [pair.split(".") for pair in match[1].split(", ")]
        return replace(found, table=pairs[0][0], columns=tuple(pair[1] for pair in pairs))
    if match := _INDEX.search(text) or _CHECK.search(text):
        return replace(found, key=match[1])
    if match := _REFUSED.match(text):
        return replace(found, table=match[1], columns=(match[2],))
    if found.verdict is findings.VALUE and (match := _DATATYPE.search(text)):
        return replace(found, table=match[1], columns=(match[2],))
    return found


def _about_schema(found: Finding, text: str) -> Finding:
    """Say what the schema lacks, if that is it."""
    for pattern, verdict in ((_NO_TABLE, findings.NO_TABLE), (_NO_COLUMN, findings.NO_COLUMN)):
        if match := pattern.search(text):
            return replace(found, verdict=verdict, table=match[1])
    return found
