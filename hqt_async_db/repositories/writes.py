"""The verbs that write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

from sqlalchemy import ColumnElement, delete, select, update

from hqt_async_db.connection.executors.many_rows import (
    counted_version,
    next_version,
    require_one_table,
)
from hqt_async_db.connection.executors.upserts import require_unique_key
from hqt_async_db.connection.pacing import paced
from hqt_async_db.errors import DuplicateKeyError, InvalidInputError, MultipleRecordsFoundError
from hqt_async_db.models import validate_values
from hqt_async_db.models.validation import is_sql
from hqt_async_db.repositories.bound import Bound, ModelT
from hqt_async_db.repositories.selects import prepare_delete

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hqt_async_db.connection.executors.executors import SessionExecutor


class Writes(Bound[ModelT]):
    """Writing one row or many, and rows that may exist already."""

    async def create(self, **values: Any) -> ModelT:
        """Insert one row and return it, with its key and defaults.

        One INSERT; with the manager also its commit. Bound to a session,
        related instances may be given too (``user=user``). A primary key of
        one's own choice leaves PostgreSQL's sequence behind: until ``setval()``
        a later row without one can be refused as its duplicate.

        Raises:
            InvalidInputError: A name or a value is refused; nothing ran.
            DuplicateKeyError: A row with the same unique key exists.
            ForeignKeyViolationError: A referenced row does not exist.
        """
        checked = self._checked(values, partial=False, relationships=True)
        return await self._executor.create(self.model, checked)

    async def update(self, instance: ModelT, **values: Any) -> ModelT:
        """Store the values and set them on the instance, which is returned.

        One UPDATE of what changes, and none if nothing does. With the manager
        it goes by primary key, what was assigned to the instance before is
        stored too, and the instance is touched only once the commit succeeded.

        Raises:
            InvalidInputError: A name or a value is refused, or the instance
                belongs to no session or to another one; nothing ran.
            StaleRecordError: The row was changed or deleted meanwhile.
        """
        self._require_instance(instance)
        checked = self._checked(values, partial=True, relationships=True)
        await self._executor.update(instance, checked)
        return instance

    async def delete(self, instance: ModelT) -> None:
        """Delete the row of an instance; the schema's ON DELETE applies.

        One DELETE.

        Raises:
            StaleRecordError: The row was deleted meanwhile, or changed in a
                table that counts versions.
            ForeignKeyViolationError: Rows that must not vanish refer to it.
        """
        self._require_instance(instance)
        await self._executor.delete(instance)

    async def delete_by_id(self, entity_id: Any) -> bool:
        """Delete the row with this primary key; tell whether there was one.

        One DELETE; a model of several tables is read before.
        """
        statement, values = prepare_delete(self.model, self._dialect, entity_id)
        if len(self._mapper.tables) > 1:
            return await self._executor.transact(lambda executor: self._delete(executor, entity_id))
        return await self._executor.write(statement, self._mapper, values, is_short=True) > 0

    async def _delete(self, executor: SessionExecutor, entity_id: Any) -> bool:
        found = await executor.session.get(self.model, entity_id)
        if found is not None:
            await executor.delete(found)
        return found is not None

    async def get_or_create(
        self, defaults: Mapping[str, Any] | None = None, **filters: Any
    ) -> tuple[ModelT, bool]:
        """Return the row that matches, or create it; tell whether it was.

        Safe against another task or process that creates it at once, where
        ``filters`` cover a unique key. One SELECT; for a new row one INSERT,
        in a savepoint of the session if there is one. With the manager each
        of them is a transaction of its own. An instance that the session
        holds is brought up to date; what was assigned to it is flushed first.

        Args:
            defaults: Further values of a new row.
            filters: Keyword equality, and values of a new row.

        Raises:
            InvalidInputError: A name or a value is refused, or a new row
                would not match the filters; nothing ran.
            MultipleRecordsFoundError: More than one row matches.
        """
        further = dict(defaults or {})
        if not filters or further.keys() & filters.keys():
            msg = "get_or_create needs filters, which defaults must not repeat"
            raise InvalidInputError(msg, field="defaults" if filters else "filters")
        values = self._checked({**filters, **further}, partial=False)
        self._refuse_defaults(filters)
        statement = select(self.model).where(*self._criteria((), filters)).limit(2)
        statement = self._executor.refreshing(statement, self._mapper)
        found = await self._executor.fetch(statement, shape="instances")
        if not found:
            try:
                return await self._executor.try_create(self.model, values), True
            except DuplicateKeyError:
                found = await self._executor.fetch(statement, shape="instances")
                if not found:  # it is another unique key that exists
                    raise
        if len(found) > 1:
            msg = f"there is more than one {self._described((), filters)}"
            raise MultipleRecordsFoundError(msg)
        return found[0], False

    async def upsert(self, match_fields: Sequence[str], **values: Any) -> ModelT:
        """Insert the row, or update the one with the same unique key.

        Atomic. An existing row keeps its primary key and the fields that are
        not given; its version goes up. One statement on SQLite and
        PostgreSQL; on MySQL and MariaDB three in one transaction, the first
        of which locks the row. Of a primary key among the values
        :meth:`create` tells.

        Args:
            match_fields: The fields of a unique key, all among ``values``.
            values: A complete row.

        Raises:
            InvalidInputError: ``match_fields`` is no unique key, or a value
                is refused; nothing ran.
            DuplicateKeyError: Another row has another unique key of these
                values. In a session on PostgreSQL also where somebody else
                inserts the same row at the same moment: run the whole
                transaction again; with the manager that is done here.
        """
        return (await self.upsert_many([values], match_fields))[0]

    async def upsert_many(
        self, rows: Iterable[Mapping[str, Any]], match_fields: Sequence[str]
    ) -> list[ModelT]:
        """Insert each row, or update the one with the same unique key.

        As :meth:`upsert`, in one transaction and few statements.

        Args:
            rows: Complete rows by field name.
            match_fields: The fields of a unique key.

        Returns:
            The instances, in the order of the rows.

        Raises:
            InvalidInputError: ``match_fields`` is no unique key, two rows
                have the same key, or a row is refused; nothing ran.
            DuplicateKeyError: As of :meth:`upsert`; nothing is stored.
        """
        match = require_unique_key(self.model, match_fields)
        checked = await self._checked_rows(rows, keep_nulls=True)
        if not checked:
            return []
        return await self._executor.upsert(self.model, checked, match)

    @overload
    async def create_many(
        self, rows: Iterable[Mapping[str, Any]], *, returning: Literal[False] = False
    ) -> int: ...

    @overload
    async def create_many(
        self, rows: Iterable[Mapping[str, Any]], *, returning: Literal[True]
    ) -> list[ModelT]: ...

    @overload
    async def create_many(
        self, rows: Iterable[Mapping[str, Any]], *, returning: bool
    ) -> int | list[ModelT]: ...

    async def create_many(
        self, rows: Iterable[Mapping[str, Any]], *, returning: bool = False
    ) -> int | list[ModelT]:
        """Insert many rows, all or none; return how many, or the instances.

        One statement per thousand values, or per five hundred where they come
        back (per row on MySQL, not MariaDB, which cannot return them). With
        the manager, one transaction, in which rows of the same fields are one
        statement on SQLite, and a COPY on PostgreSQL (asyncpg: one round trip
        for up to 2000 rows), or arrays of 1500 values in all where they come
        back. The rows need not have the same fields. Of primary keys among
        them :meth:`create` tells.

        Args:
            rows: Values by field name; any iterable.
            returning: Return the instances, with keys and defaults, in the
                order of the rows.

        Raises:
            InvalidInputError: A row is refused; ``field`` says which column,
                the message which row. Nothing ran.
        """
        rows = await _listed(rows)
        if not rows:
            return [] if returning else 0
        if isinstance(rows[0], Mapping):
            made = await self._executor.insert_unchecked(self._mapper, rows, returning=returning)
            if made is not None:
                return made if returning else len(rows)
        checked = await self._checked_rows(rows)
        stored = await self._executor.bulk_insert(self.model, checked, returning=returning)
        return stored if returning else len(checked)

    async def update_many(
        self, *criteria: ColumnElement[bool], values: Mapping[str, Any], **filters: Any
    ) -> int:
        """Set the same values on all rows that match; return how many.

        One UPDATE. A value may be an expression: ``{"balance":
        Account.balance - 10}`` is atomic. Versions go up. Instances that the
        session holds are read again, with one SELECT.

        Raises:
            InvalidInputError: No criterion, no value, or one is refused; or
                the model has several tables, or versions that do not count.
        """
        require_one_table(self._mapper, "update_many")
        clauses = self._some_criteria("update_many", criteria, filters)
        checked = self._checked(values, partial=True)
        if not checked:
            msg = "values is empty, so there is nothing to set"
            raise InvalidInputError(msg, field="values")
        version = counted_version(self._mapper, "update_many")
        if version is not None:
            checked[self._mapper.get_property_by_column(version).key] = next_version(version)
        statement = update(self.model).where(*clauses).values(checked)
        return await self._executor.write(statement, self._mapper)

    async def delete_many(self, *criteria: ColumnElement[bool], **filters: Any) -> int:
        """Delete all rows that match; return how many. One DELETE.

        Raises:
            InvalidInputError: No criterion was given, or the model has
                several tables.
        """
        require_one_table(self._mapper, "delete_many")
        clauses = self._some_criteria("delete_many", criteria, filters)
        return await self._executor.write(delete(self.model).where(*clauses), self._mapper)

    # -- refusing ----------------------------------------------------------

    def _checked(
        self,
        values: Mapping[str, Any],
        *,
        partial: bool,
        relationships: bool = False,
        keep_nulls: bool = False,
    ) -> dict[str, Any]:
        return validate_values(
            self._mapper.class_,
            values,
            partial=partial,
            relationships=relationships and not self._executor.is_one_shot,
            keep_nulls=keep_nulls,
            dialect=self._dialect,
        )

    async def _checked_rows(
        self, rows: Iterable[Mapping[str, Any]], *, keep_nulls: bool = False
    ) -> list[dict[str, Any]]:
        rows = await _listed(rows)
        checked: list[dict[str, Any]] = []
        async for row in paced(rows):
            try:
                _require_mapping(row)
                checked.append(self._checked(row, partial=False, keep_nulls=keep_nulls))
                _refuse_expressions(checked[-1])
            except InvalidInputError as error:
                msg = f"row {len(checked)}: {error}"
                raise InvalidInputError(msg, field=error.field) from None
        return checked

    def _some_criteria(
        self, verb: str, criteria: Sequence[ColumnElement[bool]], filters: Mapping[str, Any]
    ) -> list[ColumnElement[bool]]:
        clauses = self._criteria(criteria, filters)
        if not clauses:
            msg = f"{verb} without a criterion would touch every row; pass sqlalchemy.true() if so"
            raise InvalidInputError(msg, field="criteria")
        return clauses

    def _refuse_defaults(self, filters: Mapping[str, Any]) -> None:
        """Refuse None where a new row would get its column's default instead."""
        for name, value in filters.items():
            column: Any = self._mapper.columns.get(name)
            if value is None and (column.default is not None or column.server_default is not None):
                msg = f"{name}=None would make a row with the default of {name}, which is another"
                raise InvalidInputError(msg, field=name)

    def _require_instance(self, instance: object) -> None:
        if not isinstance(instance, self.model):
            msg = f"expected a {self.model.__name__}, not {type(instance).__name__}"
            raise InvalidInputError(msg, field="instance")


async def _listed(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the rows as a list, which is read more than once."""
    if isinstance(rows, Mapping | str) or not isinstance(rows, Iterable):
        msg = f"rows must be an iterable of dictionaries, not {type(rows).__name__}"
        raise InvalidInputError(msg, field="rows")
    return rows if isinstance(rows, list) else [row async for row in paced(rows)]


def _refuse_expressions(row: Mapping[str, Any]) -> None:
    for name, value in row.items():
        if is_sql(value):
            msg = f"{name} is an SQL expression; use create() or update_many() for that"
            raise InvalidInputError(msg, field=name)


def _require_mapping(row: object) -> None:
    if not isinstance(row, Mapping):
        msg = f"a row must be a dictionary of values by field name, not {type(row).__name__}"
        raise InvalidInputError(msg, field="rows")
