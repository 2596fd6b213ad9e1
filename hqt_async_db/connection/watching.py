"""Whether statements of an engine may go past SQLAlchemy."""

from __future__ import annotations

import logging
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.orm import Session, SessionEvents

if TYPE_CHECKING:
    from sqlalchemy import Engine

_OF_ENGINES: Final = attrgetter(
    "before_execute", "after_execute", "before_cursor_execute", "after_cursor_execute",
    "engine_connect", "begin", "commit", "rollback",
)  # fmt: skip
_OF_DIALECTS: Final = attrgetter("do_execute", "do_execute_no_params", "handle_error")
_OF_POOLS: Final = attrgetter("checkout", "checkin", "reset")
_OF_SESSIONS: Final = attrgetter(
    *[name for name in vars(SessionEvents) if not name.startswith("_") and name != "dispatch"]
)


class Watch:
    """Tells whether an engine echoes, renames schemas, or has listeners that are not ours.

    Listeners of all engines and all sessions (a tracer's, for example) count
    as well. Asking costs two microseconds.

    Args:
        engine: The engine, before this library listens to it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # Listeners of every session; those of a manager's sessions are ours.
        self._of_sessions = [of.parent_listeners for of in _OF_SESSIONS(Session().dispatch)]
        self._collections: tuple[Any, ...] = ()
        self._listeners: list[Any] = []
        self._theirs = self._counted()
        self._ours = 0

    def is_complete(self) -> None:
        """Take the listeners that the engine has got since then as ours."""
        self._ours = self._counted() - self._theirs

    def is_on(self) -> bool:
        """Tell whether each statement must go through SQLAlchemy."""
        return (
            self._counted() != self._ours
            or self._engine.logger.isEnabledFor(logging.INFO)
            or "schema_translate_map" in self._engine.get_execution_options()
        )

    def _counted(self) -> int:
        engine = self._engine
        collections = (
            *_OF_ENGINES(engine.dispatch),
            *_OF_DIALECTS(engine.dialect.dispatch),
            *_OF_POOLS(engine.pool.dispatch),
        )
        if collections != self._collections:  # the first listener of a kind makes a new one
            self._collections = collections
            self._listeners = [of.parent_listeners for of in collections] + self._of_sessions
            self._listeners += [getattr(of, "listeners", ()) for of in collections]
        return sum(map(len, self._listeners))
