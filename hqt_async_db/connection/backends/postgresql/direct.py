"""One-shot statements on PostgreSQL, whatever the driver: many of them in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

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


class PostgreSQLDirect(ServerDirect):
    """Statements sent outside of any transaction, so that each is its own, or in one."""

    async def _begin(self, driver: Any) -> Callable[[], Awaitable[None]]:
        """Begin a transaction; return what commits it."""
        raise NotImplementedError

    async def _copy(self, driver: Any, rows: Rows) -> None:
        """Copy rows into their table, in steps that let other tasks run."""
        raise NotImplementedError

    def _is_of_encoding(self, error: BaseException) -> bool:
        """Tell whether the driver could not encode a value, so that nothing was sent of it."""
        raise NotImplementedError

    async def write_all(self, writes: Sequence[Write]) -> list[Answer]:
        """Run statements in one transaction, a short one alone as :meth:`write` does."""
        if len(writes) == 1 and writes[0].joins:
            return [await self.write(writes[0])]

        async def send(lent: Lent) -> list[Answer]:
            return [Answer(rows=await self._fetch(lent, w.sql, w.parameters)) for w in writes]

        tables = frozenset[str]().union(*[write.tables for write in writes])
        return await self._transact(send, tables, writes[0].explain)

    async def insert(self, rows: Rows) -> None:
        """Copy many rows in one transaction."""

        async def send(lent: Lent) -> None:
            await self._copy(lent.driver, rows)

        await self._transact(send, frozenset({rows.table.name}), rows.explain)

    async def _transact(
        self,
        send: Callable[[Lent], Awaitable[T]],
        tables: frozenset[str],
        explain: Callable[[BaseException], BaseException],
    ) -> T:
        """Send in one transaction, whose COMMIT stands apart."""
        async with self._lent(Role.WRITE, "one-shot write") as lent:
            try:
                end = await self._begin(lent.driver)
                answer = await send(lent)
            except BaseException as error:
                lent.spend()  # which rolls back
                if self._is_of_encoding(error) or getattr(error, "sqlstate", None) in STALE:
                    raise NoWayError from error
                self._record(Receipt("rolled_back", tables))
                raise
            await commit(
                end,
                tables=tables,
                timeout_s=self._options.commit_timeout_s,
                record=self._record,
                owner=self,
                explain=explain,
                in_place=self.waits_once,
            )
        return answer
