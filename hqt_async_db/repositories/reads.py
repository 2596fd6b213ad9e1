"""The verbs that read."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, overload

from sqlalchemy import select

from hqt_async_db.errors import InvalidInputError, MultipleRecordsFoundError, RecordNotFoundError
from hqt_async_db.repositories.bound import Bound, ModelT
from hqt_async_db.repositories.pages import Keyset, Page
from hqt_async_db.repositories.queries import Load, OrderBy, loaded, ordered, require_count
from hqt_async_db.repositories.selects import (
    COUNT,
    KEYS,
    Parts,
    Prepared,
    Target,
    prepare_by_key,
    prepare_select,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Row
    from sqlalchemy.orm import InstrumentedAttribute

    from hqt_async_db.connection.executors.executors import Executor
    from hqt_async_db.connection.executors.fetching import Shape
    from hqt_async_db.connection.executors.streams import RowStream

_TWO: Final = Parts(is_sorted=False, limit=2)
_ANY: Final = Parts(KEYS, is_sorted=False, limit=1)
_COUNT: Final = Parts(COUNT, is_sorted=False)


class Reads(Bound[ModelT]):
    """Reading one row, many rows, pages, columns and streams."""

    async def get_by_id(
        self, entity_id: Any, *, load: Load = (), for_update: bool = False
    ) -> ModelT | None:
        """Return the row with this primary key, or None.

        One SELECT, and one more for each of ``load``. Bound to a session,
        rows written earlier in its transaction are visible.

        Args:
            entity_id: The primary key; a tuple where it is composite.
            load: Relationships to load with it.
            for_update: Lock the row until the session ends its transaction.

        Raises:
            InvalidInputError: The key does not fit the model; nothing ran.
        """
        prepared = prepare_by_key(self.model, self._dialect, entity_id)
        found = await self._instances(prepared, load=load, for_update=for_update)
        return found[0] if found else None

    async def get_one(
        self,
        *criteria: ColumnElement[bool],
        load: Load = (),
        for_update: bool = False,
        **filters: Any,
    ) -> ModelT:
        """Return the one row that matches. One SELECT.

        Raises:
            RecordNotFoundError: None does.
            MultipleRecordsFoundError: More than one does.
        """
        found = await self.get_one_or_none(*criteria, load=load, for_update=for_update, **filters)
        if found is None:
            msg = f"there is no {self._described(criteria, filters)}"
            raise RecordNotFoundError(msg)
        return found

    async def get_one_or_none(
        self,
        *criteria: ColumnElement[bool],
        load: Load = (),
        for_update: bool = False,
        **filters: Any,
    ) -> ModelT | None:
        """Return the one row that matches, or None. One SELECT.

        Raises:
            MultipleRecordsFoundError: More than one does.
        """
        prepared = self._prepared(_TWO, criteria, filters)
        found = await self._instances(prepared, load=load, for_update=for_update)
        if len(found) > 1:
            msg = f"there is more than one {self._described(criteria, filters)}"
            raise MultipleRecordsFoundError(msg)
        return found[0] if found else None

    async def get_all(
        self,
        *,
        order_by: OrderBy = None,
        limit: int | None = None,
        offset: int | None = None,
        load: Load = (),
    ) -> list[ModelT]:
        """Return all rows, by primary key unless ``order_by`` says otherwise.

        For tables that may be large use :meth:`page` or :meth:`stream`.
        """
        return await self.get_many(order_by=order_by, limit=limit, offset=offset, load=load)

    async def get_many(
        self,
        *criteria: ColumnElement[bool],
        order_by: OrderBy = None,
        limit: int | None = None,
        offset: int | None = None,
        for_update: bool = False,
        load: Load = (),
        **filters: Any,
    ) -> list[ModelT]:
        """Return the rows that match.

        One SELECT, and one more for each of ``load`` (per 500 rows).

        Args:
            criteria: SQLAlchemy expressions, all of which must hold.
            order_by: Field name, ``-name`` for descending, a column or an
                ordering expression, or a sequence of these; NULLs come last.
                The primary key breaks ties.
            limit: Rows at most.
            offset: Rows to skip.
            for_update: Lock the rows until the session ends its transaction.
            load: Relationships to load with them.
            filters: Keyword equality; None is IS NULL, a list of up to 500
                values is IN.

        Raises:
            InvalidInputError: A name, a value, the limit or the offset is
                refused; nothing ran.
        """
        parts = Parts(order_by=order_by, limit=limit, offset=offset)
        prepared = self._prepared(parts, criteria, filters)
        return await self._instances(prepared, load=load, for_update=for_update)

    async def get_many_and_count(
        self,
        *criteria: ColumnElement[bool],
        order_by: OrderBy = None,
        limit: int | None = None,
        offset: int | None = None,
        load: Load = (),
        **filters: Any,
    ) -> tuple[list[ModelT], int]:
        """Return one slice of the rows that match, and how many there are.

        Two statements (a window count would make the slice slow), in one
        snapshot with the manager.
        """
        parts = Parts(order_by=order_by, limit=limit, offset=offset)
        statement, values = self._prepared(parts, criteria, filters)
        statement = loaded(self.model, statement, load)
        counting = self._prepared(_COUNT, criteria, filters)
        async with self._executor.reading() as executor:
            items = await executor.fetch(statement, values, shape="instances")
            counted = await executor.fetch(*counting)
        return items, counted[0][0]

    async def page(
        self,
        *criteria: ColumnElement[bool],
        order_by: OrderBy = None,
        limit: int = 50,
        after: str | None = None,
        load: Load = (),
        **filters: Any,
    ) -> Page[ModelT]:
        """Return one page and the cursor of the next.

        Deep pages cost as little as the first (keyset pagination), and rows
        inserted meanwhile neither repeat nor hide others. One SELECT.

        Args:
            criteria: As for :meth:`get_many`.
            order_by: Columns, by name or attribute; the primary key is added.
            limit: Rows per page, at least 1.
            after: ``next_cursor`` of the page before.
            load: Relationships to load.
            filters: As for :meth:`get_many`.

        Raises:
            InvalidInputError: As for :meth:`get_many`, or the cursor is
                damaged or was made for another order.
        """
        keyset = Keyset(self.model, order_by)
        # The cursor needs what the database sorted by; an instance that the
        # session held before may be older.
        statement = select(self.model, *keyset.columns).where(*self._criteria(criteria, filters))
        if after is not None:
            statement = statement.where(keyset.after(after, self._dialect))
        statement = ordered(statement, keyset.orderings, self._dialect)
        statement = statement.limit(require_count("limit", limit, at_least=1) + 1)
        async with self._reading_with(load) as executor:
            found = await executor.fetch(loaded(self.model, statement, load), shape="page")
        items = [row[0] for row in found[:limit]]
        return Page(items, keyset.cursor(found[limit - 1][1:]) if len(found) > limit else None)

    @overload
    async def rows(
        self,
        *columns: InstrumentedAttribute[Any] | ColumnElement[Any] | str,
        criteria: Iterable[ColumnElement[bool]] = (),
        order_by: OrderBy = None,
        limit: int | None = None,
        offset: int | None = None,
        as_dicts: Literal[False] = False,
        **filters: Any,
    ) -> list[Row[Any]]: ...

    @overload
    async def rows(
        self,
        *columns: InstrumentedAttribute[Any] | ColumnElement[Any] | str,
        criteria: Iterable[ColumnElement[bool]] = (),
        order_by: OrderBy = None,
        limit: int | None = None,
        offset: int | None = None,
        as_dicts: Literal[True],
        **filters: Any,
    ) -> list[dict[str, Any]]: ...

    async def rows(
        self,
        *columns: InstrumentedAttribute[Any] | ColumnElement[Any] | str,
        criteria: Iterable[ColumnElement[bool]] = (),
        order_by: OrderBy = None,
        limit: int | None = None,
        offset: int | None = None,
        as_dicts: bool = False,
        **filters: Any,
    ) -> list[Row[Any]] | list[dict[str, Any]]:
        """Return chosen columns as named tuples, without making instances.

        One SELECT, a fraction of the work of :meth:`get_many`.

        Args:
            columns: Names, attributes or expressions; none means all columns.
            criteria: SQLAlchemy expressions, all of which must hold.
            order_by: As for :meth:`get_many`; beside an expression such as
                ``func.count()`` no primary key is added.
            limit: Rows at most.
            offset: Rows to skip.
            as_dicts: Return dictionaries by column name instead.
            filters: As for :meth:`get_many`.
        """
        target = Target("columns", columns)
        parts = Parts(target, order_by, limit=limit, offset=offset)
        statement, values = self._prepared(parts, tuple(criteria), filters)
        shape: Shape = "dicts" if as_dicts else "rows"
        return await self._executor.fetch(statement, values, shape=shape)

    def stream(
        self,
        *criteria: ColumnElement[bool],
        columns: Sequence[InstrumentedAttribute[Any] | ColumnElement[Any] | str] = (),
        entities: bool = False,
        order_by: OrderBy = None,
        **filters: Any,
    ) -> RowStream[Any]:
        """Return the rows one by one: constant memory, however many.

        With the manager they come from one snapshot; with a session, from
        its transaction. Use it in ``async with``, or iterate at once.

        Args:
            criteria: As for :meth:`get_many`.
            columns: As for :meth:`rows`; none means all columns.
            entities: Yield instances instead of named tuples (slower).
            order_by: As for :meth:`rows`.
            filters: As for :meth:`get_many`.
        """
        if not entities:
            parts = Parts(Target("columns", tuple(columns)), order_by)
            prepared = self._prepared(parts, criteria, filters)
            return self._executor.stream(*prepared, entities=False)
        if columns:
            msg = "columns and entities exclude each other: an instance has all columns"
            raise InvalidInputError(msg, field="columns")
        prepared = self._prepared(Parts(order_by=order_by), criteria, filters)
        return self._executor.stream(*prepared, entities=True)

    async def exists(self, *criteria: ColumnElement[bool], **filters: Any) -> bool:
        """Tell whether any row matches. One SELECT, which reads one row at most."""
        return bool(await self._executor.fetch(*self._prepared(_ANY, criteria, filters)))

    async def count(self, *criteria: ColumnElement[bool], **filters: Any) -> int:
        """Return how many rows match. One SELECT, which reads all of them."""
        counted = await self._executor.fetch(*self._prepared(_COUNT, criteria, filters))
        return int(counted[0][0])

    # -- statements --------------------------------------------------------

    def _prepared(
        self,
        parts: Parts,
        criteria: Sequence[ColumnElement[bool]],
        filters: Mapping[str, Any],
    ) -> Prepared:
        return prepare_select(self.model, self._dialect, parts, criteria, filters)

    async def _instances(
        self, prepared: Prepared, *, load: Load = (), for_update: bool = False
    ) -> list[ModelT]:
        statement, values = prepared
        statement = loaded(self.model, statement, load)
        if for_update:
            if self._executor.is_one_shot:
                msg = "for_update locks until a session ends; use a repository bound to a session"
                raise InvalidInputError(msg, field="for_update")
            # Of what is loaded beside it PostgreSQL could not lock an outer join.
            statement = statement.with_for_update(of=self.model)
            statement = statement.execution_options(populate_existing=True)
        if not load:
            return await self._executor.fetch(statement, values, shape="instances")
        async with self._executor.reading() as executor:
            return await executor.fetch(statement, values, shape="instances")

    @asynccontextmanager
    async def _reading_with(self, load: Load) -> AsyncIterator[Executor]:
        """Lend an executor; several statements must see one state."""
        if not load:
            yield self._executor
            return
        async with self._executor.reading() as executor:
            yield executor
