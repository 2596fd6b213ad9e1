"""Whether statements of an engine may go past SQLAlchemy, and who hears of them."""

from __future__ import annotations

import logging
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionEvents

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

_NAMES_OF_ENGINES: Final = (
    "before_execute", "after_execute", "before_cursor_execute", "after_cursor_execute",
    "engine_connect", "begin", "commit", "rollback",
)  # fmt: skip
_NAMES_OF_DIALECTS: Final = ("do_execute", "do_execute_no_params", "handle_error")
_NAMES_OF_POOLS: Final = ("checkout", "checkin", "reset")
_NAMES: Final = (*_NAMES_OF_ENGINES, *_NAMES_OF_DIALECTS, *_NAMES_OF_POOLS)
_OF_ENGINES: Final = attrgetter(*_NAMES_OF_ENGINES)
_OF_DIALECTS: Final = attrgetter(*_NAMES_OF_DIALECTS)
_OF_POOLS: Final = attrgetter(*_NAMES_OF_POOLS)
_OF_SESSIONS: Final = attrgetter(
    *[name for name in vars(SessionEvents) if not name.startswith("_") and name != "dispatch"]
)
# Those whose listeners, as SQLAlchemy keeps them, return something.
_RETURNING: Final = frozenset({"before_execute", "before_cursor_execute", "handle_error"})


class Watch:
    """Tells whether engines echo, rename schemas, or have listeners that are not ours.

    Listeners of all engines and all sessions (a tracer's, for example) count
    as well. Asking costs two microseconds for an engine, three for two.

    Args:
        engines: The engines, before this library listens to them; first the
            one that users know.
    """

    def __init__(self, *engines: Engine) -> None:
        self._engines = engines
        # Listeners of every session; those of a manager's sessions are ours.
        self._of_sessions = [of.parent_listeners for of in _OF_SESSIONS(Session().dispatch)]
        self._collections: tuple[Any, ...] = ()
        self._listeners: list[Any] = []
        self._theirs = self._counted()
        self._ours = 0

    def is_complete(self) -> None:
        """Take the listeners that the engines have got since then as ours."""
        self._ours = self._counted() - self._theirs

    def is_on(self) -> bool:
        """Tell whether each statement must go through SQLAlchemy."""
        shown = self._engines[0]  # the other one has the same options
        return (
            self._counted() != self._ours
            or shown.logger.isEnabledFor(logging.INFO)
            or renames_schemas(shown)
        )

    def _counted(self) -> int:
        collections: tuple[Any, ...] = ()
        for engine in self._engines:
            collections += _collections_of(engine)
        if collections != self._collections:  # the first listener of a kind makes a new one
            self._collections = collections
            self._listeners = [of.parent_listeners for of in collections] + self._of_sessions
            self._listeners += [getattr(of, "listeners", ()) for of in collections]
        return sum(map(len, self._listeners))


class SharedListeners:
    """Lets those who listen to one engine listen to the one beside it, too.

    A manager shows one engine, ``db.engine``, and who listens to it means all
    of the manager's connections.

    Args:
        shown: The engine that users know, with our own listeners.
        beside: The other one.
    """

    def __init__(self, shown: Engine, beside: Engine) -> None:
        self._shown = shown
        self._beside = beside
        self._own = self._now()
        self._shared = self._own
        self._own_connect = _listeners_of(shown.pool.dispatch.connect)
        event.listen(beside, "connect", self._connect)

    def share(self) -> None:
        """Give the other engine the listeners that there are now, and no others."""
        now = self._now()
        if now == self._shared:
            return
        for name, own, before, after in zip(_NAMES, self._own, self._shared, now, strict=True):
            for listener in _without(before, (*own, *after)):
                event.remove(self._beside, name, listener)
            options = {"retval": True} if name in _RETURNING else {}
            for listener in _without(after, (*own, *before)):
                event.listen(self._beside, name, listener, **options)
        self._shared = now

    def _now(self) -> list[tuple[Callable[..., Any], ...]]:
        return [_listeners_of(of) for of in _collections_of(self._shown)]

    def _connect(self, connection: Any, record: Any) -> None:
        """Prepare a new connection as those of the other engine are prepared."""
        now = _listeners_of(self._shown.pool.dispatch.connect)
        for listener in _without(now, self._own_connect):
            listener(connection, record)


def renames_schemas(of: Engine | Connection) -> bool:
    """Tell whether the schemas in statements stand for others."""
    return "schema_translate_map" in of.get_execution_options()


def _collections_of(engine: Engine) -> tuple[Any, ...]:
    """Return what listens to an engine, in the order of the names."""
    return (
        *_OF_ENGINES(engine.dispatch),
        *_OF_DIALECTS(engine.dialect.dispatch),
        *_OF_POOLS(engine.pool.dispatch),
    )


def _listeners_of(collection: Any) -> tuple[Callable[..., Any], ...]:
    """Return the listeners of one engine, without those of all."""
    return tuple(getattr(collection, "listeners", ()))


def _without(
    listeners: tuple[Callable[..., Any], ...], others: tuple[Callable[..., Any], ...]
) -> list[Callable[..., Any]]:
    return [listener for listener in listeners if listener not in others]
