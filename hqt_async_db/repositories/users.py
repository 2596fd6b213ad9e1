"""Users and their preferences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, Unpack

from sqlalchemy import ColumnElement, false, or_

from hqt_async_db.errors import InvalidInputError
from hqt_async_db.models import User, UserSetting
from hqt_async_db.repositories.base import BaseRepository

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hqt_async_db.repositories.queries import Load, ReadOptions


class UserRepository(BaseRepository[User]):
    """People and programs that use the system."""

    async def get_by_username(self, username: str, *, load: Load = ()) -> User | None:
        """Return the user of this name, or None; capitals count. One SELECT."""
        return await self.get_one_or_none(username=username, load=load)

    async def get_by_email(self, email: str, *, load: Load = ()) -> User | None:
        """Return the user of this address, or None; capitals count. One SELECT."""
        return await self.get_one_or_none(email=email, load=load)

    async def get_active(self, **options: Unpack[ReadOptions]) -> list[User]:
        """Return the users that may log in. One SELECT."""
        return await self.get_many(is_active=True, **options)

    async def search(self, text: str, **options: Unpack[ReadOptions]) -> list[User]:
        """Return the users whose username, e-mail or full name contains a text.

        ``%`` and ``_`` stand for themselves. Capitals of ASCII do not count;
        those of other letters do, but on MySQL and MariaDB. One SELECT, which
        reads the whole table.
        """
        if not isinstance(text, str) or not text:
            msg = "text must be a str that is not empty"
            raise InvalidInputError(msg, field="text")
        columns = (User.username, User.email, User.full_name)
        matches: ColumnElement[bool]
        if len(text) > max(getattr(column.type, "length", 0) for column in columns):
            matches = false()  # SQLite refuses a pattern that is very long
        else:
            matches = or_(*(column.icontains(text, autoescape=True) for column in columns))
        return await self.get_many(matches, **options)

    async def activate(self, user: User) -> User:
        """Let the user log in. One UPDATE."""
        return await self.update(user, is_active=True)

    async def deactivate(self, user: User) -> User:
        """Keep the user from logging in; nothing is deleted. One UPDATE."""
        return await self.update(user, is_active=False)

    async def deactivate_many(self, user_ids: Iterable[int]) -> int:
        """Keep up to 500 users from logging in; return how many were active.

        One UPDATE.
        """
        return await self.update_many(
            id=list(user_ids), is_active=True, values={"is_active": False}
        )


class UserSettingRepository(BaseRepository[UserSetting]):
    """The preferences of users, one row each."""

    async def get_by_user(self, user_id: int, *, load: Load = ()) -> UserSetting | None:
        """Return the preferences of a user, or None. One SELECT."""
        return await self.get_one_or_none(user_id=user_id, load=load)

    async def get_or_default(self, user_id: int) -> UserSetting:
        """Return the preferences of a user, stored with defaults if there were none."""
        settings, _ = await self.get_or_create(user_id=user_id)
        return settings

    async def get_value(self, user_id: int, name: str, default: Any = None) -> Any:
        """Return one entry of ``settings``, or ``default``. One SELECT."""
        found = await self.rows("settings", user_id=user_id)
        return found[0][0].get(name, default) if found else default

    async def set_value(self, user_id: int, name: str, value: Any) -> UserSetting:
        """Set one entry of ``settings``; other entries stay, whoever sets them.

        The row is locked meanwhile. Two SELECTs and one UPDATE, in one
        transaction; one INSERT more for a user without preferences.
        """

        async def set_locked(repository: Self) -> UserSetting:
            stored = await repository.get_or_default(user_id)
            locked = await repository.get_one(id=stored.id, for_update=True)
            return await repository.update(locked, settings={**locked.settings, name: value})

        return await self._transact(set_locked)
