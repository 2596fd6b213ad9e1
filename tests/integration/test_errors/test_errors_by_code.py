"""Every code that a server can send, sent by a real server through each driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import exc as sa_exc
from sqlalchemy import text

from hqt_async_db import errors
from tests.integration.test_errors.exposure import SECRET, shown

if TYPE_CHECKING:
    from hqt_async_db.connection.manager import DatabaseManager

SQLSTATES: dict[str, type[errors.HqtDbError]] = {
    "08000": errors.ConnectionFailedError,
    "08003": errors.ConnectionFailedError,
    "08006": errors.ConnectionFailedError,
    "0A000": errors.StatementFailedError,
    "22000": errors.ValueRefusedError,
    "22001": errors.ValueRefusedError,
    "22003": errors.ValueRefusedError,
    "22008": errors.ValueRefusedError,
    "22P02": errors.ValueRefusedError,
    "23000": errors.IntegrityViolationError,
    "23001": errors.ForeignKeyViolationError,
    "23502": errors.NotNullViolationError,
    "23503": errors.ForeignKeyViolationError,
    "23505": errors.DuplicateKeyError,
    "23514": errors.CheckViolationError,
    "23P01": errors.IntegrityViolationError,
    "25006": errors.ReadOnlyViolationError,
    "25P03": errors.DeadlineExceededError,
    "28000": errors.ConnectionFailedError,
    "28P01": errors.ConnectionFailedError,
    "3D000": errors.ConnectionFailedError,
    "40001": errors.SerializationFailureError,
    "40003": errors.CommitOutcomeUnknownError,
    "40P01": errors.DeadlockError,
    "42501": errors.StatementFailedError,
    "42601": errors.StatementFailedError,
    "42703": errors.StatementFailedError,
    "42P01": errors.StatementFailedError,
    "53100": errors.StorageFullError,
    "53300": errors.ConnectionFailedError,
    "55P03": errors.DatabaseLockedError,
    "57014": errors.DeadlineExceededError,
    "57P01": errors.ConnectionFailedError,
    "57P02": errors.ConnectionFailedError,
    "57P03": errors.ConnectionFailedError,
    "58030": errors.StatementFailedError,
    "P0001": errors.StatementFailedError,
    "XX000": errors.StatementFailedError,
    "XX001": errors.StatementFailedError,
}
NUMBERS: dict[int, type[errors.HqtDbError]] = {
    1020: errors.SerializationFailureError,
    1021: errors.StorageFullError,
    1022: errors.DuplicateKeyError,
    1036: errors.ReadOnlyViolationError,
    1040: errors.ConnectionFailedError,
    1044: errors.ConnectionFailedError,
    1045: errors.ConnectionFailedError,
    1048: errors.NotNullViolationError,
    1049: errors.ConnectionFailedError,
    1054: errors.StatementFailedError,
    1062: errors.DuplicateKeyError,
    1064: errors.StatementFailedError,
    1114: errors.StorageFullError,
    1142: errors.StatementFailedError,
    1146: errors.StatementFailedError,
    1203: errors.ConnectionFailedError,
    1205: errors.DatabaseLockedError,
    1213: errors.DeadlockError,
    1264: errors.ValueRefusedError,
    1290: errors.ReadOnlyViolationError,
    1292: errors.ValueRefusedError,
    1317: errors.DeadlineExceededError,
    1364: errors.NotNullViolationError,
    1366: errors.ValueRefusedError,
    1406: errors.ValueRefusedError,
    1451: errors.ForeignKeyViolationError,
    1452: errors.ForeignKeyViolationError,
    1586: errors.DuplicateKeyError,
    1792: errors.ReadOnlyViolationError,
    1836: errors.ReadOnlyViolationError,
    1927: errors.ConnectionFailedError,
    1969: errors.DeadlineExceededError,
    2006: errors.ConnectionFailedError,
    2013: errors.ConnectionFailedError,
    3024: errors.DeadlineExceededError,
    3572: errors.DatabaseLockedError,
    3819: errors.CheckViolationError,
    4025: errors.CheckViolationError,
}


@pytest.mark.drivers("asyncpg", "psycopg")
async def test_each_sqlstate_has_its_class(empty_db: DatabaseManager) -> None:
    seen = {}
    for state in SQLSTATES:
        sql = (
            f"DO $$ BEGIN RAISE '{SECRET}' USING ERRCODE = '{state}', DETAIL = '{SECRET}', "
            f"HINT = '{SECRET}'; END $$"
        )
        seen[state] = await _caught(empty_db, sql)
    assert {state: _public(error) for state, error in seen.items()} == SQLSTATES
    assert [state for state, error in seen.items() if SECRET in shown(error)] == []


@pytest.mark.drivers("asyncmy", "aiomysql")
async def test_each_error_number_has_its_class(empty_db: DatabaseManager) -> None:
    seen = {}
    for number in NUMBERS:
        sql = f"SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = '{SECRET}'"
        seen[number] = await _caught(empty_db, sql)
    assert {number: _public(error) for number, error in seen.items()} == NUMBERS
    assert [number for number, error in seen.items() if SECRET in shown(error)] == []


@pytest.mark.drivers("asyncmy", "aiomysql")
async def test_an_unknown_number_is_judged_by_its_sqlstate(empty_db: DatabaseManager) -> None:
    states = {"23000": errors.IntegrityViolationError, "22003": errors.ValueRefusedError}
    for state, kind in states.items():
        error = await _caught(empty_db, f"SIGNAL SQLSTATE '{state}' SET MYSQL_ERRNO = 9999")
        assert _public(error) is kind


@pytest.mark.drivers("asyncpg", "psycopg", "asyncmy", "aiomysql")
async def test_what_can_pass_when_repeated_says_so(empty_db: DatabaseManager) -> None:
    sql, codes = _RETRYABLE[empty_db.engine.dialect.name]
    seen = {code: (await _caught(empty_db, sql.format(code))).retryable for code in codes}
    assert seen == codes


_RETRYABLE: dict[str, tuple[str, dict[str, bool]]] = {
    "postgresql": (
        "DO $$ BEGIN RAISE 'x' USING ERRCODE = '{}'; END $$",
        {
            "40001": True,
            "40P01": True,
            "55P03": True,
            "57P01": True,
            "53300": True,
            "40003": False,
            "57014": False,
            "28P01": False,
            "3D000": False,
            "23505": False,
        },
    ),
    "mysql": (
        "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {}",
        {
            "1213": True,
            "1205": True,
            "1020": True,
            "2006": True,
            "1040": True,
            "1045": False,
            "1049": False,
            "1969": False,
            "1062": False,
        },
    ),
}


async def _caught(db: DatabaseManager, sql: str) -> errors.HqtDbError:
    with pytest.raises(errors.HqtDbError) as caught:
        async with db.session() as session:
            await session.execute(text(sql))
    assert isinstance(caught.value, sa_exc.DBAPIError)
    return caught.value


def _public(error: errors.HqtDbError) -> type[errors.HqtDbError]:
    """Return the class; a variant of StatementFailedError counts as itself."""
    kind = type(error)
    return getattr(errors, kind.__name__) if kind.__module__ == errors.__name__ else kind
