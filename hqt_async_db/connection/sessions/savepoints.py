"""The blocks ``session.begin()`` and ``session.begin_nested()``."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from hqt_async_db.connection.proxies import QuickTransaction
from hqt_async_db.connection.sessions.endings import second_to
from hqt_async_db.errors import InvalidInputError

if TYPE_CHECKING:
    from types import TracebackType

    from hqt_async_db.connection.sessions.session import Session


class Savepoint(QuickTransaction):
    """A savepoint whose every await is guarded like the session's own."""

    session: Session

    async def start(self, is_ctxmanager: bool = False) -> Savepoint:  # noqa: FBT001, FBT002 - SQLAlchemy's signature
        """Set the savepoint, or begin the transaction.

        Raises:
            InvalidInputError: The session is read-only, so that there is no
                transaction to set a savepoint in.
        """
        with self.session.used():
            if self.nested and await self.session.is_autocommit():
                msg = "each statement of a read-only session stands alone; use snapshot=True"
                raise InvalidInputError(msg)
            await super().start(is_ctxmanager=is_ctxmanager)
            return self

    async def commit(self) -> None:
        """Release the savepoint."""
        with self.session.used():
            await super().commit()

    async def rollback(self) -> None:
        """Undo what happened since the savepoint was set."""
        with self.session.within():
            try:
                await self.session.drain()
            finally:
                await super().rollback()

    async def __aexit__(
        self,
        type_: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with nullcontext() if value is None else second_to(value), self.session.within():
            try:
                await self.session.drain()
            finally:
                leaving = super().__aexit__(type_, value, traceback)
                await (leaving if value is None else self.session.end(leaving))


class Transaction(Savepoint):
    """A block of ``session.begin()``: its end is the session's own commit."""

    async def start(self, is_ctxmanager: bool = False) -> Savepoint:  # noqa: FBT001, FBT002 - SQLAlchemy's signature
        """Begin, without SQLAlchemy's own block, which nothing would leave."""
        del is_ctxmanager
        await super().start()
        return self

    async def commit(self) -> None:
        """Commit."""
        await self.session.commit()

    async def rollback(self) -> None:
        """Roll back."""
        await self.session.rollback()

    async def __aexit__(
        self,
        type_: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        del type_, traceback
        if value is not None:
            await self.session.roll_back_after(value)
            return
        try:
            await self.session.commit()
        except BaseException as error:
            await self.session.roll_back_after(error)
            raise
