"""A repository's ties: to a model, and to a session or the manager."""

from __future__ import annotations

import copy
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, get_args, get_origin

from sqlalchemy import inspect
from sqlalchemy.ext.asyncio import AsyncSession

from hqt_async_db.connection.executors.executors import SessionExecutor
from hqt_async_db.connection.executors.one_shot import OneShotExecutor
from hqt_async_db.connection.manager import DatabaseManager
from hqt_async_db.errors import InvalidInputError
from hqt_async_db.repositories.queries import criteria_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Dialect
    from sqlalchemy.orm import Mapper

    from hqt_async_db.connection.executors.executors import Executor

T = TypeVar("T")
ModelT = TypeVar("ModelT")


class Bound(Generic[ModelT]):
    """What reads and writes share: the model, the executor, the criteria."""

    _declared_model: ClassVar[type[Any] | None] = None

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Take the model from the type argument of the base class."""
        super().__init_subclass__(**keywords)
        for base in getattr(cls, "__orig_bases__", ()):
            origin = get_origin(base)
            is_ours = isinstance(origin, type) and issubclass(origin, Bound)
            cls._declared_model = (is_ours and _mapped(get_args(base))) or cls._declared_model

    def __init__(
        self, bind: AsyncSession | DatabaseManager, model: type[ModelT] | None = None
    ) -> None:
        if model is not None and _mapped((model,)) is None:
            msg = f"model must be a mapped class, not {model!r:.80}"
            raise InvalidInputError(msg, field="model")
        self._given_model = model
        self._executor = _executor_for(bind)

    @property
    def model(self) -> type[ModelT]:
        """Return the mapped class."""
        model = self._given_model or self._declared_model
        if model is None:
            # BaseRepository[Fill](db): Python sets this after __init__.
            model = _mapped(get_args(getattr(self, "__orig_class__", None)))
            if model is None:
                msg = "which model? write class MyRepository(BaseRepository[MyModel])"
                raise InvalidInputError(msg, field="model")
            self._given_model = model
        return model

    @cached_property
    def _mapper(self) -> Mapper[Any]:
        mapper: Mapper[Any] = inspect(self.model)
        return mapper

    @cached_property
    def _dialect(self) -> Dialect:
        return self._executor.dialect_for(self._mapper)

    # -- for queries of several statements --------------------------------

    async def _transact(self, work: Callable[[Self], Awaitable[T]]) -> T:
        """Call ``work`` with this repository bound to one transaction.

        Bound to a session that is its own; with the manager a transaction
        that commits, and is run again after a deadlock.
        """
        return await self._executor.transact(lambda executor: work(self._bound_to(executor)))

    @asynccontextmanager
    async def _in_snapshot(self) -> AsyncIterator[Self]:
        """Lend this repository, bound to one state of the database."""
        async with self._executor.reading() as executor:
            yield self._bound_to(executor)

    def _bound_to(self, executor: Executor) -> Self:
        bound = copy.copy(self)
        bound._executor = executor  # noqa: SLF001 - a copy of this very object
        return bound

    # -- for both reads and writes ----------------------------------------

    def _criteria(
        self, criteria: Iterable[ColumnElement[bool]], filters: Mapping[str, Any]
    ) -> list[ColumnElement[bool]]:
        return criteria_of(self.model, criteria, filters, self._dialect)

    def _described(self, criteria: Sequence[object], filters: Mapping[str, Any]) -> str:
        """Name what was asked for, without values."""
        asked = [f"{name}=…" for name in filters]
        asked += [f"{len(criteria)} criteria"] if criteria else []
        return f"{self.model.__name__}({', '.join(asked)})"


def _mapped(arguments: tuple[Any, ...]) -> type[Any] | None:
    """Return the mapped class that is the first type argument, if it is one."""
    model = arguments[0] if arguments else None
    return model if isinstance(model, type) and hasattr(model, "__mapper__") else None


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
