"""Whether a session's connection is known to be lost, before anything is sent on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from hqt_async_db.connection.backends.mysql.connection import is_open

if TYPE_CHECKING:
    from sqlalchemy import Connection, Dialect


def is_lost(connection: Connection | None) -> bool:
    """Tell whether the driver has seen the end of a transaction's connection; sends nothing.

    psycopg sees it only when it next reads. Where each statement stands alone
    there is no transaction to lose.
    """
    if connection is None or connection.closed or connection.invalidated:
        return False
    dialect, pooled = connection.dialect, connection.connection
    return _is_closed(dialect, pooled.driver_connection) and not dialect.detect_autocommit_setting(
        cast("Any", pooled.dbapi_connection)
    )


def _is_closed(dialect: Dialect, driver: Any) -> bool:
    if dialect.name in {"mysql", "mariadb"}:
        return not is_open(driver)
    is_closed = getattr(driver, "is_closed", None)  # asyncpg's
    return is_closed is not None and bool(is_closed())
