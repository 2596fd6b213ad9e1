"""Many rows in few statements, each of which keeps the loop busy only briefly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import Column, insert, inspect

from hqt_async_db.connection.pacing import paced

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Mapper

T = TypeVar("T")
Row = dict[str, Any]

# What SQLAlchemy prepares in about a millisecond.
_VALUES_PER_STATEMENT: Final = 1500


async def insert_rows(
    session: AsyncSession,
    model: type[T],
    rows: Sequence[Mapping[str, Any]],
    *,
    returning: bool,
) -> list[T]:
    """Insert rows that were checked; one statement per chunk of them.

    Args:
        session: Where to run; the caller commits.
        model: The mapped class.
        rows: Values by attribute name.
        returning: Whether to return the instances, in the order of the rows.
    """
    await session.flush()
    mapper: Mapper[Any] = inspect(model)
    stored: dict[int, T] = {}
    for indexes, group in await _groups(mapper, rows):
        for part in chunks(len(mapper.columns), len(group)):
            added = await _insert(session, model, group[part], returning=returning)
            stored.update(zip(indexes[part], added, strict=False))
    return [stored[index] for index in range(len(stored))]


async def _insert(
    session: AsyncSession, model: type[T], rows: Sequence[Row], *, returning: bool
) -> Sequence[T]:
    # Without this an explicit NULL would split the rows into further statements.
    options = {"render_nulls": True}
    if not returning:
        await session.execute(insert(model), rows, execution_options=options)
        return ()
    if not session.get_bind(model).dialect.insert_executemany_returning:
        added = [model(**row) for row in rows]
        session.add_all(added)
        await session.flush()
        return added
    statement = insert(model).returning(model, sort_by_parameter_order=True)
    return (await session.scalars(statement, rows, execution_options=options)).all()


def chunks(columns: int, rows: int) -> Iterator[slice]:
    """Yield slices of so many rows that a statement is quickly prepared."""
    size = max(1, _VALUES_PER_STATEMENT // columns)
    return (slice(start, start + size) for start in range(0, rows, size))


async def groups_of_same_fields(
    rows: Sequence[Mapping[str, Any]],
) -> list[tuple[list[int], list[Row]]]:
    """Return (indexes, rows) of the rows that have the same fields.

    All rows of one statement need the same columns.
    """
    groups: dict[frozenset[str], tuple[list[int], list[Row]]] = {}
    index = 0
    async for row in paced(rows):
        indexes, members = groups.setdefault(frozenset(row), ([], []))
        indexes.append(index)
        members.append(dict(row))
        index += 1
    return list(groups.values())


async def _groups(
    mapper: Mapper[Any], rows: Sequence[Mapping[str, Any]]
) -> list[tuple[list[int], list[Row]]]:
    """Group the rows, after writing out the NULLs that some of them leave out."""
    groups = await groups_of_same_fields(rows)
    if len(groups) == 1:
        return groups
    names = {name for _, members in groups for name in members[0]}
    blank = {name: None for name in names if _is_null_by_default(mapper, name)}
    return await groups_of_same_fields([{**blank, **row} for row in rows])


def _is_null_by_default(mapper: Mapper[Any], name: str) -> bool:
    column = mapper.columns.get(name)
    return (
        isinstance(column, Column)
        and bool(column.nullable)
        and column.default is None
        and column.server_default is None
    )
