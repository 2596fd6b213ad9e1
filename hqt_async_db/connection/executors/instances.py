"""Instances inside of a session: whose they are, and whether they are up to date."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, inspect, select, tuple_
from sqlalchemy.orm import RelationshipDirection

from hqt_async_db.connection.executors.detached import row_criteria, set_loaded
from hqt_async_db.connection.pacing import paced
from hqt_async_db.errors import InvalidInputError, StaleRecordError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import InstanceState, Mapper

_KEYS_PER_STATEMENT: Final = 500


def require_own(session: AsyncSession, instance: Any) -> None:
    """Refuse an instance of another session, or of none.

    Raises:
        InvalidInputError: It is; says how to attach it.
    """
    if instance not in session:
        msg = (
            f"this {type(instance).__name__} does not belong to the repository's session; "
            "attach it with: instance = await session.merge(instance)"
        )
        raise InvalidInputError(msg, field="instance")


def refuse_foreign_relatives(
    session: AsyncSession, mapper: Mapper[Any], values: Mapping[str, Any]
) -> None:
    """Refuse related instances that are stored and of another session, or of none.

    SQLAlchemy would attach them along, behind the back of who holds them.

    Raises:
        InvalidInputError: One is; ``field`` names the relationship.
    """
    for name in mapper.relationships.keys() & values.keys():
        related = values[name]
        for relative in related if isinstance(related, list | set | tuple) else (related,):
            state = inspect(relative, raiseerr=False)
            if getattr(state, "has_identity", False) and relative not in session:
                msg = (
                    f"{mapper.class_.__name__}.{name} does not belong to the repository's session; "
                    "give its foreign key, or attach it with session.merge()"
                )
                raise InvalidInputError(msg, field=name)


async def complete(session: AsyncSession, instance: Any) -> None:
    """Load what the database filled in and did not return with the statement."""
    state: InstanceState[Any] = inspect(instance)
    missing = [
        attribute.key
        for attribute in state.mapper.column_attrs
        if attribute.key in state.expired_attributes
    ]
    if missing:
        await session.refresh(instance, missing)


def held_of(session: AsyncSession, mapper: Mapper[Any]) -> list[Any]:
    """Return the stored instances of a model that somebody holds."""
    return [held for held in session.identity_map.values() if isinstance(held, mapper.class_)]


def refreshing(session: AsyncSession, mapper: Mapper[Any], statement: Select[Any]) -> Select[Any]:
    """Return the SELECT such that it brings instances up to date that somebody holds.

    Where the session does not flush before, what was assigned to them would be lost.
    """
    if not session.sync_session.autoflush or not held_of(session, mapper):
        return statement
    return statement.execution_options(populate_existing=True)


async def reread(session: AsyncSession, mapper: Mapper[Any]) -> None:
    """Bring the instances up to date that the session holds; no statement without any.

    Only column values change: related instances that are loaded stay.
    """
    held = held_of(session, mapper)
    for start in range(0, len(held), _KEYS_PER_STATEMENT):
        await _reread(session, mapper, held[start : start + _KEYS_PER_STATEMENT])


async def _reread(session: AsyncSession, mapper: Mapper[Any], held: Sequence[Any]) -> None:
    by_key = {inspect(instance).identity: instance for instance in held}
    names = [attribute.key for attribute in mapper.column_attrs]
    attributes = [mapper.all_orm_descriptors[name] for name in names]
    statement = select(*mapper.primary_key, *attributes).where(key_criterion(mapper, list(by_key)))
    width = len(mapper.primary_key)
    async for row in paced((await session.execute(statement)).all()):
        instance = by_key.get(tuple(row[:width]))
        for name, value in zip(names, row[width:], strict=True):
            if instance is not None and name in instance.__dict__:
                set_loaded(instance, name, value)


def key_criterion(mapper: Mapper[Any], keys: Sequence[tuple[Any, ...]]) -> ColumnElement[bool]:
    """Return the criterion for rows with one of these primary keys."""
    return any_of(mapper.primary_key, keys)


def any_of(
    columns: Sequence[ColumnElement[Any]], keys: Sequence[tuple[Any, ...]]
) -> ColumnElement[bool]:
    """Return the criterion for rows whose columns equal one of the tuples."""
    if len(columns) == 1:
        return columns[0].in_([value for (value,) in keys])
    return tuple_(*columns).in_(keys)


async def delete_one(session: AsyncSession, instance: Any) -> None:
    """Delete the row of an instance; the session forgets it.

    Raises:
        StaleRecordError: The row was deleted, or its version changed.
    """
    state: InstanceState[Any] = inspect(instance)
    if state.pending:
        await session.flush()
    if needs_unit_of_work(state.mapper):
        await session.delete(instance)
        await session.flush()
        return
    await complete(session, instance)  # a rollback may have taken its version
    # A unit of work only warns where the row of an unversioned table is gone.
    result: Any = await session.execute(
        delete(state.mapper).where(*row_criteria(state)),
        execution_options={"synchronize_session": "evaluate"},
    )
    if not result.rowcount:
        msg = f"the {type(instance).__name__} was changed or deleted since it was read"
        raise StaleRecordError(msg)


def needs_unit_of_work(mapper: Mapper[Any]) -> bool:
    """Tell whether deleting a row takes more than its own DELETE."""
    events = mapper.dispatch.before_delete or mapper.dispatch.after_delete
    return bool(events) or _has_more_to_delete(mapper)


@lru_cache(maxsize=256)
def _has_more_to_delete(mapper: Mapper[Any]) -> bool:
    return len(mapper.tables) > 1 or any(
        relationship.cascade.delete
        if relationship.direction is RelationshipDirection.MANYTOONE
        else not relationship.passive_deletes and not relationship.viewonly
        for relationship in mapper.relationships
    )
