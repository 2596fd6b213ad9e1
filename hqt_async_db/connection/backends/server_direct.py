"""One-shot statements handed straight to the driver of a server: one round trip each."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from hqt_async_db.connection.backends.backend import Role
from hqt_async_db.connection.backends.direct import Answer, NoWayError
from hqt_async_db.connection.backends.read_only import lifts_read_only
from hqt_async_db.connection.lending import Lending
from hqt_async_db.connection.sessions.transaction import Receipt, commit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

    from hqt_async_db.connection.backends.direct import Parameters, Write
    from hqt_async_db.connection.lending import Lent
    from hqt_async_db.connection.options import Options

# Statements that are kept are looked at once.
_lifts_read_only = lru_cache(1000)(lifts_read_only)


class ServerDirect:
    """What is the same for all drivers; a subclass knows one of them.

    Args:
        engines: The engines of the server, by role.
        options: Time limits.
        record: Takes the receipt of each write.

    Attributes:
        waits_once: Whether a short write waits, as a rule, for one answer of
            the driver only; see :func:`commit`.
    """

    waits_once: ClassVar[bool] = False

    def __init__(
        self,
        engines: Mapping[Role, AsyncEngine],
        options: Options,
        record: Callable[[Receipt], None],
    ) -> None:
        self._engines = engines
        self._options = options
        self._record = record
        self._lending = Lending()

    # -- what a driver is asked for ------------------------------------------

    def _is_open(self, driver: Any) -> bool:
        """Tell whether the server, as far as is known here, has not closed a connection."""
        raise NotImplementedError

    async def _fetch(self, lent: Lent, sql: str, parameters: Parameters) -> Sequence[Any]:
        """Return all rows that a statement returns."""
        raise NotImplementedError

    async def _store(self, lent: Lent, write: Write) -> Answer:
        """Run one statement and commit, in one round trip."""
        raise NotImplementedError

    def _interrupt(self, driver: Any) -> None:
        """Ask the server to end what runs; it answers whether it was in time."""
        raise NotImplementedError

    # -- what all do -----------------------------------------------------------

    async def ready(self) -> None:
        """Connect once."""
        try:
            async with self._lent(Role.WRITE, "one-shot call"):
                pass
        except Exception as error:
            raise NoWayError from error

    async def warm_up(self) -> None:
        """Do nothing more: the pools are warmed up as such."""
        await self.ready()

    async def read(self, sql: str, parameters: Parameters) -> Sequence[Any]:
        """Return all rows of a SELECT, in one round trip."""
        self._require_read_only(sql)
        async with self._lent(Role.READ, "one-shot read") as lent:
            self._require_open(lent.driver)
            return await self._fetch(lent, sql, parameters)

    async def write(self, write: Write) -> Answer:
        """Run one short statement and commit, in one round trip.

        What may take long has a COMMIT of its own, so that its time limit
        and a cancellation are not about the statement: that goes the plain way.
        """
        if not write.joins:
            raise NoWayError
        answer = Answer()
        async with self._lent(Role.WRITE, "one-shot write") as lent:
            self._require_open(lent.driver)

            async def send() -> None:
                nonlocal answer
                answer = await self._store(lent, write)

            def hasten() -> None:
                # What comes too late must not meet the connection's next statement.
                lent.spend()
                self._interrupt(lent.driver)

            lent.hold()
            await commit(
                send,
                tables=write.tables,
                timeout_s=self._options.commit_timeout_s,
                record=self._record,
                owner=self,
                explain=write.explain,
                hasten=hasten,
                in_place=self.waits_once,
            )
        return answer

    async def close(self, _role: Role) -> None:
        """Wait for commits, and interrupt what else runs; the engines close the connections."""
        await self._lending.end(self)

    def _lent(self, role: Role, purpose: str) -> Lent:
        return self._lending.lend(self._engines[role].pool, purpose)

    def _require_read_only(self, sql: str) -> None:
        """Leave to a session what it refuses.

        Raises:
            NoWayError: The statement could lift the read-only mode.
        """
        if _lifts_read_only(sql):
            raise NoWayError

    def _require_open(self, driver: Any) -> None:
        """Send nothing where nothing can arrive: then the outcome is known.

        Raises:
            NoWayError: The server closed the connection while it was idle; a
                session says so, and has the pool make new ones.
        """
        if not self._is_open(driver):
            raise NoWayError
