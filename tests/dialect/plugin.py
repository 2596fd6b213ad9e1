"""What SQLAlchemy's pytest plugin needs to know of our dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite import provision as _  # noqa: F401 - it registers its hooks
from sqlalchemy.testing.provision import post_configure_testing_engine

if TYPE_CHECKING:
    from sqlalchemy import URL

registry.register(
    "sqlite.hqt", "hqt_async_db.connection.backends.sqlite.dialect", "HqtSQLiteDialect"
)

_hook: Any = post_configure_testing_engine
_configure_for_sqlite = _hook.fns["sqlite"]


def attach_schema_everywhere(url: URL, engine: Any, options: dict[str, Any], scope: str) -> None:
    """Attach ``test_schema`` for engines that a test makes, too.

    SQLAlchemy attaches it for the main engine only, so that its own run leaves
    out the tests which need connections independent of each other.
    """
    _configure_for_sqlite(url, engine, options, scope)
    if scope == "global":
        return

    @event.listens_for(getattr(engine, "sync_engine", engine), "connect")
    def _attach(connection: Any, _record: Any) -> None:
        connection.execute(f'ATTACH DATABASE "{engine.driver}_test_schema.db" AS test_schema')


_hook.for_db("sqlite")(attach_schema_everywhere)
