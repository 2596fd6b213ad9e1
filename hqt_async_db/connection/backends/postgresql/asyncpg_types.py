"""What asyncpg takes the types of columns for, which it asks for once.

It encodes the rows of a COPY by types that it keeps as long as a connection,
and the server takes bytes for what the columns are by then: the eight of an
integer for a double, say. So the server is told which types are meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from hqt_async_db.connection.backends.direct import NoWayError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from sqlalchemy import Dialect

    from hqt_async_db.connection.backends.direct import Rows

_TYPES: Final = (
    "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute "
    "WHERE attrelid = $1::text::regclass AND attnum > 0"
)
_FIRST_WITH_WHERE: Final = 12
# There is no such operator; the bytes are none of the type; they are too few or too many.
_OTHER_TYPE: Final = frozenset({"42883", "22P03", "08P01"})


class ColumnTypes:
    """The types of columns, by connection, as they were before asyncpg asked for them.

    Args:
        dialect: Quotes names.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._quote: Any = dialect.identifier_preparer
        self._conditions: WeakKeyDictionary[Any, dict[str, str]] = WeakKeyDictionary()

    async def condition(self, driver: Any, rows: Rows) -> str | None:
        """Return what the server only understands as long as the columns have these types.

        Arrays are compared with arrays of the same type only, and with NULL
        nothing is left to be done for each row. One statement, the first time
        of a connection; None for servers that are too old to be told.
        """
        if driver.get_server_version().major < _FIRST_WITH_WHERE:
            return None
        known = self._conditions.setdefault(driver, {})
        if rows.sql not in known:
            types = dict(await driver.fetch(_TYPES, self._quote.format_table(rows.table)))
            known[rows.sql] = " AND ".join(
                f"(ARRAY[{self._quote.quote_identifier(name)}] = NULL::{types[name]}[]) IS NULL"
                for name in [column.name for column in rows.columns]
                if name in types  # else the COPY says so
            )
        return known[rows.sql]

    async def kept(self, driver: Any, copying: Awaitable[object]) -> None:
        """Wait for the end of a COPY.

        Raises:
            NoWayError: A column has another type by now. Nothing is stored,
                and what was taken for its type is forgotten.
        """
        import asyncpg  # noqa: PLC0415 - only what is used

        try:
            await copying
        except asyncpg.PostgresError as error:
            if error.sqlstate not in _OTHER_TYPE:
                raise
            self._conditions.pop(driver, None)
            await driver.reload_schema_state()
            raise NoWayError from error
