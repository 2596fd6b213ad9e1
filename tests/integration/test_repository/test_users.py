"""Users, their preferences and their messages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hqt_async_db import (
    Notification,
    NotificationRepository,
    User,
    UserRepository,
    UserSettingRepository,
)
from tests.integration.test_repository.samples import add_user, at, user_row

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager
    from tests.fixtures.managers import RecordStatements
    from tests.integration.test_repository.samples import Bind


async def test_users_are_found_by_name_and_address(bind: Bind) -> None:
    users = UserRepository(bind)
    user = await add_user(bind, "Trader")
    found = await users.get_by_username("Trader", load=(User.settings,))
    assert found is not None
    assert found.settings is None
    assert await users.get_by_username("trader") is None
    assert await users.get_by_username("Trader ") is None
    by_mail = await users.get_by_email("Trader@x")
    assert by_mail is not None
    assert by_mail.id == user.id
    assert await users.get_by_email("trader@X") is None


async def test_users_are_searched_literally(bind: Bind, backend: str) -> None:
    users = UserRepository(bind)
    names = ["100%", "100x", "a_b", "axb", "ANNA", "back\\slash"]
    await users.create_many([user_row(name) for name in names])
    await users.create(**user_row("z", full_name="Anna Example"))

    async def search(text: str) -> list[str]:
        return [user.username for user in await users.search(text, order_by="username")]

    assert await search("100%") == ["100%"]
    assert await search("a_b") == ["a_b"]
    assert await search("anna") == ["ANNA", "z"]
    assert await search("\\") == ["back\\slash"]
    assert await search("/") == []
    assert await search("@X") == sorted([*names, "z"])
    assert [user.username for user in await users.search("0", limit=1)] == ["100%"]
    assert await search("a" * 60_000) == []
    await users.create(**user_row("É"))
    assert await search("é") == (["É"] if backend == "mariadb" else [])
    longest = "e" * 254
    await users.create(**user_row("long") | {"email": longest})
    assert await search(longest) == ["long"]


async def test_users_are_activated_and_deactivated(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    users = UserRepository(bind)
    made = [await add_user(bind, name) for name in "abc"]
    assert await users.deactivate(made[0]) is made[0]
    assert not made[0].is_active
    assert [user.username for user in await users.get_active()] == ["b", "c"]
    await users.activate(made[0])
    with statements(db) as sent:
        assert await users.deactivate_many([made[0].id, made[2].id, 10**6]) == 2
        assert await users.deactivate_many(made_id for made_id in [made[0].id]) == 0
        assert await users.deactivate_many([]) == 0
    assert len([statement for statement in sent if statement.startswith("UPDATE")]) == 3
    assert [user.username for user in await users.get_active()] == ["b"]


async def test_preferences_are_there_when_asked_for(bind: Bind) -> None:
    user = await add_user(bind)
    settings = UserSettingRepository(bind)
    assert await settings.get_by_user(user.id) is None
    assert await settings.get_value(user.id, "x") is None
    assert await settings.get_value(user.id, "x", default=5) == 5
    made = await settings.get_or_default(user.id)
    assert (made.theme, made.language, made.settings) == ("system", "en", {})
    assert (await settings.get_or_default(user.id)).id == made.id
    found = await settings.get_by_user(user.id)
    assert found is not None
    assert found.id == made.id


async def test_one_preference_is_set_and_the_others_stay(bind: Bind) -> None:
    user = await add_user(bind)
    settings = UserSettingRepository(bind)
    await settings.set_value(user.id, "columns", ["symbol", {"deep": None}])
    stored = await settings.set_value(user.id, "dark", value=True)
    assert stored.settings == {"columns": ["symbol", {"deep": None}], "dark": True}
    assert stored.version == 3
    assert await settings.get_value(user.id, "dark") is True
    assert await settings.get_value(user.id, "light", default=0) == 0


async def test_preferences_set_by_many_tasks_are_all_kept(db: DatabaseManager) -> None:
    user = await add_user(db)
    settings = UserSettingRepository(db)
    await asyncio.gather(*(settings.set_value(user.id, f"k{i}", i) for i in range(16)))
    stored = await settings.get_or_default(user.id)
    assert stored.settings == {f"k{i}": i for i in range(16)}
    assert await settings.count() == 1


async def test_notifications_are_read_one_by_one_or_all_at_once(
    db: DatabaseManager, bind: Bind, statements: RecordStatements
) -> None:
    notes = NotificationRepository(bind)
    user, other = await add_user(bind), await add_user(bind, "other")
    for owner in (user, other):
        rows = [
            {"user_id": owner.id, "title": f"{hour}", "message": "m", "created_at": at(hour)}
            for hour in range(5)
        ]
        await notes.create_many(rows)
    unread = await notes.get_unread(user.id)
    assert [note.title for note in unread] == ["4", "3", "2", "1", "0"]
    read = await notes.mark_read(unread[0])
    assert read.is_read
    assert read.read_at is not None
    first_time = read.read_at
    with statements(db) as sent:
        assert (await notes.mark_read(read)).read_at == first_time
    assert sent == []
    assert await notes.count_unread(user.id) == 4
    assert await notes.mark_all_read(user.id) == 4
    assert await notes.mark_all_read(user.id) == 0
    assert await notes.count_unread(other.id) == 5
    [when] = await notes.rows("read_at", id=read.id)
    assert when.read_at == first_time
    latest = await notes.get_by_user(user.id, limit=2, load=(Notification.user,))
    assert [(note.title, note.user.username) for note in latest] == [
        ("4", "trader"), ("3", "trader"),
    ]  # fmt: skip


async def test_old_notifications_that_were_read_are_deleted(bind: Bind) -> None:
    notes = NotificationRepository(bind)
    user = await add_user(bind)
    for hour, level, is_read in ((0, "info", True), (1, "error", False), (2, "error", True)):
        await notes.create(
            user_id=user.id, title=f"{hour}", message="m", level=level,
            is_read=is_read, created_at=at(hour),
        )  # fmt: skip
    assert [note.title for note in await notes.get_by_level("error")] == ["2", "1"]
    assert await notes.delete_read(user.id, before=at(2)) == 1
    assert [note.title for note in await notes.get_by_user(user.id)] == ["2", "1"]
