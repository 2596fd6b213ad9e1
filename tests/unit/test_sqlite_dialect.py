"""What SQLite's dialect makes of statements and addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, delete, insert, select, text, update

from hqt_async_db.connection.backends.sqlite.dialect import HqtSQLiteDialect
from hqt_async_db.connection.backends.sqlite.locations import path_of
from hqt_async_db.connection.backends.sqlite.statements import (
    ends_transaction,
    frees_pages,
    keyword_of,
    lifts_read_only,
    moves_pages,
    stays_outside,
    takes_write_lock,
)

if TYPE_CHECKING:
    from sqlalchemy import ClauseElement

TABLE = Table("t", MetaData(), Column("i", Integer, primary_key=True))


@pytest.mark.parametrize(
    ("statement", "keyword"),
    [
        ("select 1", "SELECT"),
        ("  \n\t(SELECT 1)", "SELECT"),
        ("-- insert\n  -- update\nSELECT 1", "SELECT"),
        ("/* insert */ /* \n */ ; SELECT 1", "SELECT"),
        ("-- nothing but this", ""),
        ("", ""),
        ("123", ""),
    ],
)
def test_the_first_word(statement: str, keyword: str) -> None:
    assert keyword_of(statement) == keyword


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t VALUES (1)",
        "/* read */ update t SET i = 1",
        "DELETE FROM t",
        "REPLACE INTO t VALUES (1)",
        "CREATE TABLE u (i)",
        "DROP TABLE t",
        "ALTER TABLE t ADD j",
        "REINDEX",
        "ANALYZE",
        "SAVEPOINT s",
        "WITH n AS (SELECT 1) INSERT INTO t SELECT * FROM n",
        "WITH n AS (SELECT 1)\nDelete FROM t",
        "UNHEARD OF",
    ],
)
def test_what_takes_the_write_lock(statement: str) -> None:
    assert takes_write_lock(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1",
        "VALUES (1)",
        "EXPLAIN INSERT INTO t VALUES (1)",
        "PRAGMA table_info(t)",
        "WITH n AS (SELECT 1) SELECT * FROM n",
        "VACUUM",
        "ROLLBACK TO s",
        "RELEASE s",
        "",
    ],
)
def test_what_does_not(statement: str) -> None:
    assert not takes_write_lock(statement)


@pytest.mark.parametrize(
    ("statement", "locks"),
    [
        (select(TABLE), False),
        (select(TABLE).with_for_update(), True),
        (insert(TABLE), True),
        (update(TABLE), True),
        (delete(TABLE), True),
        (text("SELECT 1"), False),
    ],
)
def test_a_select_for_update_is_remembered(
    statement: ClauseElement,
    locks: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    compiled = statement.compile(dialect=HqtSQLiteDialect())
    assert "FOR UPDATE" not in str(compiled)
    context = HqtSQLiteDialect().execution_ctx_cls.__new__(HqtSQLiteDialect().execution_ctx_cls)
    context.compiled = compiled
    for name in ("isinsert", "isupdate", "isdelete"):
        setattr(context, name, getattr(compiled, name))
    assert takes_write_lock(str(compiled), context) is locks


def test_what_stays_outside_of_transactions() -> None:
    assert all(map(stays_outside, ("pragma user_version", "VACUUM", "ATTACH 'f' AS a", "BEGIN")))
    assert not any(map(stays_outside, ("SELECT 1", "INSERT INTO t VALUES (1)", "COMMIT")))


def test_what_may_end_a_transaction() -> None:
    assert all(map(ends_transaction, ("COMMIT", "end", "-- so\nROLLBACK", "RELEASE s")))
    assert not any(map(ends_transaction, ("SELECT 1", "SAVEPOINT s", "BEGIN")))


def test_what_no_writer_may_meet() -> None:
    moving = ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)", "pragma optimize")
    assert all(map(moves_pages, (*moving, "PRAGMA main.incremental_vacuum(9)")))
    assert not any(map(moves_pages, ("PRAGMA journal_mode", "SELECT 'wal_checkpoint'")))


def test_what_gives_pages_back() -> None:
    assert all(map(frees_pages, ("PRAGMA incremental_vacuum", "/**/ pragma INCREMENTAL_VACUUM(1)")))
    assert not any(map(frees_pages, ("PRAGMA auto_vacuum", "SELECT 'incremental_vacuum'")))


def test_what_would_lift_read_only() -> None:
    assert all(map(lifts_read_only, ("PRAGMA query_only=0", "/**/ pragma main.QUERY_ONLY(off)")))
    assert not any(map(lifts_read_only, ("PRAGMA table_info(t)", "SELECT 'query_only'")))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/a/b.db", "/a/b.db"),
        ("/a/../b.db", "/b.db"),
        ("file:/a%20b.db?mode=ro", "/a b.db"),
        ("file:///a.db", "/a.db"),
        (":memory:", None),
        ("", None),
        ("file::memory:?cache=shared", None),
        ("file:name?mode=memory", None),
        ("file:/mode=memory", "/mode=memory"),
    ],
)
def test_where_a_file_is(name: str, path: str | None) -> None:
    assert path_of(name) == path  # the gate of two managers depends on it
