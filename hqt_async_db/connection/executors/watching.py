"""Whether somebody watches statements on their way through SQLAlchemy."""

from __future__ import annotations

import logging
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.orm import Session

if TYPE_CHECKING:
    from sqlalchemy import Engine

_OF_ENGINES: Final = attrgetter(
    "before_execute", "after_execute", "before_cursor_execute", "after_cursor_execute",
    "begin", "commit", "rollback",
)  # fmt: skip
_OF_SESSIONS: Final = attrgetter(
    "do_orm_execute", "before_flush", "after_flush", "before_commit", "after_commit",
    "loaded_as_persistent", "pending_to_persistent", "detached_to_persistent",
)  # fmt: skip


class Watch:
    """Tells whether an engine echoes, or has listeners that it had not at first.

    Listeners of all engines and all sessions (a tracer's, for example) count
    as well. Asking costs about a microsecond.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._own = _OF_ENGINES(engine.dispatch)
        self._of_errors: Any = engine.dialect.dispatch.handle_error
        of_all = (*self._own, *_OF_SESSIONS(Session().dispatch))
        self._of_all: list[Any] = [listeners.parent_listeners for listeners in of_all]
        self._of_all += [listeners.listeners for listeners in self._own]
        self._count = self._counted()

    def is_on(self) -> bool:
        """Tell whether each statement must go through SQLAlchemy."""
        return (
            self._engine.logger.isEnabledFor(logging.INFO)
            or _OF_ENGINES(self._engine.dispatch) != self._own
            or self._counted() != self._count
        )

    def _counted(self) -> int:
        return len(self._of_errors) + sum(map(len, self._of_all))
