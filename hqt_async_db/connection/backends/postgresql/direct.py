"""One-shot statements on PostgreSQL, whatever the driver: many of them in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from hqt_async_db.connection.backends.backend import Role
from hqt_async_db.connection.backends.direct import Answer, NoWayError
from hqt_async_db.connection.backends.server_direct import ServerDirect
from hqt_async_db.connection.sessions.transaction import Receipt, commit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from hqt_async_db.connection.backends.direct import Rows, Write
    from hqt_async_db.connection.lending import Lent

T = TypeVar("T")

# The server refuses a prepared statement whose result has changed, or does not know it.
STALE: Final = frozenset({"0A000", "26000"})


class Ending(NamedTuple):
    """What commits a transaction.

    Attributes:
        send: Sends it; runs once.
        is_statement: Whether it ends a statement as well, which may wait for
            locks: who is cancelled then has the server give it up.
    """

    send: Callable[[], Awaitable[None]]
    is_statement: bool = False


class PostgreSQLDirect(ServerDirect):
    """Statements sent outside of any transaction, so that each is its own, or in one."""

    async def _begin(self, driver: Any) -> Ending:
        """Begin a transaction; return what commits it."""
        raise NotImplementedError

    async def _copy(self, driver: Any, rows: Rows) -> Ending:
        """Copy rows into their table, in steps that let other tasks run; return what commits."""
        raise NotImplementedError

    def _is_of_encoding(self, error: BaseException) -> bool:
        """Tell whether the driver could not encode a value, so that nothing was sent of it."""
        raise NotImplementedError

    async def write_all(self, writes: Sequence[Write]) -> list[Answer]:
        """Run statements in one transaction, a short one alone as :meth:`write` does."""
        if len(writes) == 1 and writes[0].joins:
            return [await self.write(writes[0])]

        async def send(lent: Lent) -> tuple[Ending, list[Answer]]:
            ending = await self._begin(lent.driver)
            answers = [await self._fetch(lent, w.sql, w.parameters) for w in writes]
            return ending, [Answer(rows=rows) for rows in answers]

        tables = frozenset[str]().union(*[write.tables for write in writes])
        return await self._transact(send, tables, writes[0].explain)

    async def insert(self, rows: Rows) -> None:
        """Copy many rows in one transaction."""

        async def send(lent: Lent) -> tuple[Ending, None]:
            return await self._copy(lent.driver, rows), None

        await self._transact(send, frozenset({rows.table.name}), rows.explain)

    async def _transact(
        self,
        send: Callable[[Lent], Awaitable[tuple[Ending, T]]],
        tables: frozenset[str],
        explain: Callable[[BaseException], BaseException],
    ) -> T:
        """Send all of one transaction but what commits it, which stands apart."""
        async with self._lent(Role.WRITE, "one-shot write") as lent:
            self._require_open(lent.driver)

            def hasten() -> None:
                lent.spend()  # what comes too late must not meet its next statement
                self._interrupt(lent.driver)

            try:
                ending, answer = await send(lent)
            except BaseException as error:
                lent.spend()  # which rolls back
                if isinstance(error, NoWayError):
                    raise
                if self._is_of_encoding(error) or getattr(error, "sqlstate", None) in STALE:
                    raise NoWayError from error
                self._record(Receipt("rolled_back", tables))
                raise
            lent.hold()
            await commit(
                ending.send,
                tables=tables,
                timeout_s=self._options.commit_timeout_s,
                record=self._record,
                owner=self,
                explain=explain,
                hasten=hasten if ending.is_statement else None,
                in_place=self.waits_once,
            )
        return answer
