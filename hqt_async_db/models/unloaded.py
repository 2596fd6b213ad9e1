"""A helpful error where a relationship is touched that no query has loaded.

Left alone, SQLAlchemy would try to load it right there: on a detached
instance that fails with one error, under asyncio with another, half-way into
a connection. Here nothing is sent, and the error says what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import async_session
from sqlalchemy.orm.base import LoaderCallableStatus, PassiveFlag
from sqlalchemy.orm.exc import DetachedInstanceError
from sqlalchemy.util.concurrency import in_greenlet

from hqt_async_db.errors import UnloadedRelationshipError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import InstanceState, Mapper, RelationshipProperty

    Loader = Callable[[InstanceState[Any], PassiveFlag], Any]


def guard_relationships(mapper: Mapper[Any]) -> None:
    """Make every lazily loaded relationship of ``mapper`` raise our error.

    Relationships that load nothing by themselves (write-only, dynamic) are
    left alone. Guarding twice changes nothing.
    """
    for prop in mapper.relationships:
        impl = mapper.class_manager[prop.key].impl
        loader = getattr(impl, "callable_", None)
        if loader is not None and not isinstance(loader, _GuardedLoader):
            impl.callable_ = _GuardedLoader(loader, prop)


class _GuardedLoader:
    """The lazy loader of one relationship, kept from loading where it cannot."""

    __slots__ = ("_loader", "_prop")

    def __init__(self, loader: Loader, prop: RelationshipProperty[Any]) -> None:
        self._loader = loader
        self._prop = prop

    def __call__(self, state: InstanceState[Any], passive: PassiveFlag) -> Any:
        if passive & PassiveFlag.SQL_OK and _cannot_await(state):
            # Without SQL the related object may still be found in the session.
            found = self._loader(state, passive & ~PassiveFlag.SQL_OK)
            if found is not LoaderCallableStatus.PASSIVE_NO_RESULT:
                return found
            raise self._error(state)
        try:
            return self._loader(state, passive)
        except DetachedInstanceError:
            raise self._error(state) from None

    def _error(self, state: InstanceState[Any]) -> UnloadedRelationshipError:
        model, attribute = state.class_.__name__, self._prop.key
        ways = f"read it with load=({model}.{attribute},)"
        if state.session is not None:
            ways += f", or use `await instance.awaitable_attrs.{attribute}`"
        return UnloadedRelationshipError(
            f"{model}.{attribute} is not loaded: {ways}", relationship=f"{model}.{attribute}"
        )


def _cannot_await(state: InstanceState[Any]) -> bool:
    """Tell whether loading would have to await where nothing can."""
    session = state.session
    return session is not None and async_session(session) is not None and not in_greenlet()
