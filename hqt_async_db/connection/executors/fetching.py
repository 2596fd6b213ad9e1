"""Fetching all rows of a statement, in steps that let other tasks run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from sqlalchemy import event
from sqlalchemy.engine.cursor import CursorFetchStrategy

from hqt_async_db.connection.pacing import Pauses

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import CursorResult, Executable
    from sqlalchemy.engine.interfaces import DBAPICursor
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import ORMExecuteState, Session

# "page": rows whose first column is an instance.
Shape: TypeAlias = Literal["rows", "dicts", "instances", "page"]

_ROWS_PER_STEP: Final = 100
# SQLAlchemy loads the relationships of so many instances with one statement.
_INSTANCES_PER_STEP: Final = 500


async def fetch(
    session: AsyncSession,
    statement: Executable,
    parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    *,
    shape: Shape,
    options: Mapping[str, Any] | None = None,
) -> list[Any]:
    """Return all rows of a statement; pending changes are flushed first.

    One hop or round trip. The driver reads all rows at once; to make rows of
    SQLAlchemy or instances of them takes longer and is done in steps.

    Args:
        session: Where to run.
        statement: A SELECT, or an INSERT with RETURNING.
        parameters: Its named parameters, or the rows to insert.
        shape: Rows, dictionaries by column name, the instances of the first
            column, or rows that begin with an instance (a page).
        options: Execution options.
    """
    return await session.run_sync(_fetch, statement, parameters, shape, dict(options or {}))


def _fetch(
    session: Session,
    statement: Executable,
    parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
    shape: Shape,
    options: dict[str, Any],
) -> list[Any]:
    pauses, has_instances = Pauses(), shape in ("instances", "page")
    with _pausing_between_instances(session, pauses) if has_instances else nullcontext():
        result: Any = session.execute(statement, parameters, execution_options=options)
        # SQLAlchemy sets it where joined collections repeat their parent.
        is_repetitive = result._unique_filter_state is not None  # noqa: SLF001 - no public way to know
        if shape in ("dicts", "instances"):
            result = result.mappings() if shape == "dicts" else result.scalars()
        if is_repetitive:
            return list(result.unique())
        found: list[Any] = []
        per_step = _INSTANCES_PER_STEP if has_instances else _ROWS_PER_STEP
        for part in result.yield_per(per_step).partitions():
            found += map(dict, part) if shape == "dicts" else part
            pauses.pause()
        return found


@contextmanager
def _pausing_between_instances(session: Session, pauses: Pauses) -> Iterator[None]:
    """Pause while SQLAlchemy makes instances, those of relationships included."""

    def pause(_session: Session, _instance: object) -> None:
        pauses.pause()

    def read_in_steps(execution: ORMExecuteState) -> Any:
        result: Any = execution.invoke_statement()
        rows: Any = getattr(result, "raw", None)
        if type(getattr(rows, "cursor_strategy", None)) is CursorFetchStrategy:
            rows.cursor_strategy = _InSteps(pauses)
        return result

    event.listen(session, "loaded_as_persistent", pause)
    event.listen(session, "do_orm_execute", read_in_steps)
    try:
        yield
    finally:
        event.remove(session, "do_orm_execute", read_in_steps)
        event.remove(session, "loaded_as_persistent", pause)


class _InSteps(CursorFetchStrategy):
    """Gives rows with pauses where SQLAlchemy takes all at once, as of relationships."""

    __slots__ = ("_pauses",)

    def __init__(self, pauses: Pauses) -> None:
        self._pauses = pauses

    def fetchall(self, result: CursorResult[Any], dbapi_cursor: DBAPICursor) -> _PausingRows:
        return _PausingRows(super().fetchall(result, dbapi_cursor), self._pauses)


class _PausingRows(Sequence[Any]):
    """The driver's rows; SQLAlchemy makes something of each one it takes."""

    def __init__(self, rows: Sequence[Any], pauses: Pauses) -> None:
        self._rows = rows
        self._pauses = pauses

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        self._pauses.pause()
        return self._rows[index]
