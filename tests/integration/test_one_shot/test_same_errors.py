"""Every refusal: the short way raises what the plain one raises, and shows no value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import bindparam, func, literal, null, text

from hqt_async_db import BaseRepository, HqtDbError
from hqt_async_db.models import LiveTrade, Notification, Strategy, User
from tests.integration.test_errors.exposure import SECRET, shown
from tests.integration.test_one_shot.ways import Ways, shown_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hqt_async_db import DatabaseManager

    Call = Callable[[DatabaseManager], Awaitable[Any]]

TRADE = {"account_id": SECRET, "symbol": SECRET, "direction": "long", "volume": 1, "user_id": 2}


def users(db: DatabaseManager) -> BaseRepository[User]:
    """Return the repository of users."""
    return BaseRepository(db, User)


def trades(db: DatabaseManager) -> BaseRepository[LiveTrade]:
    """Return the repository of live trades."""
    return BaseRepository(db, LiveTrade)


async def duplicate(db: DatabaseManager) -> object:
    return await users(db).create(username="u1", email=SECRET, password_hash=SECRET)


async def duplicate_of_two(db: DatabaseManager) -> object:
    return await trades(db).create(**TRADE, client_order_id="1")


async def duplicate_update(db: DatabaseManager) -> object:
    user = await users(db).get_one(username="u1")
    return await users(db).update(user, full_name=SECRET, username="u2")


async def duplicate_update_of_many(db: DatabaseManager) -> object:
    return await users(db).update_many(User.id < 3, values={"username": SECRET})


def new_users(last: str) -> list[dict[str, Any]]:
    """Return rows of users, the last of which has a name that may be taken."""
    names = [*(f"new {number}" for number in range(200)), last]
    return [
        {"username": name, "email": f"{name}@{SECRET}", "password_hash": SECRET} for name in names
    ]


async def duplicate_among_many(db: DatabaseManager) -> object:
    return await users(db).create_many(new_users("u1"), returning=True)


async def duplicate_of_another_key(db: DatabaseManager) -> object:
    row = {"username": "new", "email": "1@x", "password_hash": SECRET}
    return await users(db).upsert(["username"], **row)


async def duplicate_of_another_key_among_many(db: DatabaseManager) -> object:
    rows = [*new_users("new"), {"username": SECRET, "email": "1@x", "password_hash": SECRET}]
    return await users(db).upsert_many(rows, ["username"])


async def parent_missing_among_many(db: DatabaseManager) -> object:
    rows = [{"user_id": owner, "name": SECRET} for owner in (1, 999)]
    return await BaseRepository(db, Strategy).create_many(rows, returning=True)


async def no_table_for_many(db: DatabaseManager) -> object:
    rows = [{"user_id": 1, "title": SECRET, "message": SECRET}] * 2
    return await BaseRepository(db, Notification).create_many(rows, returning=True)


async def parent_missing(db: DatabaseManager) -> object:
    return await BaseRepository(db, Strategy).create(user_id=999, name=SECRET)


async def parent_missing_in_update(db: DatabaseManager) -> object:
    strategy = await BaseRepository(db, Strategy).get_one(id=1)
    return await BaseRepository(db, Strategy).update(strategy, user_id=999)


async def still_referred_to(db: DatabaseManager) -> object:
    return await users(db).delete_by_id(2)


async def instance_still_referred_to(db: DatabaseManager) -> object:
    await users(db).delete(await users(db).get_one(id=2))
    return None


async def check(db: DatabaseManager) -> object:
    return await trades(db).update_many(user_id=2, values={"direction": literal("up")})


async def not_null(db: DatabaseManager) -> object:
    return await trades(db).update_many(user_id=2, values={"symbol": null()})


async def not_null_in_update(db: DatabaseManager) -> object:
    trade = await trades(db).get_one(user_id=2)
    return await trades(db).update(trade, symbol=null())


async def wrong_text(db: DatabaseManager) -> object:
    return await users(db).get_many(User.username == SECRET + "\ud800")


async def too_large(db: DatabaseManager) -> object:
    return await users(db).get_many(User.id == 2**70)


async def no_function(db: DatabaseManager) -> object:
    return await users(db).get_many(func.no_such_function(User.username, SECRET) == SECRET)


async def no_value(db: DatabaseManager) -> object:
    return await users(db).get_many(User.username == bindparam("given"), User.email == SECRET)


async def no_table(db: DatabaseManager) -> object:
    return await BaseRepository(db, Notification).count(message=SECRET)


async def no_table_to_write_to(db: DatabaseManager) -> object:
    row = {"user_id": 1, "title": SECRET, "message": SECRET}
    return await BaseRepository(db, Notification).create(**row)


async def none_found(db: DatabaseManager) -> object:
    return await users(db).get_one(username=SECRET)


async def several_found(db: DatabaseManager) -> object:
    return await users(db).get_one(User.username != SECRET)


async def unknown_name(db: DatabaseManager) -> object:
    return await users(db).get_many(nothing=SECRET)


CASES: tuple[Call, ...] = (
    duplicate, duplicate_of_two, duplicate_update, duplicate_update_of_many, parent_missing,
    parent_missing_in_update, still_referred_to, instance_still_referred_to, check, not_null,
    not_null_in_update, wrong_text, too_large, no_function, no_value,
    no_table, no_table_to_write_to, none_found, several_found, unknown_name,
    duplicate_among_many, duplicate_of_another_key, duplicate_of_another_key_among_many,
    parent_missing_among_many, no_table_for_many,
)  # fmt: skip


@pytest.fixture
async def prepared(backend: str, ways: Ways) -> Ways:
    """Both ways, a trade to refer to a user, and one table less."""
    for db in (ways.short, ways.plain)[: 2 if backend == "sqlite-memory" else 1]:
        await trades(db).create(**TRADE, client_order_id="1")
        async with db.engine.begin() as connection:
            await connection.execute(text("DROP TABLE notifications"))
    return ways


@pytest.mark.parametrize("call", CASES, ids=lambda call: call.__name__)
async def test_the_error_is_the_same_and_shows_no_value(prepared: Ways, call: Call) -> None:
    raised = []
    for db in (prepared.short, prepared.plain):
        with pytest.raises(HqtDbError) as error:
            await call(db)
        assert SECRET not in shown(error.value)
        raised.append(error.value)
    short, plain = map(shown_of, raised)
    assert short == plain
    assert (short["cause"], type(raised[0]).__mro__) == ((None, None), type(raised[1]).__mro__)


@pytest.mark.backends("postgresql")
async def test_the_short_way_is_taken_by_many_rows_that_the_database_refuses(
    prepared: Ways,
) -> None:
    before = prepared.short.opened
    for call in (
        duplicate_among_many, duplicate_of_another_key, duplicate_of_another_key_among_many,
        parent_missing_among_many, no_table_for_many,
    ):  # fmt: skip
        with pytest.raises(HqtDbError):
            await call(prepared.short)
        assert prepared.short.opened == before, call.__name__
    assert await users(prepared.short).count() == 20


async def test_the_short_way_is_taken_by_what_the_database_refuses(prepared: Ways) -> None:
    """Without this the errors of the plain way could be compared with themselves."""
    short = (
        duplicate, duplicate_of_two, duplicate_update, parent_missing, still_referred_to,
        instance_still_referred_to, no_function, none_found, several_found,
    )  # fmt: skip
    before = prepared.short.opened
    for call in short:
        with pytest.raises(HqtDbError):
            await call(prepared.short)
        assert prepared.short.opened == before, call.__name__
