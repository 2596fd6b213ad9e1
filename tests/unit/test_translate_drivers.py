"""What the drivers report, read by code: results that no server here can be made to send."""

from __future__ import annotations

import sqlite3

import asyncpg
import pymysql
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, UniqueConstraint
from sqlalchemy import exc as sa_exc

from hqt_async_db import errors
from hqt_async_db.connection.translation.findings import DUPLICATE, Finding
from hqt_async_db.connection.translation.schema import Statement, complete
from hqt_async_db.connection.translation.translate import translate

SECRET = "Zq7-hidden-Zq7"


def _sqlite(name: str, message: str = "text") -> sqlite3.Error:
    kind = sqlite3.IntegrityError if "CONSTRAINT" in name else sqlite3.OperationalError
    error = kind(message)
    error.sqlite_errorname = name
    error.sqlite_errorcode = getattr(sqlite3, name)
    return error


SQLITE = {
    "SQLITE_BUSY": errors.DatabaseLockedError,
    "SQLITE_BUSY_SNAPSHOT": errors.DatabaseLockedError,
    "SQLITE_BUSY_RECOVERY": errors.DatabaseLockedError,
    "SQLITE_LOCKED": errors.DatabaseLockedError,
    "SQLITE_LOCKED_SHAREDCACHE": errors.DatabaseLockedError,
    "SQLITE_PROTOCOL": errors.DatabaseLockedError,
    "SQLITE_INTERRUPT": errors.DeadlineExceededError,
    "SQLITE_READONLY": errors.ReadOnlyViolationError,
    "SQLITE_READONLY_DIRECTORY": errors.ReadOnlyViolationError,
    "SQLITE_READONLY_DBMOVED": errors.ReadOnlyViolationError,
    "SQLITE_FULL": errors.StorageFullError,
    "SQLITE_NOTADB": errors.NotADatabaseError,
    "SQLITE_CORRUPT": errors.NotADatabaseError,
    "SQLITE_CORRUPT_INDEX": errors.NotADatabaseError,
    "SQLITE_CANTOPEN": errors.ConnectionFailedError,
    "SQLITE_CANTOPEN_ISDIR": errors.ConnectionFailedError,
    "SQLITE_CONSTRAINT": errors.IntegrityViolationError,
    "SQLITE_CONSTRAINT_ROWID": errors.DuplicateKeyError,
    "SQLITE_CONSTRAINT_TRIGGER": errors.IntegrityViolationError,
    "SQLITE_MISMATCH": errors.ValueRefusedError,
    "SQLITE_TOOBIG": errors.ValueRefusedError,
    "SQLITE_SCHEMA": errors.TransientError,
}


@pytest.mark.parametrize(("name", "kind"), SQLITE.items(), ids=SQLITE)
def test_a_result_code_of_sqlite_has_its_class(name: str, kind: type[errors.HqtDbError]) -> None:
    assert type(translate(_sqlite(name))) is kind


def test_the_class_comes_from_the_code_and_not_from_the_text() -> None:
    lying = _sqlite("SQLITE_BUSY", "UNIQUE constraint failed: users.email")
    assert type(translate(lying)) is errors.DatabaseLockedError
    lying = _sqlite("SQLITE_CONSTRAINT_UNIQUE", "database is locked")
    assert type(translate(lying)) is errors.DuplicateKeyError


@pytest.mark.parametrize(
    "message", ["no such column: users.city", "table users has no column named users.city"]
)
def test_a_column_that_is_missing_is_named_by_sqlite(message: str) -> None:
    error = translate(_sqlite("SQLITE_ERROR", message))
    assert isinstance(error, errors.StatementFailedError)
    assert str(error).startswith("users.city: the statement names a column that does not exist")


def test_an_expression_index_is_named_by_sqlite() -> None:
    error = translate(
        _sqlite("SQLITE_CONSTRAINT_UNIQUE", "UNIQUE constraint failed: index 'uq_lower_email'")
    )
    assert isinstance(error, errors.DuplicateKeyError)
    assert (error.table, error.columns, error.key) == (None, (), "uq_lower_email")


def test_an_input_output_error_says_to_check_the_disk() -> None:
    error = translate(_sqlite("SQLITE_IOERR_FSYNC"))
    assert isinstance(error, errors.StatementFailedError)
    assert isinstance(error, sa_exc.OperationalError)
    assert "check the disk" in str(error)


MYSQL_TEXTS = {
    # MySQL 8 puts the table in front of the key; values contain whatever they like.
    "table and key": (
        1062,
        f"Duplicate entry '{SECRET}' for key 'users.uq_users_email'",
        ("users", ("email",), "uq_users_email"),
    ),
    "value like a key": (
        1062,
        "Duplicate entry 'x' for key 'fake'' for key 'uq_users_username'",
        ("users", ("username",), "uq_users_username"),
    ),
    "other language": (
        1062,
        f"Doppelter Eintrag '{SECRET}' für Schlüssel 'uq_users_email'",
        ("users", ("email",), "uq_users_email"),
    ),
    "check of MySQL": (
        3819,
        "Check constraint 'ck_live_trades_direction' is violated.",
        ("live_trades", ("direction",), "ck_live_trades_direction"),
    ),
    "check of a JSON column of MariaDB": (
        4025,
        "CONSTRAINT `things.payload` failed for `hqt`.`things`",
        ("things", (), "payload"),
    ),
    "primary key, no statement known": (1062, "Duplicate entry '1' for key 'PRIMARY'", None),
    "foreign key of another schema": (
        1452,
        (
            "Cannot add or update a child row: a foreign key constraint fails (`db`.`orders`, "
            "CONSTRAINT `orders_ibfk_1` FOREIGN KEY (`a`, `b`) REFERENCES `books` (`x`, `y`))"
        ),
        ("orders", ("a", "b"), "orders_ibfk_1"),
    ),
}


@pytest.mark.parametrize(("number", "message", "facts"), MYSQL_TEXTS.values(), ids=MYSQL_TEXTS)
def test_the_attributes_from_mysql_s_text(
    number: int, message: str, facts: tuple[str, tuple[str, ...], str] | None
) -> None:
    error = translate(pymysql.err.IntegrityError(number, message))
    assert isinstance(error, errors.IntegrityViolationError)
    expected = facts or (None, (), "PRIMARY")
    assert (error.table, error.columns, error.key) == expected
    assert SECRET not in repr(error)


def test_a_name_that_mysql_got_cut_is_found() -> None:
    long_name = "uq_live_trades_account_id_client_order_id_and_so_on_for_ever_and_ever"
    table = Table(
        "t",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("a", Integer),
        UniqueConstraint("a", name=long_name),
    )
    cut = long_name[:55] + "_" + "1a2b"
    found = complete(Finding(DUPLICATE, key=cut), Statement(table, "insert"))
    assert (found.table, found.columns, found.key) == ("t", ("a",), long_name)
    other = complete(Finding(DUPLICATE, key="uq_live"), Statement(table, "insert"))
    assert (other.table, other.columns, other.key) == (None, (), "uq_live")


def test_a_client_error_of_mysql_without_a_number_means_a_dead_socket() -> None:
    for exc in (pymysql.err.InterfaceError("(0, 'Not connected')"), pymysql.err.InternalError("x")):
        assert type(translate(exc)) is errors.ConnectionFailedError
    assert isinstance(translate(pymysql.err.ProgrammingError("x")), errors.StatementFailedError)


def test_client_errors_of_asyncpg() -> None:
    settings = translate(asyncpg.exceptions.ClientConfigurationError("sslmode"))
    assert isinstance(settings, errors.ConnectionFailedError)
    assert not settings.retryable
    busy = asyncpg.InterfaceError("cannot perform operation: another operation is in progress")
    assert isinstance(translate(busy), sa_exc.InterfaceError)
