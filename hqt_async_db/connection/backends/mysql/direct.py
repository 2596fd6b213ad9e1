"""One-shot statements on MySQL and MariaDB through asyncmy or aiomysql."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hqt_async_db.connection.backends.direct import Answer, NoWayError
from hqt_async_db.connection.backends.mysql.connection import is_open
from hqt_async_db.connection.backends.server_direct import ServerDirect
from hqt_async_db.connection.sessions.transaction import unreadable
from hqt_async_db.connection.translation.translate import (
    leaves_connection_usable,
    tells_of_the_server,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

    from hqt_async_db.connection.backends.backend import Role
    from hqt_async_db.connection.backends.direct import Parameters, Write
    from hqt_async_db.connection.backends.mysql.kill import Killer
    from hqt_async_db.connection.lending import Lent
    from hqt_async_db.connection.options import Options
    from hqt_async_db.connection.sessions.transaction import Receipt

# Characters or bytes of all values. A server that finds a message too large may cut the line
# before it says so, and then nobody knows of the COMMIT; as a rule it takes a megabyte.
_LARGE: Final = 100_000

# https://dev.mysql.com/doc/mysql-errors/8.4/en/error-number-ranges.html
_FIRST: Final = 1000
_OF_DRIVERS: Final = range(2000, 3000)


class MySQLDirect(ServerDirect):
    """Statements whose COMMIT goes in the same message.

    Both drivers agree with the server on messages of several statements, of
    which it runs none after one that failed.

    Args:
        engines: As there.
        options: As there.
        record: As there.
        killer: What ends a statement of the writing engine on the server.
    """

    def __init__(
        self,
        engines: Mapping[Role, AsyncEngine],
        options: Options,
        record: Callable[[Receipt], None],
        killer: Killer,
    ) -> None:
        super().__init__(engines, options, record)
        self._killer = killer

    async def write(self, write: Write) -> Answer:
        """Run one short statement and commit, unless it is large."""
        if sum([len(v) for v in write.parameters if isinstance(v, str | bytes)]) > _LARGE:
            raise NoWayError
        return await super().write(write)

    def _is_open(self, driver: Any) -> bool:
        return is_open(driver)

    async def _fetch(self, lent: Lent, sql: str, parameters: Parameters) -> Sequence[Any]:
        async with _cursor(lent) as cursor:
            await cursor.execute(sql, parameters)
            rows: Sequence[Any] = await cursor.fetchall()
            return rows

    async def _store(self, lent: Lent, write: Write) -> Answer:
        async with _cursor(lent) as cursor:
            # On a line of its own, lest it be taken for the end of a comment.
            text = cursor.mogrify(f"{write.sql}\n; COMMIT", write.parameters)
            try:
                await cursor.execute(text)
                rows = await cursor.fetchall() if write.returns else ()
                answer = Answer(cursor.rowcount, rows)
                is_committed = await cursor.nextset()
            except Exception as error:
                if not _is_refusal(error) and not tells_of_the_server(error):
                    raise unreadable(error) from error
                if leaves_connection_usable(error):
                    await _roll_back(lent)
                raise
        if not is_committed:
            msg = "the server did not answer to COMMIT"
            raise ConnectionResetError(msg)
        lent.driver.is_clean = True
        return answer

    def _interrupt(self, driver: Any) -> None:
        self._killer.end_statement(driver)


def _cursor(lent: Lent) -> Any:
    """Return the cursor that SQLAlchemy would use, whatever the connection's own."""
    return lent.driver.cursor(getattr(lent.adapted.dbapi, "Cursor", None))


def _is_refusal(error: Exception) -> bool:
    """Tell whether it is the server's answer, after which it has run nothing more."""
    number = error.args[0] if error.args else None
    return isinstance(number, int) and number >= _FIRST and number not in _OF_DRIVERS


async def _roll_back(lent: Lent) -> None:
    """Let go of the locks that a statement has taken although it failed."""
    try:
        await lent.driver.rollback()
    except Exception:  # noqa: BLE001 - the statement's error is what the caller must see
        lent.spend()  # which rolls back as well
