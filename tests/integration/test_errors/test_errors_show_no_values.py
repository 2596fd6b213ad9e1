"""No value and no credential in any text of an error, or in a log."""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, text

from hqt_async_db.connection.translation.translate import translated
from hqt_async_db.errors import DuplicateKeyError, HqtDbError
from hqt_async_db.models import User
from tests.integration.test_errors.exposure import SECRET, shown

if TYPE_CHECKING:
    from sqlalchemy import Executable

    from hqt_async_db.connection.manager import DatabaseManager
    from tests.integration.test_errors.conftest import OpenManager

SECRET_USER = {"username": "bob", "email": SECRET, "password_hash": SECRET}
UNDER_ONE_EMAIL = [SECRET_USER, SECRET_USER | {"username": "carl"}]


def _failing(dialect: str) -> dict[str, list[tuple[Executable, Any]]]:
    """Return statements that carry the secret, the last of which fails."""
    literal = f"'{SECRET}'"
    where = f"WHERE email = {literal}"
    textual = text("INSERT INTO users (username, email) VALUES (:username, :email)")
    failing: dict[str, list[tuple[Executable, Any]]] = {
        "unique": [(insert(User), [row]) for row in UNDER_ONE_EMAIL],
        "unique, many rows": [(insert(User), UNDER_ONE_EMAIL)],
        "not null": [(textual, {"username": "bob", "email": SECRET})],
        "literal in the SQL": [(text(f"SELEKT {literal} FROM users"), None)],
        "literal in a condition": [(text(f"SELECT nothing FROM users {where}"), None)],  # noqa: S608 - a constant
        "wrong type": [(text("UPDATE users SET id = :given"), {"given": SECRET})],
        "surrogate": [(text("UPDATE users SET email = :given"), {"given": SECRET + "\ud800"})],
        "too large": [(text("UPDATE users SET id = :given"), {"given": 2**80})],
    }
    if dialect != "sqlite":
        long = {"given": SECRET * 100}
        failing["too long"] = [(text("UPDATE users SET username = :given"), long)]
        no_time = f"UPDATE users SET created_at = {literal}"  # noqa: S608 - a constant
        failing["no time"] = [(text(no_time), None)]
    return failing


async def test_errors_and_logs_of_a_session(
    open_manager: OpenManager, db: DatabaseManager, caplog: pytest.LogCaptureFixture
) -> None:
    loud = open_manager(echo=True)
    with caplog.at_level(logging.DEBUG):
        for case, statements in _failing(db.engine.dialect.name).items():
            error = await _fail(loud, statements)
            assert SECRET not in shown(error), case
            assert error.__cause__ is None, case
            assert error.__context__ is None, case
    assert _leaks(caplog) == []


async def _fail(db: DatabaseManager, statements: list[tuple[Executable, Any]]) -> BaseException:
    try:
        async with db.session() as session:
            for statement, parameters in statements:
                await session.execute(statement, parameters)
    except (HqtDbError, TypeError) as error:  # what a driver says of an odd type is a bug's
        return error
    pytest.fail("no statement failed")


async def test_errors_and_logs_of_a_plain_connection(
    open_manager: OpenManager, db: DatabaseManager, caplog: pytest.LogCaptureFixture
) -> None:
    loud = open_manager(echo=True)
    with caplog.at_level(logging.DEBUG):
        for case, statements in _failing(db.engine.dialect.name).items():
            error = await _fail_plainly(loud, statements)
            assert SECRET not in shown(error), case
    assert _leaks(caplog) == []


async def _fail_plainly(
    db: DatabaseManager, statements: list[tuple[Executable, Any]]
) -> BaseException:
    try:
        async with db.engine.connect() as connection:
            for statement, parameters in statements:
                await connection.execute(statement, parameters)
    except (HqtDbError, TypeError) as error:
        return error
    pytest.fail("no statement failed")


def _leaks(caplog: pytest.LogCaptureFixture) -> list[str]:
    formatter = logging.Formatter("%(name)s %(message)s")
    # Literals that the caller wrote into the SQL are shown with the SQL that echo asks for.
    texts = [formatter.format(record) for record in caplog.records if not _shows_sql(record)]
    statements = [record for record in caplog.records if _shows_sql(record)]
    texts += [
        record.getMessage()
        for record in statements
        if f"'{SECRET}'" not in record.getMessage() or "parameters" in record.getMessage()
    ]
    return [line for line in texts if SECRET in line]


def _shows_sql(record: logging.LogRecord) -> bool:
    return record.name.startswith("sqlalchemy.engine.Engine")


async def test_the_driver_s_own_error_is_kept_whole(db: DatabaseManager) -> None:
    with pytest.raises(DuplicateKeyError) as caught:
        async with db.session() as session:
            await session.execute(insert(User), UNDER_ONE_EMAIL)
    orig: Any = caught.value.orig
    assert type(orig).__module__.partition(".")[0] in {
        "sqlite3",
        "asyncpg",
        "psycopg",
        "asyncmy",
        "pymysql",
    }
    if db.engine.dialect.name == "mysql":
        assert SECRET in str(orig)
        assert orig.sqlstate == "23000"
    if db.engine.dialect.name == "postgresql":
        has_detail = hasattr(orig, "detail")
        assert SECRET in (orig.detail if has_detail else orig.diag.message_detail)


async def test_a_copy_in_another_process_has_everything_but_the_driver_s_error(
    db: DatabaseManager,
) -> None:
    for sql in ("INSERT INTO users (username) VALUES ('ann')", "SELECT * FROM nowhere"):
        with pytest.raises(HqtDbError) as caught:
            async with db.session() as session:
                await session.execute(text(sql))
        copied = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - made here
        assert type(copied) is type(caught.value)
        assert str(copied) == str(caught.value)
        assert getattr(copied, "orig", None) is None
        assert getattr(copied, "columns", None) == getattr(caught.value, "columns", None)


async def test_an_error_of_the_driver_alone_is_translated_at_the_boundary(
    db: DatabaseManager,
) -> None:
    """COPY, backups and the like use the driver's connection itself."""
    statement = f"INSERT INTO users (username, email) VALUES ('ann', '{SECRET}')"  # noqa: S608 - a constant
    async with db.engine.connect() as connection:
        raw: Any = (await connection.get_raw_connection()).driver_connection

        async def insert_raw() -> None:
            with translated():
                if hasattr(raw, "execute"):
                    await raw.execute(statement)
                else:
                    cursor = raw.cursor()
                    async with await cursor if hasattr(cursor, "__await__") else cursor as opened:
                        await opened.execute(statement)

        with pytest.raises(HqtDbError) as caught:
            await insert_raw()
        await connection.invalidate()
    assert SECRET not in shown(caught.value)
    assert caught.value.__context__ is None
