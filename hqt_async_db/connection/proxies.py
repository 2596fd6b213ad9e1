"""SQLAlchemy's asyncio classes, with calls that run in greenlets that are kept.

Each of their coroutines calls ``greenlet_spawn``, which makes a new greenlet.
The classes here have copies of these coroutines, which find ours under that
name; SQLAlchemy's own stay as they are for everybody else in the process.
"""

from __future__ import annotations

import functools
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    AsyncSessionTransaction,
)

from hqt_async_db.connection.greenlets import spawn

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

ClassT = TypeVar("ClassT", bound=type)


def _keeps_greenlets(cls: ClassT) -> ClassT:
    """Give a class copies of those methods of its base that make greenlets."""
    for name, method in vars(cls.__base__).items():
        is_ours = not isinstance(method, FunctionType) or name in vars(cls)
        if is_ours or "greenlet_spawn" not in method.__code__.co_names:
            continue
        names = {**method.__globals__, "greenlet_spawn": spawn}
        defaults, closure = method.__defaults__, method.__closure__
        copy = FunctionType(method.__code__, names, name, defaults, closure)
        copy.__kwdefaults__ = method.__kwdefaults__
        setattr(cls, name, functools.update_wrapper(copy, method))
    return cls


@_keeps_greenlets
class QuickConnection(AsyncConnection):
    """An AsyncConnection that keeps its greenlets."""

    __slots__ = ()

    @classmethod
    def of(cls, connection: Connection) -> QuickConnection:
        """Return the proxy of a connection, the same for as long as it is held."""
        return cls._retrieve_proxy_for_target(connection)

    @classmethod
    def _regenerate_proxy_for_target(
        cls, target: Connection, **additional_kw: Any
    ) -> QuickConnection:
        del additional_kw
        return cls(QuickEngine.of(target.engine), target)


@_keeps_greenlets
class QuickEngine(AsyncEngine):
    """An AsyncEngine that keeps its greenlets."""

    __slots__ = ()

    _connection_cls = QuickConnection

    @classmethod
    def of(cls, engine: Engine) -> QuickEngine:
        """Return the proxy of an engine, the same for as long as it is held."""
        return cls._retrieve_proxy_for_target(engine)

    @classmethod
    def _regenerate_proxy_for_target(cls, target: Any, **additional_kw: Any) -> QuickEngine:
        del additional_kw
        return cls(target)

    def execution_options(self, **opt: Any) -> QuickEngine:
        """Return a new engine with these options; it shares the pool."""
        return QuickEngine(self.sync_engine.execution_options(**opt))


@_keeps_greenlets
class QuickSession(AsyncSession):
    """An AsyncSession that keeps its greenlets."""

    async def connection(self, *arguments: Any, **keywords: Any) -> QuickConnection:
        """Return the transaction's connection, which keeps its greenlets too."""
        sync_connection = await spawn(self.sync_session.connection, *arguments, **keywords)
        return QuickConnection.of(sync_connection)


@_keeps_greenlets
class QuickTransaction(AsyncSessionTransaction):
    """A block of a session's transaction that keeps its greenlets."""

    __slots__ = ()
