"""What a DatabaseManager can be told, checked before anything runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.pool import Pool, StaticPool

from hqt_async_db.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

_SYNCHRONOUS: Final = ("OFF", "NORMAL", "FULL", "EXTRA")
# These would break a promise of the library; each has a better way.
_REFUSED: Final = {
    "logging_name": "the library filters its own logger by name",
    "isolation_level": "use db.session(write=True), snapshot=True or read_only=True",
    "creator": "pass connect_args",
    "async_creator": "pass connect_args",
    "future": "it is always on",
    "hide_parameters": "bound values are always hidden",
    "pool": "pass poolclass",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a manager; see DatabaseManager for their meaning."""

    echo: bool = False
    pool_size: int = 5
    max_overflow: int = 10
    pool_timeout: float = 30.0
    pool_recycle: int = 3600
    pool_pre_ping: bool = False
    connect_args: dict[str, Any] = field(default_factory=dict, repr=False)  # a password, perhaps
    poolclass: type[Pool] | None = None
    connect_timeout_s: float = 10.0
    statement_timeout_s: float | None = None
    lock_timeout_s: float = 10.0
    commit_timeout_s: float = 30.0
    pgbouncer: bool = False
    sqlite_synchronous: str = "FULL"
    sqlite_wal_limit_mb: int = 64
    engine_options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot work, naming the option."""
        if not isinstance(self.echo, bool):
            msg = "echo must be True or False; 'debug' would log every row that is read"
            raise ConfigurationError(msg)
        for name in ("pool_pre_ping", "pgbouncer"):
            _require_flag(name, getattr(self, name))
        object.__setattr__(self, "connect_args", _keywords(self.connect_args))
        for name in ("pool_timeout", "connect_timeout_s", "lock_timeout_s", "commit_timeout_s"):
            _require_seconds(name, getattr(self, name))
        if self.statement_timeout_s is not None:
            _require_seconds("statement_timeout_s", self.statement_timeout_s)
        _require_integer("pool_size", self.pool_size, least=1)
        _require_integer("max_overflow", self.max_overflow, least=-1)
        _require_integer("pool_recycle", self.pool_recycle, least=-1)
        _require_integer("sqlite_wal_limit_mb", self.sqlite_wal_limit_mb, least=1)
        if str(self.sqlite_synchronous).upper() not in _SYNCHRONOUS:
            msg = f"sqlite_synchronous must be one of {', '.join(_SYNCHRONOUS)}"
            raise ConfigurationError(msg)
        if self.poolclass is not None:
            _require_pool(self.poolclass)
        for name, instead in _REFUSED.items():
            if name in self.engine_options:
                msg = f"option {name!r} is not supported here: {instead}"
                raise ConfigurationError(msg)
        if "isolation_level" in (self.engine_options.get("execution_options") or ()):
            instead = _REFUSED["isolation_level"]
            msg = f"'isolation_level' in execution_options is not supported here: {instead}"
            raise ConfigurationError(msg)

    def without(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the arguments that make such a manager, but for some of the driver's."""
        arguments: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        further: dict[str, Any] = arguments.pop("engine_options")
        kept = {name: of for name, of in self.connect_args.items() if name not in names}
        return arguments | {"connect_args": kept} | further


def _require_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        msg = f"{name} must be True or False, not {value!r}"
        raise ConfigurationError(msg)


def _keywords(connect_args: object) -> dict[str, Any]:
    """Return a copy of what may hold a password, which no message shows."""
    if not isinstance(connect_args, Mapping):
        msg = "connect_args must be a dict of the driver's keyword arguments"
        raise ConfigurationError(msg)
    return dict(connect_args)


def _require_pool(poolclass: object) -> None:
    if not isinstance(poolclass, type) or not issubclass(poolclass, Pool):
        msg = (
            f"poolclass must be a pool class of SQLAlchemy, for example NullPool, not {poolclass!r}"
        )
        raise ConfigurationError(msg)
    if issubclass(poolclass, StaticPool):
        msg = (
            "StaticPool puts all tasks into one transaction, so that one task's rollback "
            "discards another's work; leave poolclass out: concurrent access just works"
        )
        raise ConfigurationError(msg)


def _require_seconds(name: str, value: object) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or value <= 0
    ):
        msg = f"{name} must be a positive number of seconds, not {value!r}"
        raise ConfigurationError(msg)


def _require_integer(name: str, value: object, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        msg = f"{name} must be an integer of at least {least}, not {value!r}"
        raise ConfigurationError(msg)
