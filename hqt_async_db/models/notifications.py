"""Messages to users."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from hqt_async_db.models.base import Base, CreatedMixin, IdMixin
from hqt_async_db.models.types import Choice, ExactText, Flag, RowId, UtcDateTime, choice_check
from hqt_async_db.models.vocabulary import NotificationLevel

if TYPE_CHECKING:
    from hqt_async_db.models.users import User


class Notification(IdMixin, CreatedMixin, Base):
    """One message to one user, and whether it was read."""

    __tablename__ = "notifications"
    __table_args__ = (
        choice_check("level", NotificationLevel),
        Index(None, "user_id", "is_read", "created_at"),
        Index(None, "user_id", "created_at"),
        Index(None, "level", "created_at"),
    )
    __repr_fields__: ClassVar[tuple[str, ...]] = ("user_id", "level", "category")

    user_id: Mapped[int] = mapped_column(RowId(), ForeignKey("users.id", ondelete="CASCADE"))
    level: Mapped[str] = mapped_column(
        Choice(NotificationLevel), default=NotificationLevel.INFO.value
    )
    category: Mapped[str | None] = mapped_column(ExactText(64))
    title: Mapped[str] = mapped_column(ExactText(200))
    message: Mapped[str] = mapped_column(ExactText())
    is_read: Mapped[bool] = mapped_column(Flag(), default=False)
    read_at: Mapped[datetime | None] = mapped_column(UtcDateTime())

    user: Mapped[User] = relationship(back_populates="notifications")
