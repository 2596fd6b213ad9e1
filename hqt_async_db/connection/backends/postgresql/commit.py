"""PostgreSQL connections whose COMMIT tells the truth.

Once a statement has failed, the server answers COMMIT with ROLLBACK. Neither
driver takes that for an error, so that lost work would count as committed.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any, Final

from hqt_async_db.errors import TransactionEndedError

# So long a server that is asked to cancel a statement is waited for.
_CANCEL_S: Final = 1.0
_MESSAGE: Final = (
    "nothing was committed: an earlier statement of this transaction failed; roll back and run "
    "it again, and put what may fail into `async with session.begin_nested()`"
)


@functools.cache
def asyncpg_connection() -> type[Any]:
    """Return the class for ``asyncpg.connect(connection_class=…)``."""
    import asyncpg  # noqa: PLC0415 - only what is used

    class Connection(asyncpg.Connection):  # type: ignore[misc]  # the base has no types
        """Looks at what the server answers to COMMIT."""

        async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109 - asyncpg's signature
            status: str = await super().execute(query, *args, timeout=timeout)
            if status == "ROLLBACK" and query.startswith("COMMIT"):
                raise TransactionEndedError(_MESSAGE)
            return status

    return Connection


@functools.cache
def psycopg_connection(limit_s: float | None = None) -> type[Any]:
    """Return the class whose ``connect`` opens such a connection.

    Args:
        limit_s: How long to wait for the server, which may be frozen; None for ever.
    """
    import psycopg  # noqa: PLC0415 - only what is used

    class Connection(psycopg.AsyncConnection[Any]):
        """Looks at the transaction before it sends COMMIT, and waits for no frozen server."""

        async def commit(self) -> None:
            if self.info.transaction_status is psycopg.pq.TransactionStatus.INERROR:
                await self.rollback()
                raise TransactionEndedError(_MESSAGE)
            await super().commit()

        async def wait(self, *arguments: Any, **keywords: Any) -> Any:
            if limit_s is None:
                return await super().wait(*arguments, **keywords)
            async with asyncio.timeout(limit_s):
                return await super().wait(*arguments, **keywords)

        async def cancel_safe(self, *, timeout: float = _CANCEL_S) -> None:  # noqa: ASYNC109 - psycopg's signature
            try:
                await super().cancel_safe(timeout=min(timeout, _CANCEL_S))
            except BaseException:
                self.pgconn.finish()  # else psycopg would wait for it again
                raise

    return Connection
