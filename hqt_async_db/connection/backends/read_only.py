"""Keeping the sessions of a server's read-only pool from lifting their mode.

The server refuses the writes; it would let the session itself ask for another
mode, and the next user of the pooled connection would inherit it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import event

from hqt_async_db.errors import ReadOnlyViolationError

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import ExecutionContext
    from sqlalchemy.ext.asyncio import AsyncEngine

_OWN: Final = "hqt_own_statement"
# Execution options of what the library itself sends to prepare a transaction.
OWN_STATEMENT: Final[dict[str, Any]] = {_OWN: True}
_LIFTING: Final = re.compile(
    r"""
    (?:\A|;)                                        # in the first or a later statement
    (?:\s|\(|;|--[^\n]*(?:\n|\Z)|\#[^\n]*(?:\n|\Z)|/\*(?!M?!)(?:(?!/\*).)*?\*/)*
    (?:
        (?:SET|BEGIN|START|COMMIT|END|ABORT|DO|CALL|PREPARE|EXECUTE|XA|ALTER\s+SYSTEM)\b
      | ROLLBACK\b(?!\s+(?:WORK\s+|TRANSACTION\s+)?TO\b)
      | /\*M?!                                      # MySQL runs what is in such a comment
      | /\*(?:(?!\*/).)+/\*                         # PostgreSQL lets comments nest
    )
  | \bset_config\b
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def lifts_read_only(statement: str) -> bool:
    """Tell whether a statement could end the transaction or its read-only mode.

    A false yes refuses a statement that has little place in a read-only
    session (SET, a procedure call); a false no would let writes through.
    """
    return _LIFTING.search(statement) is not None


def keep_read_only(engine: AsyncEngine) -> None:
    """Refuse, on every connection of ``engine``, what could lift the mode."""

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def _refuse(
        _connection: object,
        _cursor: object,
        statement: str,
        _parameters: object,
        context: ExecutionContext,
        _executemany: object,
    ) -> None:
        if lifts_read_only(statement) and not context.execution_options.get(_OWN):
            msg = (
                "a read-only session stays read-only: it runs no SET, no transaction control and "
                "no procedure; use db.session() for those"
            )
            raise ReadOnlyViolationError(msg)
