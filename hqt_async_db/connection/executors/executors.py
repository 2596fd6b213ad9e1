"""The seam between repositories and the database: how statements run.

A repository builds statements and hands them to an executor. One is bound to
a session and never commits; the other makes each call a transaction of its
own and returns detached instances. Faster paths arrive behind this seam.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy import inspect

from hqt_async_db.connection.backends.direct import NoWayError
from hqt_async_db.connection.executors import instances
from hqt_async_db.connection.executors.bulk import insert_rows
from hqt_async_db.connection.executors.fetching import fetch
from hqt_async_db.connection.executors.session_insert import insert
from hqt_async_db.connection.executors.session_stream import session_pieces
from hqt_async_db.connection.executors.streams import RowStream
from hqt_async_db.connection.executors.upserts import upsert_rows
from hqt_async_db.connection.sessions.session import Session
from hqt_async_db.connection.translation.translate import translated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy import Delete, Dialect, Executable, Select, Update
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Mapper
    from sqlalchemy.orm import Session as SyncSession

    from hqt_async_db.connection.executors.fetching import Shape

T = TypeVar("T")


class Executor(Protocol):
    """What a repository asks of the database."""

    is_one_shot: bool

    def dialect_for(self, mapper: Mapper[Any]) -> Dialect:
        """Return the dialect that will run statements about a model."""

    async def fetch(
        self,
        statement: Executable,
        values: Mapping[str, Any] | None = None,
        *,
        shape: Shape = "rows",
    ) -> list[Any]:
        """Return all rows, as rows, dictionaries or instances.

        Args:
            statement: A SELECT.
            values: Its named parameters, if it is a template that is kept and
                used again; None for a statement made for this call.
            shape: What to make of the rows.
        """

    def refreshing(self, statement: Select[Any], mapper: Mapper[Any]) -> Select[Any]:
        """Return a SELECT of a model such that what it finds is as it is now."""

    async def write(
        self,
        statement: Update | Delete,
        mapper: Mapper[Any],
        values: Mapping[str, Any] | None = None,
        *,
        is_short: bool = False,
    ) -> int:
        """Run an UPDATE or DELETE of a model's rows and return their number.

        Args:
            statement: The statement.
            mapper: The model's.
            values: As for :meth:`fetch`.
            is_short: Whether it is about one row.
        """

    async def create(self, model: type[T], values: Mapping[str, Any]) -> T:
        """Store a new row of checked values, and return its complete instance."""

    async def try_create(self, model: type[T], values: Mapping[str, Any]) -> T:
        """Do as :meth:`create` does; refused, it leaves the transaction as it was."""

    async def update(self, instance: Any, values: Mapping[str, Any]) -> None:
        """Store changed values of an instance, and set them on it."""

    async def delete(self, instance: Any) -> None:
        """Delete the row of an instance."""

    async def insert_unchecked(
        self, mapper: Mapper[Any], rows: Sequence[Mapping[str, Any]], *, returning: bool
    ) -> list[Any] | None:
        """Insert rows that nobody has checked, if that can be done at once.

        Returns:
            The instances where they are asked for; None if nothing was run,
            perhaps because a row does not fit.
        """

    async def bulk_insert(
        self, model: type[T], rows: Sequence[Mapping[str, Any]], *, returning: bool
    ) -> list[T]:
        """Insert many rows; return the instances where they are asked for."""

    async def upsert(
        self, model: type[T], rows: Sequence[Mapping[str, Any]], match: tuple[str, ...]
    ) -> list[T]:
        """Insert rows, or update those that exist; return them in their order.

        Args:
            model: The mapped class.
            rows: Complete rows of checked values.
            match: The fields of a unique key.
        """

    def stream(
        self, statement: Executable, values: Mapping[str, Any] | None = None, *, entities: bool
    ) -> RowStream[Any]:
        """Return the rows one by one, in constant memory."""

    def reading(self) -> AbstractAsyncContextManager[SessionExecutor]:
        """Return an executor whose reads see one state."""

    async def transact(self, work: Callable[[SessionExecutor], Awaitable[T]]) -> T:
        """Call ``work`` with an executor whose statements are one transaction."""


class SessionExecutor:
    """Runs in a session of the caller's, who commits."""

    is_one_shot = False

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    def dialect_for(self, mapper: Mapper[Any]) -> Dialect:
        """Return the dialect of the session's engine for the model."""
        return self.session.get_bind(mapper).dialect

    async def fetch(
        self,
        statement: Executable,
        values: Mapping[str, Any] | None = None,
        *,
        shape: Shape = "rows",
    ) -> list[Any]:
        """Return all rows; pending changes are flushed first."""
        if isinstance(self.session, Session):
            with suppress(NoWayError):
                return await self.session.read(statement, values, shape)
        with translated():
            return await fetch(self.session, statement, values, shape=shape)

    def refreshing(self, statement: Select[Any], mapper: Mapper[Any]) -> Select[Any]:
        """Return a SELECT that brings instances up to date which the session holds."""
        return instances.refreshing(self.session, mapper, statement)

    async def write(
        self,
        statement: Update | Delete,
        mapper: Mapper[Any],
        values: Mapping[str, Any] | None = None,
        *,
        is_short: bool = False,
    ) -> int:
        """Run a statement; instances in the session are kept up to date."""
        del is_short  # the session's transaction is as long as its user wants
        with translated():
            await self.session.flush()
            # Never "auto", which evaluates criteria in Python: a naive time or a
            # float beside money would compare differently there.
            is_held = statement.is_delete and bool(instances.held_of(self.session, mapper))
            result: Any = await self.session.execute(
                statement,
                values,
                execution_options={"synchronize_session": "fetch" if is_held else False},
            )
            if statement.is_update:
                await instances.reread(self.session, mapper)
            return int(result.rowcount)

    async def create(self, model: type[T], values: Mapping[str, Any]) -> T:
        """Add an instance and flush, or do at once what comes to the same."""
        if isinstance(self.session, Session):
            with suppress(NoWayError):
                return await insert(self.session, model, values)
        instance = model(**values)
        instances.refuse_foreign_relatives(
            self.session, inspect(instance).mapper, instance.__dict__
        )
        with translated():
            # Not add() here: a session that is ended, or busy, must not take it in.
            await self.session.run_sync(_add, instance)
            await instances.complete(self.session, instance)
        return instance

    async def update(self, instance: Any, values: Mapping[str, Any]) -> None:
        """Set the values and flush."""
        instances.require_own(self.session, instance)
        instances.refuse_foreign_relatives(self.session, inspect(instance).mapper, values)
        with translated():
            for name, value in values.items():
                setattr(instance, name, value)
            await self.session.flush()
            await instances.complete(self.session, instance)

    async def delete(self, instance: Any) -> None:
        """Delete, and let the session forget the instance."""
        instances.require_own(self.session, instance)
        with translated():
            await instances.delete_one(self.session, instance)

    async def insert_unchecked(
        self, mapper: Mapper[Any], rows: Sequence[Mapping[str, Any]], *, returning: bool
    ) -> None:
        """Do nothing: in a session the rows go through SQLAlchemy."""
        del mapper, rows, returning

    async def bulk_insert(
        self, model: type[T], rows: Sequence[Mapping[str, Any]], *, returning: bool
    ) -> list[T]:
        """Insert in chunks: one statement per chunk, not one per row."""
        with translated():
            return await insert_rows(self.session, model, rows, returning=returning)

    async def upsert(
        self, model: type[T], rows: Sequence[Mapping[str, Any]], match: tuple[str, ...]
    ) -> list[T]:
        """Insert or update in chunks, as :meth:`bulk_insert`."""
        with translated():
            return await upsert_rows(self.session, model, rows, match)

    def stream(
        self, statement: Executable, values: Mapping[str, Any] | None = None, *, entities: bool
    ) -> RowStream[Any]:
        """Stream in this session's transaction."""
        return RowStream(
            lambda: session_pieces(
                self.session, statement, values, entities=entities, owns_session=False
            )
        )

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[SessionExecutor]:
        """Read in this session, at its isolation."""
        yield self

    async def try_create(self, model: type[T], values: Mapping[str, Any]) -> T:
        """Do as :meth:`create` does; refused, it leaves the transaction as it was."""
        with translated():
            async with self.session.begin_nested():
                return await self.create(model, values)

    async def transact(self, work: Callable[[SessionExecutor], Awaitable[T]]) -> T:
        """Work in this session's transaction."""
        with translated():
            return await work(self)


def _add(session: SyncSession, instance: object) -> None:
    if not session.is_active:
        session.connection()  # which says that an error ended the transaction
    session.add(instance)
    session.flush()
