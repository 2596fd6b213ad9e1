"""BaseRepository: the awaited verbs that every repository has."""

from __future__ import annotations

import copy
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, get_args, get_origin

from sqlalchemy import ColumnElement, Select, delete, func, inspect, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from hqt_async_db.connection.executors import Executor, OneShotExecutor, SessionExecutor
from hqt_async_db.connection.manager import DatabaseManager
from hqt_async_db.connection.upserts import require_unique_key, upsert_rows
from hqt_async_db.errors import (
    DuplicateKeyError,
    InvalidInputError,
    MultipleRecordsFoundError,
    RecordNotFoundError,
)
from hqt_async_db.models import validate_values
from hqt_async_db.repositories.pages import Page, after_cursor, decode_cursor, encode_cursor
from hqt_async_db.repositories.queries import (
    Load,
    OrderBy,
    column_of,
    criteria_of,
    identity_of,
    loaded,
    ordered,
    orderings_of,
    primary_key_of,
    sliced,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from sqlalchemy.orm import InstrumentedAttribute

    from hqt_async_db.connection.streams import RowStream

ModelT = TypeVar("ModelT")


class BaseRepository(Generic[ModelT]):
    """The rows of one model, through a session or through the manager.

    Bound to a session it flushes and never commits. Bound to the manager
    each call is a transaction of its own and returns detached instances.

    Any declarative model will do::

        class FillRepository(BaseRepository[Fill]):
            async def get_by_venue(self, venue: str) -> list[Fill]:
                return await self.get_many(venue=venue)

    Args:
        bind: A session, or the DatabaseManager.
        model: The mapped class; not needed where the type argument says it.

    Raises:
        InvalidInputError: ``bind`` is neither, or no model is known.
    """

    _declared_model: ClassVar[type[Any] | None] = None

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Take the model from the type argument of the base class."""
        super().__init_subclass__(**keywords)
        for base in getattr(cls, "__orig_bases__", ()):
            origin, arguments = get_origin(base), get_args(base)
            is_ours = isinstance(origin, type) and issubclass(origin, BaseRepository)
            if is_ours and isinstance(arguments[0], type):
                cls._declared_model = arguments[0]

    def __init__(
        self, bind: AsyncSession | DatabaseManager, model: type[ModelT] | None = None
    ) -> None:
        self._given_model = model
        self._executor = _executor_for(bind)
        self._dialect = _dialect_of(bind)

    @property
    def model(self) -> type[ModelT]:
        """Return the mapped class."""
        model = self._given_model or self._declared_model
        if model is None:
            # BaseRepository[Fill](db): Python sets this after __init__.
            arguments = get_args(getattr(self, "__orig_class__", None))
            if not arguments:
                msg = "which model? write class MyRepository(BaseRepository[MyModel])"
                raise InvalidInputError(msg, field="model")
            model = self._given_model = arguments[0]
        return model

    # -- one row ---------------------------------------------------------

    async def create(self, **values: Any) -> ModelT:
        """Insert one row and return it, with its key and defaults.

        One INSERT; with the manager also its commit.

        Raises:
            InvalidInputError: A name or a value is refused; nothing ran.
            DuplicateKeyError: A row with the same unique key exists.
            ForeignKeyViolationError: A referenced row does not exist.
        """
        instance = self.model(
            **validate_values(self._mapped, values, partial=False, relationships=True)
        )
        await self._executor.insert(instance)
        return instance

    async def get_by_id(
        self, entity_id: Any, *, load: Load = (), for_update: bool = False
    ) -> ModelT | None:
        """Return the row with this primary key, or None.

        One SELECT, and one more for each of ``load``.

        Args:
            entity_id: The primary key; a tuple where it is composite.
            load: Relationships to load with it.
            for_update: Lock the row until the session ends its transaction.
        """
        statement = select(self.model).where(*identity_of(self.model, entity_id))
        found = await self._entities(statement, load=load, for_update=for_update)
        return found[0] if found else None

    async def get_one(
        self,
        *criteria: ColumnElement[bool],
        load: Load = (),
        for_update: bool = False,
        **filters: Any,
    ) -> ModelT:
        """Return the one row that matches.

        Raises:
            RecordNotFoundError: None does.
            MultipleRecordsFoundError: More than one does.
        """
        found = await self.get_one_or_none(*criteria, load=load, for_update=for_update, **filters)
        if found is None:
            msg = f"no {self.model.__name__} matches {self._described(criteria, filters)}"
            raise RecordNotFoundError(msg)
        return found

    async def get_one_or_none(
        self,
        *criteria: ColumnElement[bool],
        load: Load = (),
        for_update: bool = False,
        **filters: Any,
    ) -> ModelT | None:
        """Return the one row that matches, or None.

        Raises:
            MultipleRecordsFoundError: More than one does.
        """
        statement = self._select(criteria, filters).limit(2)
        found = await self._entities(statement, load=load, for_update=for_update)
        if len(found) > 1:
            msg = (
                f"more than one {self.model.__name__} matches {self._described(criteria, filters)}"
            )
            raise MultipleRecordsFoundError(msg)
        return found[0] if found else None

    async def update(self, instance: ModelT, **values: Any) -> ModelT:
        """Store the values and set them on the instance, which is returned.

        One UPDATE of what changes. With the manager it goes by primary key,
        and the instance is touched only once the commit succeeded.

        Raises:
            InvalidInputError: A name or a value is refused, or the instance
                belongs to no session or to another one; nothing ran.
            StaleRecordError: The row was changed or deleted meanwhile.
        """
        self._require_instance(instance)
        checked = validate_values(self._mapped, values, partial=True, relationships=True)
        await self._executor.update(instance, checked)
        return instance

    async def delete(self, instance: ModelT) -> None:
        """Delete the row of an instance; the schema's ON DELETE applies.

        Raises:
            StaleRecordError: The row was changed or deleted meanwhile.
            ForeignKeyViolationError: Rows that must not vanish refer to it.
        """
        self._require_instance(instance)
        await self._executor.delete(instance)

    async def delete_by_id(self, entity_id: Any) -> bool:
        """Delete the row with this primary key; tell whether there was one."""
        statement = delete(self.model).where(*identity_of(self.model, entity_id))
        return await self._executor.write(statement) > 0

    async def upsert(self, match_fields: Sequence[str], **values: Any) -> ModelT:
        """Insert the row, or update the one with the same unique key.

        Atomic: one statement on SQLite and PostgreSQL; on MySQL and MariaDB
        a locking read and the write in one transaction.

        Args:
            match_fields: The fields of a unique key, all among ``values``.
            values: A complete row.
        """
        return (await self.upsert_many([values], match_fields))[0]

    async def get_or_create(
        self, defaults: Mapping[str, Any] | None = None, **filters: Any
    ) -> tuple[ModelT, bool]:
        """Return the row that matches, or create it; tell whether it was.

        Safe against another task or process that creates it at once, where
        ``filters`` cover a unique key.

        Args:
            defaults: Further values of a new row.
            filters: Keyword equality, and values of a new row.
        """
        values = validate_values(self._mapped, {**filters, **(defaults or {})}, partial=False)
        statement = self._select((), filters).limit(2)
        async with self._executor.writing() as executor:
            found = await executor.fetch(statement, entities=True)
            if found:
                return self._only(found, filters), False
            instance = self.model(**values)
            try:
                async with executor.session.begin_nested():
                    await executor.insert(instance)
            except DuplicateKeyError:
                found = await executor.fetch(statement, entities=True)
                if not found:
                    raise
                return self._only(found, filters), False
            return instance, True

    # -- many rows -------------------------------------------------------

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

        One SELECT, and one more for each of ``load``, however many rows.

        Args:
            criteria: SQLAlchemy expressions, all of which must hold.
            order_by: Field name, ``-name`` for descending, a column or an
                ordering expression, or a sequence of these; NULLs come last.
                The primary key breaks ties.
            limit: Rows at most.
            offset: Rows to skip.
            for_update: Lock the rows until the session ends its transaction.
            load: Relationships to load with them.
            filters: Keyword equality; None is IS NULL, a list is IN.

        Raises:
            InvalidInputError: A name, a value, the limit or the offset is
                refused; nothing ran.
        """
        statement = self._sorted(self._select(criteria, filters), order_by)
        return await self._entities(
            sliced(statement, limit, offset), load=load, for_update=for_update
        )

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
        statement = sliced(self._sorted(self._select(criteria, filters), order_by), limit, offset)
        statement = loaded(self.model, statement, load)
        async with self._executor.reading() as executor:
            items = await executor.fetch(statement, entities=True)
            counted = await executor.fetch(self._count(criteria, filters))
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
        inserted meanwhile neither repeat nor hide others.

        Args:
            criteria: As for :meth:`get_many`.
            order_by: Columns, by name or attribute; the primary key is added.
            limit: Rows per page, at least 1.
            after: ``next_cursor`` of the page before.
            load: Relationships to load.
            filters: As for :meth:`get_many`.
        """
        if limit == 0:
            msg = "limit must be at least 1"
            raise InvalidInputError(msg, field="limit")
        names, orderings = self._keyset(order_by)
        statement = self._select(criteria, filters)
        if after is not None:
            statement = statement.where(after_cursor(orderings, decode_cursor(names, after)))
        statement = sliced(ordered(statement, orderings, self._dialect), limit, None)
        items = await self._entities(statement.limit(limit + 1), load=load)
        if len(items) <= limit:
            return Page(items, None)
        last = items[limit - 1]
        cursor = encode_cursor(names, [getattr(last, name) for name in names])
        return Page(items[:limit], cursor)

    async def rows(
        self,
        *columns: InstrumentedAttribute[Any] | ColumnElement[Any] | str,
        criteria: Iterable[ColumnElement[bool]] = (),
        order_by: OrderBy = None,
        limit: int | None = None,
        offset: int | None = None,
        as_dicts: bool = False,
        **filters: Any,
    ) -> list[Any]:
        """Return chosen columns as named tuples, without making instances.

        Args:
            columns: Names, attributes or expressions; none means all columns.
            criteria: SQLAlchemy expressions, all of which must hold.
            order_by: As for :meth:`get_many`.
            limit: Rows at most.
            offset: Rows to skip.
            as_dicts: Return dictionaries by column name instead.
            filters: As for :meth:`get_many`.
        """
        statement = self._select_columns(columns).where(*criteria_of(self.model, criteria, filters))
        statement = sliced(self._sorted(statement, order_by, tie_break=False), limit, offset)
        found = await self._executor.fetch(statement)
        return [dict(row._mapping) for row in found] if as_dicts else found  # noqa: SLF001 - Row documents this name

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
        its transaction.

        Args:
            criteria: As for :meth:`get_many`.
            columns: As for :meth:`rows`; none means all columns.
            entities: Yield instances instead of named tuples (slower).
            order_by: As for :meth:`get_many`.
            filters: As for :meth:`get_many`.
        """
        statement = select(self.model) if entities else self._select_columns(columns)
        statement = statement.where(*criteria_of(self.model, criteria, filters))
        return self._executor.stream(self._sorted(statement, order_by), entities=entities)

    async def exists(self, *criteria: ColumnElement[bool], **filters: Any) -> bool:
        """Tell whether any row matches; reads one row at most."""
        statement = select(*primary_key_of(self.model)).where(
            *criteria_of(self.model, criteria, filters)
        )
        return bool(await self._executor.fetch(statement.limit(1)))

    async def count(self, *criteria: ColumnElement[bool], **filters: Any) -> int:
        """Return how many rows match."""
        counted = await self._executor.fetch(self._count(criteria, filters))
        return int(counted[0][0])

    async def create_many(
        self, rows: Iterable[Mapping[str, Any]], *, returning: bool = False
    ) -> Any:
        """Insert many rows, all or none; return how many, or the instances.

        A few statements however many rows; with the manager, one transaction.

        Args:
            rows: Values by field name.
            returning: Return the instances, with keys and defaults, in the
                order of the rows.

        Raises:
            InvalidInputError: A row is refused; ``field`` says which column,
                the message which row. Nothing ran.
        """
        checked = self._checked_rows(rows)
        if not checked:
            return [] if returning else 0
        stored = await self._executor.bulk_insert(self.model, checked, returning=returning)
        return stored if returning else len(checked)

    async def upsert_many(
        self, rows: Iterable[Mapping[str, Any]], match_fields: Sequence[str]
    ) -> list[ModelT]:
        """Insert each row, or update the one with the same unique key.

        Args:
            rows: Complete rows, all with the same field names.
            match_fields: The fields of a unique key.

        Raises:
            InvalidInputError: ``match_fields`` is no unique key, two rows
                have the same key, or a row is refused; nothing ran.
        """
        match = require_unique_key(self.model, match_fields)
        checked = self._checked_rows(rows)
        if not checked:
            return []
        if any(row.keys() != checked[0].keys() for row in checked):
            msg = "all rows must have the same fields"
            raise InvalidInputError(msg, field="rows")
        async with self._executor.writing() as executor:
            return await upsert_rows(executor.session, self.model, checked, match)

    async def update_many(
        self, *criteria: ColumnElement[bool], values: Mapping[str, Any], **filters: Any
    ) -> int:
        """Set the same values on all rows that match; return how many.

        One UPDATE. A value may be an expression: ``{"balance":
        Account.balance - 10}`` is atomic.

        Raises:
            InvalidInputError: No criterion, no value, or one is refused.
        """
        clauses = self._some_criteria("update_many", criteria, filters)
        checked = validate_values(self._mapped, values, partial=True)
        if not checked:
            msg = "values is empty, so there is nothing to set"
            raise InvalidInputError(msg, field="values")
        version = inspect(self._mapped).version_id_col
        if version is not None:
            key = inspect(self._mapped).get_property_by_column(version).key
            checked.setdefault(key, version + 1)
        return await self._executor.write(update(self.model).where(*clauses).values(checked))

    async def delete_many(self, *criteria: ColumnElement[bool], **filters: Any) -> int:
        """Delete all rows that match; return how many. One DELETE.

        Raises:
            InvalidInputError: No criterion was given.
        """
        clauses = self._some_criteria("delete_many", criteria, filters)
        return await self._executor.write(delete(self.model).where(*clauses))

    # -- for queries of several statements --------------------------------

    @asynccontextmanager
    async def _in_transaction(self) -> AsyncIterator[Self]:
        """Lend this repository, bound to one transaction that may write."""
        async with self._executor.writing() as executor:
            yield self._bound_to(executor)

    @asynccontextmanager
    async def _in_snapshot(self) -> AsyncIterator[Self]:
        """Lend this repository, bound to one state of the database."""
        async with self._executor.reading() as executor:
            yield self._bound_to(executor)

    def _bound_to(self, executor: Executor) -> Self:
        bound = copy.copy(self)
        bound._executor = executor  # noqa: SLF001 - a copy of this very object
        return bound

    # -- building statements ---------------------------------------------

    @property
    def _mapped(self) -> type[Any]:
        """Return the model for functions that take any mapped class."""
        return self.model

    def _select(
        self, criteria: Iterable[ColumnElement[bool]], filters: Mapping[str, Any]
    ) -> Select[Any]:
        return select(self.model).where(*criteria_of(self.model, criteria, filters))

    def _select_columns(self, columns: Iterable[Any]) -> Select[Any]:
        chosen = [column_of(self.model, c) if isinstance(c, str) else c for c in columns]
        return select(*(chosen or inspect(self._mapped).columns))

    def _count(
        self, criteria: Iterable[ColumnElement[bool]], filters: Mapping[str, Any]
    ) -> Select[Any]:
        statement = select(func.count()).select_from(self.model)
        return statement.where(*criteria_of(self.model, criteria, filters))

    def _sorted(
        self, statement: Select[Any], order_by: OrderBy, *, tie_break: bool = True
    ) -> Select[Any]:
        orderings = orderings_of(self.model, order_by)
        if tie_break:
            orderings += [(column.expression, False) for column in primary_key_of(self.model)]
        return ordered(statement, orderings, self._dialect)

    def _keyset(self, order_by: OrderBy) -> tuple[list[str], list[tuple[ColumnElement[Any], bool]]]:
        orderings = orderings_of(self.model, order_by)
        mapper = inspect(self._mapped)
        known = {column: mapper.get_property_by_column(column).key for column in mapper.columns}
        if any(expression not in known for expression, _ in orderings):
            msg = "page() orders by columns of the model only"
            raise InvalidInputError(msg, field="order_by")
        descending = bool(orderings) and all(down for _, down in orderings)
        ordered_by = {expression for expression, _ in orderings}
        orderings += [
            (column, descending) for column in mapper.primary_key if column not in ordered_by
        ]
        return [known[expression] for expression, _ in orderings], orderings

    async def _entities(
        self, statement: Select[Any], *, load: Load = (), for_update: bool = False
    ) -> list[ModelT]:
        statement = loaded(self.model, statement, load)
        if for_update:
            if self._executor.is_one_shot:
                msg = "for_update locks until a session ends; use a repository bound to a session"
                raise InvalidInputError(msg, field="for_update")
            statement = statement.with_for_update().execution_options(populate_existing=True)
        if not load:
            return await self._executor.fetch(statement, entities=True)
        async with self._executor.reading() as executor:
            return await executor.fetch(statement, entities=True)

    # -- refusing --------------------------------------------------------

    def _some_criteria(
        self, verb: str, criteria: Sequence[ColumnElement[bool]], filters: Mapping[str, Any]
    ) -> list[ColumnElement[bool]]:
        clauses = criteria_of(self.model, criteria, filters)
        if not clauses:
            msg = f"{verb} without a criterion would touch every row; pass sqlalchemy.true() if so"
            raise InvalidInputError(msg, field="criteria")
        return clauses

    def _checked_rows(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        checked = []
        for index, row in enumerate(rows):
            try:
                checked.append(validate_values(self._mapped, row, partial=False))
            except InvalidInputError as error:
                msg = f"row {index}: {error}"
                raise InvalidInputError(msg, field=error.field) from None
        return checked

    def _require_instance(self, instance: object) -> None:
        if not isinstance(instance, self.model):
            msg = f"expected a {self.model.__name__}, not {type(instance).__name__}"
            raise InvalidInputError(msg, field="instance")

    def _only(self, found: Sequence[ModelT], filters: Mapping[str, Any]) -> ModelT:
        if len(found) > 1:
            msg = f"more than one {self.model.__name__} matches {self._described((), filters)}"
            raise MultipleRecordsFoundError(msg)
        return found[0]

    @staticmethod
    def _described(criteria: Sequence[object], filters: Mapping[str, Any]) -> str:
        """Name what was asked for, without values."""
        names = ", ".join(sorted(filters))
        return names or f"the given criteria ({len(criteria)})" if filters or criteria else "at all"


def _executor_for(bind: object) -> Executor:
    if isinstance(bind, DatabaseManager):
        return OneShotExecutor(bind)
    if isinstance(bind, AsyncSession):
        return SessionExecutor(bind)
    msg = (
        "a repository takes the session of `async with db.session() as session`, or the "
        f"DatabaseManager, not {type(bind).__name__}"
    )
    raise InvalidInputError(msg, field="bind")


def _dialect_of(bind: AsyncSession | DatabaseManager) -> str:
    if isinstance(bind, DatabaseManager):
        return bind.dialect_name
    return bind.get_bind().dialect.name
