"""Rows get into the database all or none, whatever was there."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from hqt_async_db import DatabaseManager, ImportDataError, StrategyRepository, UserRepository
from hqt_async_db.backup.loading.load import Mode, load
from hqt_async_db.errors import ForeignKeyViolationError, InvalidInputError
from tests.integration.test_backup.loads import (
    Rows,
    lines,
    load_rows,
    source,
    stored,
    strategy,
    user,
)
from tests.integration.test_repository.samples import add_strategy, add_user, user_row

if TYPE_CHECKING:
    from hqt_async_db import Session


async def test_rows_are_appended_in_the_order_of_their_references(db: DatabaseManager) -> None:
    counts = await load_rows(
        db, strategies=[strategy(1, 700)], users=[user(number) for number in range(1, 1000)]
    )
    assert counts == {"users": 999, "strategies": 1}
    assert await stored(db, "users", "id") == list(range(1, 1000))
    assert await stored(db, "strategies", "user_id") == [700]


@pytest.mark.parametrize("mode", ["append", "upsert", "replace", "restore"])
async def test_the_next_row_gets_a_free_number(db: DatabaseManager, mode: Mode) -> None:
    await add_user(db)
    await load_rows(db, mode, users=[user(number) for number in (5, 700)])
    assert (await add_user(db, "next")).id > 700


@pytest.mark.backends("postgresql")
@pytest.mark.parametrize("mode", ["append", "upsert", "replace", "restore"])
async def test_a_sequence_that_is_right_is_left_alone(db: DatabaseManager, mode: Mode) -> None:
    """To set it would undo what others took meanwhile, and also the numbers logged in advance."""
    await add_user(db)
    rows = [user((await add_user(db, "last")).id)]
    if mode == "append":  # the database numbers it
        rows = [user_row("new")]
    await load_rows(db, mode, users=rows)
    async with db.session() as session:
        logged = await session.scalar(text("SELECT log_cnt FROM users_id_seq"))
    assert logged > 0
    assert (await add_user(db, "next")).id == (4 if mode == "append" else 3)


@pytest.mark.backends("postgresql")
async def test_rows_without_numbers_leave_a_sequence_alone(db: DatabaseManager) -> None:
    """Whatever numbers others gave to rows of their own by hand."""
    await load_rows(db, users=[user(1)])
    async with db.session() as session:
        await session.execute(text("UPDATE users SET id = 9"))
    await load_rows(db, users=[user_row("new")])
    assert await stored(db, "users", "id") == [2, 9]
    assert (await add_user(db, "next")).id == 3


@pytest.mark.backends("sqlite-memory")
@pytest.mark.parametrize("driver", ["hqt", "aiosqlite"])
async def test_a_commit_that_failed_leaves_nothing_to_the_next_load(driver: str) -> None:
    """It brings the temporary tables back that were dropped in it."""

    async def lose_parent(session: Session) -> None:
        await session.execute(text("PRAGMA defer_foreign_keys=1"))
        await session.execute(text("UPDATE strategies SET user_id = 99"))

    async with DatabaseManager(f"sqlite+{driver}:///:memory:") as db:
        await db.create_all()
        sources = [source(db, "users", lines([user(1)]))]
        sources.append(source(db, "strategies", lines([strategy(1, 1)])))
        with pytest.raises(ForeignKeyViolationError):
            await load(db, sources, before_commit=lose_parent)
        assert await stored(db, "users", "id") == []
        await load_rows(db, users=[user(2)], strategies=[strategy(2, 2)])
        assert await stored(db, "strategies", "id", "user_id") == [(2, 2)]


async def test_rows_without_numbers_get_them(db: DatabaseManager) -> None:
    await load_rows(db, users=[user_row("a"), user_row("b")])
    assert await stored(db, "users", "id", "username") == [(1, "a"), (2, "b")]


async def test_what_a_row_lacks_is_the_default_of_its_column(db: DatabaseManager) -> None:
    before = datetime.now(UTC)
    await load_rows(db, users=[user(1)], user_settings=[{"user_id": 1}])
    settings = await stored(db, "user_settings", "theme", "settings", "version", "created_at")
    assert settings[0][:3] == ("system", {}, 1)
    assert before <= settings[0][3] <= datetime.now(UTC)


async def test_times_and_counters_are_those_of_the_source(db: DatabaseManager) -> None:
    then = "2001-02-03T04:05:06.7+00:00"
    row = {"user_id": 1, "version": 7, "created_at": then, "updated_at": then}
    modes: tuple[Mode, ...] = ("append", "upsert")
    for mode in modes:
        await load_rows(db, "upsert", users=[user(1)])
        await load_rows(db, mode, user_settings=[{"id": 1, **row}])
        found = await stored(db, "user_settings", "version", "created_at", "updated_at")
        moment = datetime(2001, 2, 3, 4, 5, 6, 700_000, UTC)
        assert found == [(7, moment, moment)]


async def test_a_restore_replaces_every_row_of_every_table(db: DatabaseManager) -> None:
    await add_strategy(db, await add_user(db))
    assert await load_rows(db, "restore", users=[user(9)]) == {"users": 1}
    assert await stored(db, "users", "id") == [9]
    assert await StrategyRepository(db).count() == 0


async def test_an_upsert_updates_by_primary_key_and_inserts_the_rest(db: DatabaseManager) -> None:
    first = await add_user(db, full_name="kept")
    await load_rows(db, "upsert", users=[user(first.id), user(first.id + 1)])
    names = await stored(db, "users", "username", "full_name")
    assert names == [(f"u{first.id}", "kept"), (f"u{first.id + 1}", None)]


async def test_an_upsert_counts_the_versions_that_it_is_not_told(db: DatabaseManager) -> None:
    await load_rows(db, users=[user(1)], user_settings=[{"id": 1, "user_id": 1}])
    await load_rows(db, "upsert", user_settings=[{"id": 1, "user_id": 1}])
    assert await stored(db, "user_settings", "version") == [2]


async def test_a_replacement_updates_inserts_and_deletes(db: DatabaseManager) -> None:
    await load_rows(
        db,
        users=[user(1), user(2), user(3)],
        strategies=[strategy(1, 1)],
    )
    # The third has the name of one that goes, and the first keeps its strategy.
    await load_rows(db, "replace", users=[user(1, email="new"), user(4, username="u2")])
    assert await stored(db, "users", "id", "email") == [(1, "new"), (4, "u4@x")]
    assert await stored(db, "strategies", "user_id") == [1]


async def test_a_replacement_may_move_what_refers_to_a_row_that_goes(db: DatabaseManager) -> None:
    await load_rows(db, users=[user(1)], strategies=[strategy(1, 1)])
    await load_rows(db, "replace", users=[user(2)], strategies=[strategy(1, 2)])
    assert await stored(db, "users", "id") == [2]
    assert await stored(db, "strategies", "user_id") == [2]


async def test_a_replacement_never_cascades(db: DatabaseManager) -> None:
    await load_rows(
        db,
        users=[user(number) for number in (1, 2, 3)],
        strategies=[strategy(1, 1), strategy(2, 1), strategy(3, 2)],
        notifications=[{"id": 1, "user_id": 2, "title": "t", "message": "m"}],
    )
    with pytest.raises(ImportDataError) as caught:
        await load_rows(db, "replace", users=[user(3, email="changed")])
    assert str(caught.value) == (
        "users.jsonl: rows of users that it lacks are still referenced, by 1 of "
        "notifications.user_id, 3 of strategies.user_id; replace or delete those first, or upsert"
    )
    assert await stored(db, "users", "email") == ["u1@x", "u2@x", "u3@x"]


@pytest.mark.parametrize("mode", ["append", "upsert", "replace", "restore"])
async def test_a_reference_to_nothing_is_named_with_its_row(
    db: DatabaseManager, mode: Mode
) -> None:
    await add_user(db)
    rows = [strategy(number, 1) for number in range(1, 600)]
    rows[550]["user_id"] = 77
    with pytest.raises(ImportDataError) as caught:
        await load_rows(db, mode, users=[user(1)] if mode != "append" else [], strategies=rows)
    assert (caught.value.source, caught.value.row, caught.value.column) == (
        "strategies.jsonl",
        551,
        "user_id",
    )
    assert "77" not in str(caught.value)
    assert await stored(db, "users", "username") == ["trader"]
    assert await StrategyRepository(db).count() == 0


async def test_a_key_that_is_taken_is_named_with_its_row(db: DatabaseManager) -> None:
    await add_user(db, "u3")
    cases: list[tuple[Mode, Rows]] = [
        ("append", [user(2), user(1)]),
        ("append", [user(2), user(3)]),
        ("upsert", [user(2), user(3)]),
        ("upsert", [user(2), user(2)]),
        ("replace", [user(1), user(2), user(2)]),
        ("restore", [user(2), user(3), user(4, username="u2")]),
    ]
    for mode, rows in cases:
        with pytest.raises(ImportDataError) as caught:
            await load_rows(db, mode, users=rows)
        assert caught.value.row == len(rows), mode
        assert caught.value.column in {"id", "username", "email"}
    assert await stored(db, "users", "id", "username") == [(1, "u3")]


@pytest.mark.parametrize("mode", ["upsert", "replace"])
async def test_rows_that_exchange_a_unique_value_are_told_of_each_other(
    db: DatabaseManager, mode: Mode
) -> None:
    await load_rows(db, users=[user(1), user(2), user(3)])
    exchanged = [user(3), user(1, username="u2"), user(2, username="u1")]
    with pytest.raises(ImportDataError, match=r"such a row until row 3 changes it") as caught:
        await load_rows(db, mode, users=exchanged)
    assert (caught.value.row, caught.value.column) == (2, "username")
    elsewhere = [user(number, username=f"elsewhere{number}") for number in (1, 2)]
    await load_rows(db, mode, users=[user(3), *elsewhere])
    await load_rows(db, mode, users=exchanged)
    assert await stored(db, "users", "username") == ["u2", "u1", "u3"]


async def test_a_table_has_one_source(db: DatabaseManager) -> None:
    with pytest.raises(InvalidInputError):
        await load(db, [source(db, "users", b""), source(db, "users", b"")])


async def test_no_rows_are_no_columns(db: DatabaseManager) -> None:
    await add_user(db)
    modes: tuple[Mode, ...] = ("append", "upsert")
    for mode in modes:
        assert await load_rows(db, mode, users=[]) == {"users": 0}
    assert await UserRepository(db).count() == 1
    assert await load_rows(db, "replace", users=[]) == {"users": 0}
    assert await UserRepository(db).count() == 0


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_nobody_writes_into_a_restore(db: DatabaseManager) -> None:
    """What is acknowledged during a restore is there afterwards, and nothing else of before."""
    await load_rows(db, users=[user(1), user(2)])
    tried: list[asyncio.Task[Any]] = []

    async def try_to_write(_: Session) -> None:
        users = UserRepository(db)
        assert len(await users.get_all()) == 2  # readers go on
        tried.append(asyncio.create_task(users.create(**user_row("meanwhile"))))
        await asyncio.wait(tried, timeout=0.3)
        assert not tried[0].done()

    sources = [source(db, "users", lines([user(7)]))]
    await load(db, sources, mode="restore", when_locked=try_to_write)
    await tried[0]
    assert sorted(await stored(db, "users", "username")) == ["meanwhile", "u7"]


@pytest.mark.parametrize(
    ("given", "theme", "version"),
    [(3, "dark", 4), (2, "dark", 4), (9, "dark", 9), (3, "light", 3), (2, "light", 3)],
)
async def test_an_upsert_is_a_change_to_whoever_has_read_the_row(
    db: DatabaseManager, given: int, theme: str, version: int
) -> None:
    row = {"id": 1, "user_id": 1, "theme": "light", "settings": {"a": 1}}
    await load_rows(db, users=[user(1)], user_settings=[{**row, "version": 3}])
    changed = {**row, "theme": theme, "version": given}
    await load_rows(db, "upsert", user_settings=[changed])
    assert await stored(db, "user_settings", "theme", "version") == [(theme, version)]
