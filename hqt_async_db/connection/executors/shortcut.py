"""One-shot statements past SQLAlchemy's execution: the one place that decides.

A statement takes the shortcut if there is a plan for it, if the backend has a
direct way to its driver, and if nobody watches statements on their way
through SQLAlchemy (echo, event listeners). If not, NoWayError sends it the
plain way, through a session, which does the same and is the measure of it.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.util import LRUCache

from hqt_async_db.connection.backends.backend import Role
from hqt_async_db.connection.backends.direct import (
    LendsCursors,
    NoWayError,
    Rows,
    TakesArrays,
    TakesRows,
    Write,
)
from hqt_async_db.connection.executors.arrays import ArrayInsert
from hqt_async_db.connection.executors.bulk_direct import BulkInsert
from hqt_async_db.connection.executors.direct_stream import DirectPieces
from hqt_async_db.connection.executors.plans import Plans
from hqt_async_db.connection.ownership import disposed_meanwhile
from hqt_async_db.connection.sessions.transaction import unreadable
from hqt_async_db.connection.translation.translate import translate_direct

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from typing import TypeAlias

    from sqlalchemy.orm import Mapper

    from hqt_async_db.connection.backends.direct import Answer, Direct, Parameters
    from hqt_async_db.connection.engines import Engines
    from hqt_async_db.connection.executors.fetching import Shape
    from hqt_async_db.connection.executors.plans import Plan
    from hqt_async_db.connection.executors.readers import Reader
    from hqt_async_db.connection.ownership import Ownership

    Run: TypeAlias = "Callable[[str, Parameters], Awaitable[Sequence[Any]]]"
    RunWrite: TypeAlias = "Callable[[Write], Awaitable[Answer]]"


_MOST_KEPT: Final = 200


class Shortcut:
    """The direct way of one database, with the plans of its statements.

    Args:
        direct: The backend's way to its driver.
        engines: The engines beside it.
        ownership: Tells whether they were disposed.
    """

    def __init__(self, direct: Direct, engines: Engines, ownership: Ownership) -> None:
        self._direct = direct
        self._ownership = ownership
        self._with_cursors = direct if isinstance(direct, LendsCursors) else None
        self._with_rows = direct if isinstance(direct, TakesRows) else None
        self._with_arrays = direct if isinstance(direct, TakesArrays) else None
        self._engine = engines.by_role[Role.WRITE].sync_engine
        self._watches = engines.watches
        self._plans: Plans | None = None
        self._bulk: LRUCache[Any, tuple[BulkInsert, Plan | None]] = LRUCache(_MOST_KEPT)
        self._arrays: LRUCache[Any, tuple[ArrayInsert, Plan | None]] = LRUCache(_MOST_KEPT)

    async def fetch(
        self,
        statement: Any,
        values: Mapping[str, Any] | None,
        shape: Shape,
        run: Run | None = None,
        *,
        may_have_effects: bool = True,
    ) -> list[Any]:
        """Return all rows of a SELECT.

        Args:
            statement: The SELECT.
            values: Its named parameters if it is kept as a template; None for
                a statement made for this call.
            shape: What to make of the rows.
            run: Runs it, in a transaction; None runs it alone.
            may_have_effects: Whether it may do more than to read, or depend
                on more than the tables.

        Raises:
            NoWayError: It must go the plain way; nothing was run.
        """
        plan, given = await self._planned(Role.READ, statement, values, shape)
        if plan.reader is None or not plan.reader.is_of_use():
            raise NoWayError
        if not may_have_effects and not plan.only_reads:
            raise NoWayError
        try:
            rows = await (run or self._direct.read)(plan.sql, plan.bound(given))
        except Exception as error:  # noqa: BLE001 - raised below, as ours
            failure = self._failure(error, plan, given)
        else:
            return await plan.reader.read(rows)
        raise failure  # here, so that the driver's is not in its chain

    @asynccontextmanager
    async def stream(
        self, statement: Any, values: Mapping[str, Any] | None, shape: Shape
    ) -> AsyncIterator[DirectPieces]:
        """Run a SELECT and lend its rows, which are all of one snapshot.

        Args:
            statement: As for :meth:`fetch`.
            values: As there.
            shape: As there.

        Raises:
            NoWayError: As there, when it is entered.
        """
        plan, given = await self._planned(Role.READ, statement, values, shape)
        reader = plan.reader
        if reader is None or not reader.is_of_use() or self._with_cursors is None:
            raise NoWayError

        def explain(error: BaseException) -> BaseException:
            failure = self._failure(error, plan, given)
            if self._ownership.is_over and not isinstance(failure, NoWayError):
                return disposed_meanwhile()  # its connection was closed under it
            return failure

        opening = self._with_cursors.cursor(plan.sql, plan.bound(given))
        async with AsyncExitStack() as exits:
            try:
                cursor = await exits.enter_async_context(opening)
            except Exception as error:  # noqa: BLE001 - raised below, as ours
                failure = explain(error)
            else:
                yield DirectPieces(cursor, reader, explain)
                return
        raise failure  # as above

    async def write(
        self,
        statement: Any,
        values: Mapping[str, Any] | None = None,
        *,
        joins: bool = False,
        are_coerced: bool = False,
        run: RunWrite | None = None,
    ) -> tuple[Answer, dict[str, Any]]:
        """Run one INSERT, UPDATE or DELETE and commit.

        Args:
            statement: The statement.
            values: As for :meth:`fetch`.
            joins: Whether it is short; see :class:`Direct`.
            are_coerced: As for :meth:`Plan.bound`.
            run: Runs it, in a transaction; None runs it alone, and commits.

        Returns:
            What it returned, and the values of its parameters, defaults
            included.

        Raises:
            NoWayError: It must go the plain way; nothing was run.
        """
        plan, given = await self._planned(Role.WRITE, statement, values, "rows")
        write = self._write(plan, given, joins=joins, are_coerced=are_coerced)
        try:
            answer = await (run or self._direct.write)(write)
        except Exception as error:  # noqa: BLE001 - raised below, as ours
            failure = write.explain(error)
        else:
            if plan.reader is not None:
                is_committed = run is None
                answer.rows = await _read_back(plan.reader, answer, is_committed=is_committed)
            return answer, given
        raise failure  # as above

    def _write(
        self, plan: Plan, given: dict[str, Any], *, joins: bool, are_coerced: bool = False
    ) -> Write:
        if plan.written is None:
            raise NoWayError
        return Write(
            sql=plan.sql,
            parameters=plan.bound(given, are_coerced=are_coerced),
            tables=frozenset({plan.written.table.name}),
            explain=lambda error: self._failure(error, plan, given),
            returns=plan.returns,
            joins=joins,
        )

    async def insert_many(self, mapper: Mapper[Any], rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows that nobody has checked, all or none, and commit.

        Raises:
            NoWayError: Not all of it fits, or it must go the plain way;
                nothing was run.
        """
        plans = await self._ready(Role.WRITE)
        if self._with_rows is None:
            raise NoWayError
        names = tuple(rows[0])
        known = self._bulk.get((mapper, names))
        if known is None:
            bulk = BulkInsert(mapper, names, self._engine.dialect)
            known = self._bulk[mapper, names] = bulk, plans.of_template(bulk.statement(), "rows")
        bulk, plan = known
        if plan is None:
            raise NoWayError
        new = Rows(
            sql=plan.sql,
            table=bulk.table,
            columns=bulk.columns,
            values=await bulk.bind(rows),
            explain=lambda error: self._failure(error, plan, {}),
        )
        try:
            await self._with_rows.insert(new)
        except Exception as error:  # noqa: BLE001 - raised below, as ours
            failure = new.explain(error)
        else:
            return
        raise failure  # as above

    async def store_many(
        self,
        mapper: Mapper[Any],
        groups: Sequence[Sequence[Mapping[str, Any]]],
        match: tuple[str, ...] = (),
    ) -> list[Any]:
        """Store rows, all or none, and commit; return their instances.

        Args:
            mapper: The model's.
            groups: The rows, those together that have the same fields.
            match: The fields of the unique key by which a row that exists is
                updated; none, and it is an error.

        Returns:
            The instances, in any order.

        Raises:
            NoWayError: Not all of it fits, or it must go the plain way;
                nothing was run.
        """
        plans = await self._ready(Role.WRITE)
        if self._with_arrays is None:
            raise NoWayError
        writes: list[Write] = []
        readers: list[Reader] = []
        for rows in groups:
            arrays, plan = self._planned_arrays(plans, mapper, tuple(rows[0]), match)
            if plan is None or plan.reader is None or not plan.reader.is_of_use():
                raise NoWayError
            for values in await arrays.bind(rows):
                writes.append(self._write(plan, plan.values(values), joins=len(groups[0]) == 1))
                readers.append(plan.reader)
        try:
            answers = await self._with_arrays.write_all(writes)
        except Exception as error:  # noqa: BLE001 - raised below, as ours
            failure = writes[0].explain(error)
        else:
            found: list[Any] = []
            for reader, answer in zip(readers, answers, strict=True):
                found += await _read_back(reader, answer, is_committed=True)
            return found
        raise failure  # as above

    def _planned_arrays(
        self, plans: Plans, mapper: Mapper[Any], names: tuple[str, ...], match: tuple[str, ...]
    ) -> tuple[ArrayInsert, Plan | None]:
        key = mapper, names, match
        if key not in self._arrays:
            arrays = ArrayInsert(mapper, names, match, self._engine.dialect)
            self._arrays[key] = arrays, plans.of_returning(arrays.statement, mapper)
        return self._arrays[key]

    async def warm_up(self) -> None:
        """Open the connections that one-shot calls will need.

        Raises:
            NoWayError: There is none to be had.
        """
        await self._direct.warm_up()

    async def _planned(
        self, role: Role, statement: Any, values: Mapping[str, Any] | None, shape: Shape
    ) -> tuple[Plan, dict[str, Any]]:
        """Return a statement's plan and the values of all its parameters."""
        plans = await self._ready(role)
        if values is None:
            plan, values = plans.of(statement, shape)
        else:
            plan = plans.of_template(statement, shape)
        if plan is None:
            raise NoWayError
        return plan, plan.values(values)

    async def _ready(self, role: Role) -> Plans:
        """Return the plans, unless somebody watches; connects if that is still to do."""
        if self._watches[role].is_on():
            raise NoWayError
        if self._plans is None:
            await self._direct.ready()
            self._plans = Plans(self._engine.dialect)
        return self._plans

    def _failure(self, error: BaseException, plan: Plan, given: Mapping[str, Any]) -> BaseException:
        if isinstance(error, NoWayError):
            return error
        written = plan.written
        if written is not None:
            written = replace(written, given=plan.columns_with_value(given))
        return translate_direct(error, written, self._engine.url)


async def _read_back(reader: Reader, answer: Answer, *, is_committed: bool) -> list[Any]:
    """Return what is made of the rows of a write.

    Raises:
        CommitOutcomeUnknownError: It is committed, and they cannot be read.
    """
    try:
        return await reader.read(answer.rows)
    except Exception as error:
        if is_committed:
            raise unreadable(error) from error
        raise
