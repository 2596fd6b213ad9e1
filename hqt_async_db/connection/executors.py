"""The seam between repositories and the database: how statements run.

A repository builds statements and hands them to an executor. One is bound to
a session and never commits; the other makes each call a transaction of its
own and returns detached instances. Faster paths arrive behind this seam.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from sqlalchemy import and_, delete, insert, inspect
from sqlalchemy.orm import make_transient_to_detached
from sqlalchemy.orm.attributes import set_committed_value

from hqt_async_db.connection.backends import Mode
from hqt_async_db.connection.streams import RowStream
from hqt_async_db.connection.translate import translated
from hqt_async_db.errors import InvalidInputError, StaleRecordError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy import Executable
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Mapper

    from hqt_async_db.connection.manager import DatabaseManager

T = TypeVar("T")

_CHUNK_ROWS: Final = 500


class Executor(Protocol):
    """What a repository asks of the database."""

    is_one_shot: bool

    async def fetch(self, statement: Executable, *, entities: bool = False) -> list[Any]:
        """Return all rows, or the instances of the first column."""

    async def write(self, statement: Executable) -> int:
        """Run an UPDATE or DELETE and return the number of rows."""

    async def insert(self, instance: Any) -> None:
        """Store a new instance and load what the database filled in."""

    async def update(self, instance: Any, values: Mapping[str, Any]) -> None:
        """Store changed values of an instance, and set them on it."""

    async def delete(self, instance: Any) -> None:
        """Delete the row of an instance."""

    async def bulk_insert(
        self, model: type[T], rows: Sequence[Mapping[str, Any]], *, returning: bool
    ) -> list[T]:
        """Insert many rows; return the instances where they are asked for."""

    def stream(self, statement: Executable, *, entities: bool = False) -> RowStream[Any]:
        """Return the rows one by one, in constant memory."""

    def reading(self) -> AbstractAsyncContextManager[SessionExecutor]:
        """Return an executor whose reads see one state."""

    def writing(self) -> AbstractAsyncContextManager[SessionExecutor]:
        """Return an executor whose statements are one transaction."""


class SessionExecutor:
    """Runs in a session of the caller's, who commits."""

    is_one_shot = False

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def fetch(self, statement: Executable, *, entities: bool = False) -> list[Any]:
        """Return all rows; pending changes are flushed first."""
        with translated():
            result = await self.session.execute(statement)
            return list(result.scalars().unique() if entities else result)

    async def write(self, statement: Executable) -> int:
        """Run a statement; instances in the session are kept up to date."""
        with translated():
            # Not "auto", which evaluates criteria in Python: a naive time or a float
            # beside money would compare differently there.
            result = await self.session.execute(
                statement, execution_options={"synchronize_session": "fetch"}
            )
            return int(result.rowcount)  # type: ignore[attr-defined]  # DML returns a CursorResult

    async def insert(self, instance: Any) -> None:
        """Add and flush."""
        with translated():
            self.session.add(instance)
            await self.session.flush()

    async def update(self, instance: Any, values: Mapping[str, Any]) -> None:
        """Set the values and flush."""
        self._require_own(instance)
        with translated():
            for name, value in values.items():
                setattr(instance, name, value)
            await self.session.flush()

    async def delete(self, instance: Any) -> None:
        """Delete and flush."""
        self._require_own(instance)
        with translated():
            await self.session.delete(instance)
            await self.session.flush()

    async def bulk_insert(
        self, model: type[T], rows: Sequence[Mapping[str, Any]], *, returning: bool
    ) -> list[T]:
        """Insert in chunks: one statement per chunk, not one per row."""
        instances: list[T] = []
        with translated():
            await self.session.flush()
            for chunk in _chunks(rows):
                instances += await self._insert_chunk(model, chunk, returning=returning)
        return instances

    async def _insert_chunk(
        self, model: type[T], chunk: Sequence[Mapping[str, Any]], *, returning: bool
    ) -> list[T]:
        if not returning:
            await self.session.execute(insert(model), chunk)
            return []
        if not self.session.get_bind().dialect.insert_executemany_returning:
            added = [model(**row) for row in chunk]
            self.session.add_all(added)
            await self.session.flush()
            return added
        statement = insert(model).returning(model, sort_by_parameter_order=True)
        return list(await self.session.scalars(statement, chunk))

    def stream(self, statement: Executable, *, entities: bool = False) -> RowStream[Any]:
        """Stream in this session's transaction."""
        return RowStream(self._lend, statement, entities=entities)

    @asynccontextmanager
    async def _lend(self) -> AsyncIterator[AsyncSession]:
        yield self.session

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[SessionExecutor]:
        """Read in this session, at its isolation."""
        yield self

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[SessionExecutor]:
        """Write in this session's transaction."""
        yield self

    def _require_own(self, instance: Any) -> None:
        if instance not in self.session:
            msg = (
                f"this {type(instance).__name__} does not belong to the repository's session; "
                "attach it with: instance = await session.merge(instance)"
            )
            raise InvalidInputError(msg, field="instance")


class OneShotExecutor:
    """Makes each call its own transaction; instances come back detached."""

    is_one_shot = True

    def __init__(self, db: DatabaseManager) -> None:
        self._db = db

    async def fetch(self, statement: Executable, *, entities: bool = False) -> list[Any]:
        """Read with one statement on the read-only pool, without BEGIN."""
        async with self._db.open(Mode.READ_ONLY, "one-shot read") as session:
            return await SessionExecutor(session).fetch(statement, entities=entities)

    async def write(self, statement: Executable) -> int:
        """Run one statement and commit."""
        async with self.writing() as executor:
            return await executor.write(statement)

    async def insert(self, instance: Any) -> None:
        """Insert one row and commit."""
        async with self.writing() as executor:
            await executor.insert(instance)

    async def update(self, instance: Any, values: Mapping[str, Any]) -> None:
        """Update one row by primary key, sending only what changes.

        The instance itself is touched only once the commit is known, so that
        an error leaves it as it was.
        """
        twin = _twin(instance)
        async with self.writing() as executor:
            executor.session.add(twin)
            await executor.update(twin, _pending(instance) | dict(values))
        for attribute in inspect(type(twin)).column_attrs:
            if attribute.key in twin.__dict__:
                set_committed_value(instance, attribute.key, twin.__dict__[attribute.key])

    async def delete(self, instance: Any) -> None:
        """Delete one row by primary key, in the version that was read."""
        mapper: Mapper[Any] = _require_detached(instance)
        criteria = [
            column == instance.__dict__[mapper.get_property_by_column(column).key]
            for column in (*mapper.primary_key, mapper.version_id_col)
            if column is not None
        ]
        async with self.writing() as executor:
            if not await executor.write(delete(mapper).where(and_(*criteria))):
                msg = f"the {mapper.class_.__name__} was changed or deleted since it was read"
                raise StaleRecordError(msg)

    async def bulk_insert(
        self, model: type[T], rows: Sequence[Mapping[str, Any]], *, returning: bool
    ) -> list[T]:
        """Insert all rows in one transaction."""
        async with self.writing() as executor:
            return await executor.bulk_insert(model, rows, returning=returning)

    def stream(self, statement: Executable, *, entities: bool = False) -> RowStream[Any]:
        """Stream from one snapshot, on the read-only pool."""
        return RowStream(
            lambda: self._db.open(Mode.SNAPSHOT, "one-shot stream"),
            statement,
            entities=entities,
        )

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[SessionExecutor]:
        """Read several times from one snapshot."""
        async with self._db.open(Mode.SNAPSHOT, "one-shot read") as session:
            yield SessionExecutor(session)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[SessionExecutor]:
        """Write several times in one transaction."""
        async with self._db.open(Mode.DEFAULT, "one-shot write") as session:
            yield SessionExecutor(session)


def _chunks(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(rows), _CHUNK_ROWS):
        yield rows[start : start + _CHUNK_ROWS]


def _require_detached(instance: Any) -> Mapper[Any]:
    state = inspect(instance)
    if state.key is None:
        msg = f"this {type(instance).__name__} was never stored; create() it first"
        raise InvalidInputError(msg, field="instance")
    if state.session is not None:
        msg = (
            f"this {type(instance).__name__} belongs to an open session; use a repository bound "
            "to that session"
        )
        raise InvalidInputError(msg, field="instance")
    mapper: Mapper[Any] = state.mapper
    return mapper


def _pending(instance: Any) -> dict[str, Any]:
    """Return the column values that were assigned since the last load."""
    state = inspect(instance)
    return {
        attribute.key: instance.__dict__[attribute.key]
        for attribute in state.mapper.column_attrs
        if state.attrs[attribute.key].history.has_changes()
    }


def _twin(instance: Any) -> Any:
    """Return a detached copy of an instance, as it was loaded.

    Attaching the user's own object to a session, even for a moment, would
    let two tasks that update it at once meet inside of it.
    """
    mapper = _require_detached(instance)
    changed = _pending(instance)
    twin = mapper.class_manager.new_instance()
    for column in mapper.primary_key:
        key = mapper.get_property_by_column(column).key
        set_committed_value(twin, key, instance.__dict__[key])
    make_transient_to_detached(twin)
    for attribute in mapper.column_attrs:
        if attribute.key in instance.__dict__ and attribute.key not in changed:
            set_committed_value(twin, attribute.key, instance.__dict__[attribute.key])
    return twin
