"""One-shot calls: each a transaction of its own, its instances detached."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import inspect, select
from sqlalchemy.orm.attributes import instance_state
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random

from hqt_async_db.connection.backends.backend import Mode
from hqt_async_db.connection.backends.direct import NoWayError
from hqt_async_db.connection.executors import detached
from hqt_async_db.connection.executors.bulk import in_order, is_numbered
from hqt_async_db.connection.executors.executors import SessionExecutor
from hqt_async_db.connection.executors.instances import needs_unit_of_work
from hqt_async_db.connection.executors.session_stream import session_pieces
from hqt_async_db.connection.executors.stored import stored
from hqt_async_db.connection.executors.streams import RowStream
from hqt_async_db.connection.executors.upserts import in_order_of, in_order_of_locks, keys_of
from hqt_async_db.connection.pacing import paced
from hqt_async_db.errors import (
    DeadlockError,
    DuplicateKeyError,
    SerializationFailureError,
    StaleRecordError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from sqlalchemy import Delete, Dialect, Executable, Select, Update
    from sqlalchemy.orm import Mapper

    from hqt_async_db.connection.executors.fetching import Shape
    from hqt_async_db.connection.executors.streams import Pieces
    from hqt_async_db.connection.manager import DatabaseManager

T = TypeVar("T")

# A deadlock ends at once, unlike a lock that is waited for in vain.
_DEADLOCK_ATTEMPTS: Final = 5
_LONGEST_PAUSE_S: Final = 0.05
# Each is about another row of the call, which somebody inserted meanwhile.
_MOST_OVERTAKINGS: Final = 10


class OneShotExecutor:
    """Makes each call its own transaction; instances come back detached."""

    is_one_shot = True

    def __init__(self, db: DatabaseManager) -> None:
        self._db = db

    def dialect_for(self, mapper: Mapper[Any]) -> Dialect:
        """Return the dialect of the manager, whatever the model."""
        del mapper
        return self._db.engine.dialect

    async def fetch(
        self,
        statement: Executable,
        values: Mapping[str, Any] | None = None,
        *,
        shape: Shape = "rows",
    ) -> list[Any]:
        """Read with one statement, as a read-only session does, without BEGIN."""
        with suppress(NoWayError):
            return await self._db.shortcut().fetch(statement, values, shape)
        async with self._db.open(Mode.READ_ONLY, "one-shot read") as session:
            return await SessionExecutor(session).fetch(statement, values, shape=shape)

    def refreshing(self, statement: Select[Any], mapper: Mapper[Any]) -> Select[Any]:
        """Return the SELECT: its instances are new ones anyway."""
        del mapper
        return statement

    async def write(
        self,
        statement: Update | Delete,
        mapper: Mapper[Any],
        values: Mapping[str, Any] | None = None,
        *,
        is_short: bool = False,
    ) -> int:
        """Run one statement and commit."""
        if len(mapper.tables) == 1:
            with suppress(NoWayError):
                shortcut = self._db.shortcut()
                answer, _ = await shortcut.write(statement, values, joins=is_short)
                return answer.rowcount
        async with self._writing() as executor:
            return await executor.write(statement, mapper, values)

    async def create(self, model: type[T], values: Mapping[str, Any]) -> T:
        """Insert one row and commit."""
        with suppress(NoWayError):
            shortcut = self._db.shortcut()
            created: T = await stored(inspect(model)).create(shortcut, values)
            return created
        async with self._writing() as executor:
            return await executor.create(model, values)

    async def try_create(self, model: type[T], values: Mapping[str, Any]) -> T:
        """Insert one row and commit, again if it was the victim of a deadlock."""

        async def attempt() -> T:
            return await self.create(model, values)

        return await _unless_deadlocked(attempt)

    async def update(self, instance: Any, values: Mapping[str, Any]) -> None:
        """Update one row by primary key, sending only what changes.

        The instance itself is touched only once the commit is known, so that
        an error leaves it as it was. What is assigned meanwhile stays pending.
        """
        with suppress(NoWayError):
            shortcut = self._db.shortcut()
            await stored(instance_state(instance).mapper).update(shortcut, instance, values)
            return
        twin = detached.twin_of(instance)
        watch = detached.Watch(instance, twin.__mapper__.column_attrs.keys())
        pending = detached.pending_values(instance)
        async with self._writing() as executor:
            executor.session.add(twin)
            await executor.update(twin, pending | dict(values))
        detached.adopt(instance, twin, watch)

    async def delete(self, instance: Any) -> None:
        """Delete one row by primary key, in the version that was read.

        What a session's delete would do beside that, for relatives or
        listeners, takes a session here, too.
        """
        mapper = instance_state(instance).mapper
        if needs_unit_of_work(mapper):
            is_deleted = await self.transact(lambda executor: _delete_all_of(executor, instance))
        else:
            statement = detached.delete_statement(instance)
            is_deleted = await self.write(statement, mapper, is_short=True) > 0
        if not is_deleted:
            msg = f"the {type(instance).__name__} was changed or deleted since it was read"
            raise StaleRecordError(msg)

    async def insert_unchecked(
        self, mapper: Mapper[Any], rows: Sequence[Mapping[str, Any]], *, returning: bool
    ) -> list[Any] | None:
        """Insert rows that are prepared column by column."""
        with suppress(NoWayError):
            stored(mapper).require_plain()
            if not returning:
                await self._db.shortcut().insert_many(mapper, rows)
                return []
            if is_numbered(mapper):
                found = await self._db.shortcut().store_many(mapper, [rows])
                return await in_order(mapper, rows, found)
        return None

    async def bulk_insert(
        self, model: type[T], rows: Sequence[Mapping[str, Any]], *, returning: bool
    ) -> list[T]:
        """Insert all rows in one transaction."""
        async with self._writing() as executor:
            return await executor.bulk_insert(model, rows, returning=returning)

    async def upsert(
        self, model: type[T], rows: Sequence[Mapping[str, Any]], match: tuple[str, ...]
    ) -> list[T]:
        """Insert or update in one transaction, again if it was the victim of a race."""
        keys = await keys_of(rows, match)

        async def attempt() -> list[T]:
            with suppress(NoWayError):
                mapper = inspect(model)
                stored(mapper).require_plain()
                groups = await in_order_of_locks(rows, match)
                found = await self._db.shortcut().store_many(mapper, groups, match)
                return await in_order_of(keys, found, match)
            async with self._writing() as executor:
                return await executor.upsert(model, rows, match)

        if self._db.engine.dialect.name == "postgresql":
            return await _unless_overtaken(attempt, inspect(model), rows)
        return await _unless_deadlocked(attempt)

    def stream(
        self, statement: Executable, values: Mapping[str, Any] | None = None, *, entities: bool
    ) -> RowStream[Any]:
        """Stream from one snapshot, on the read-only pool."""
        return RowStream(lambda: self._pieces(statement, values, entities=entities))

    @asynccontextmanager
    async def _pieces(
        self, statement: Executable, values: Mapping[str, Any] | None, *, entities: bool
    ) -> AsyncIterator[Pieces[Any]]:
        """Lend the rows of a SELECT, straight from the driver where that will do."""
        async with AsyncExitStack() as exits:
            pieces: Pieces[Any]
            try:
                shape: Shape = "instances" if entities else "rows"
                direct = self._db.shortcut().stream(statement, values, shape)
                pieces = await exits.enter_async_context(direct)
            except NoWayError:
                session = self._db.open(Mode.SNAPSHOT, "one-shot stream")
                await exits.enter_async_context(session)
                plain = session_pieces(
                    session, statement, values, entities=entities, owns_session=True
                )
                pieces = await exits.enter_async_context(plain)
            yield pieces

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[SessionExecutor]:
        """Read several times from one snapshot."""
        async with self._db.open(Mode.SNAPSHOT, "one-shot read") as session:
            yield SessionExecutor(session)

    async def transact(self, work: Callable[[SessionExecutor], Awaitable[T]]) -> T:
        """Work in one transaction, again if it was the victim of a deadlock."""

        async def attempt() -> T:
            async with self._writing() as executor:
                return await work(executor)

        return await _unless_deadlocked(attempt)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[SessionExecutor]:
        async with self._db.open(Mode.DEFAULT, "one-shot write") as session:
            yield SessionExecutor(session)


async def _delete_all_of(executor: SessionExecutor, instance: Any) -> bool:
    """Delete what takes more than its own DELETE, if it is as it was read."""
    mapper, criteria = instance_state(instance).mapper, detached.criteria_of(instance)
    found = await executor.session.scalar(select(mapper).where(*criteria))
    if found is not None:
        await executor.delete(found)
    return found is not None


async def _unless_deadlocked(attempt: Callable[[], Awaitable[T]]) -> T:
    """Call ``attempt``, which is a transaction, until it is no victim of a deadlock."""
    retrying = AsyncRetrying(
        retry=retry_if_exception_type((DeadlockError, SerializationFailureError)),
        stop=stop_after_attempt(_DEADLOCK_ATTEMPTS),
        wait=wait_random(max=_LONGEST_PAUSE_S),
        reraise=True,
    )
    return await retrying(attempt)


async def _unless_overtaken(
    attempt: Callable[[], Awaitable[T]], mapper: Mapper[Any], rows: Sequence[Mapping[str, Any]]
) -> T:
    """Call ``attempt``, an upsert on PostgreSQL, until nobody inserts the same row meanwhile.

    ON CONFLICT watches one unique key only. Where somebody inserts the same
    row between PostgreSQL's look at that key and its own entry in the index of
    another, it is a duplicate by the other key, although the row is one to
    update: https://www.postgresql.org/docs/18/sql-insert.html#SQL-ON-CONFLICT
    The row is there the next time. Refused with the same words again, it is
    another row that has the key; as it is where the database made the value.
    """
    words: set[str] = set()
    while True:
        try:
            return await _unless_deadlocked(attempt)
        except DuplicateKeyError as error:
            is_final = str(error.orig) in words or len(words) == _MOST_OVERTAKINGS
            if is_final or not await _are_given(error.columns, mapper, rows):
                raise
            words.add(str(error.orig))


async def _are_given(
    columns: Sequence[str], mapper: Mapper[Any], rows: Sequence[Mapping[str, Any]]
) -> bool:
    """Tell whether it is known which columns, and the caller gave values of all of them."""
    names = {attribute.columns[0].name: attribute.key for attribute in mapper.column_attrs}
    missing = {names.get(column) for column in columns}
    if not missing:
        return False
    async for row in paced(rows):
        missing -= row.keys()
        if not missing:
            return True
    return False
