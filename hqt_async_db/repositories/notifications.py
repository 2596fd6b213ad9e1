"""Messages to users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from hqt_async_db.models import Notification
from hqt_async_db.models.types import utc_now
from hqt_async_db.repositories.base import BaseRepository

if TYPE_CHECKING:
    from datetime import datetime

    from hqt_async_db.repositories.queries import ReadOptions


class NotificationRepository(BaseRepository[Notification]):
    """Notifications, newest first."""

    async def get_by_user(self, user_id: int, **options: Unpack[ReadOptions]) -> list[Notification]:
        """Return the notifications of a user, newest first. One SELECT."""
        options.setdefault("order_by", "-created_at")
        return await self.get_many(user_id=user_id, **options)

    async def get_unread(self, user_id: int, **options: Unpack[ReadOptions]) -> list[Notification]:
        """Return the notifications a user has not read, newest first. One SELECT."""
        options.setdefault("order_by", "-created_at")
        return await self.get_many(user_id=user_id, is_read=False, **options)

    async def get_by_level(self, level: str, **options: Unpack[ReadOptions]) -> list[Notification]:
        """Return the notifications of a level to all users, newest first. One SELECT."""
        options.setdefault("order_by", "-created_at")
        return await self.get_many(level=level, **options)

    async def count_unread(self, user_id: int) -> int:
        """Return how many notifications a user has not read. One SELECT."""
        return await self.count(user_id=user_id, is_read=False)

    async def mark_read(self, notification: Notification) -> Notification:
        """Note that the user has read it, and when. One UPDATE.

        For one that was read before, nothing changes and nothing is sent.
        """
        if notification.is_read:
            return notification
        return await self.update(notification, is_read=True, read_at=utc_now())

    async def mark_all_read(self, user_id: int) -> int:
        """Note that the user has read everything; return how many. One UPDATE."""
        values = {"is_read": True, "read_at": utc_now()}
        return await self.update_many(user_id=user_id, is_read=False, values=values)

    async def delete_read(self, user_id: int, before: datetime) -> int:
        """Delete what a user has read and is older; return how many. One DELETE."""
        older = Notification.created_at < before
        return await self.delete_many(older, user_id=user_id, is_read=True)
