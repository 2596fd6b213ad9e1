"""Rows into PostgreSQL by COPY."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select, text
from sqlalchemy.schema import CreateTable

from hqt_async_db.backup.threads import WorkThread
from hqt_async_db.connection.backends.postgresql.asyncpg_copy import CopyIn
from hqt_async_db.errors import IntegrityViolationError, ValueRefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence

    from sqlalchemy import Table

    from hqt_async_db.backup.formats.rows import Batch
    from hqt_async_db.backup.loading.staging import Stage
    from hqt_async_db.connection.sessions.session import Session

# What must not depend on the server: zones and the order of day and month. A time
# limit for a statement is kept by CopyIn, which knows whom the COPY waits for.
_SETTINGS: Final = {"DateStyle": "ISO, YMD", "statement_timeout": "0"}
_NO_LIMIT_S: Final = 1e8


class PostgreSQLStaging:
    """PostgreSQL through asyncpg: COPY, whose text a thread writes.

    Beside what every :class:`Staging` does it puts rows into the target
    itself, which is faster, and there keeps nobody waiting.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    async def create(self, stage: Stage) -> None:
        """Make the temporary table, which ends with the transaction."""
        await self._session.execute(CreateTable(stage.table))

    async def insert(self, stage: Stage, batches: AsyncIterator[Batch]) -> None:
        """Set rows aside, each of them checked, and count them for the planner."""
        await self._copy(stage, stage.table, batches)
        name = self._session.get_bind().dialect.identifier_preparer.format_table(stage.table)
        await self._session.execute(text(f"ANALYZE {name}"))

    async def copy(self, stage: Stage, batches: AsyncIterator[Batch]) -> None:
        """Put rows into the target itself."""
        await self._copy(stage, stage.target, batches)

    async def drop(self, stage: Stage) -> None:
        """Do nothing: the table ends with the transaction."""

    async def discard(self, stages: Sequence[Stage]) -> None:
        """Do nothing: the transaction is rolled back, and the table with it."""

    async def _copy(self, stage: Stage, table: Table, batches: AsyncIterator[Batch]) -> None:
        """Copy into the target or the stage.

        A constraint or a value that is refused ends the COPY and leaves the
        connection of use. Anything else may come while the server waits for more.
        """
        is_staged = table is stage.table
        names = [column.name for column in stage.columns]
        if is_staged:
            names.insert(0, stage.row.name)
        limit = await self._session.execute(select(func.current_setting("statement_timeout")))
        await self._set(_SETTINGS)
        self._session.sync_session.written_tables.add(table.name)
        connection = await self._session.connection()
        driver: Any = (await connection.get_raw_connection()).driver_connection
        try:
            async with WorkThread("copy") as thread:
                lines = self._lines(stage, batches, thread, as_text=not is_staged)
                async with aclosing(lines):
                    with self._session.used():
                        copy = CopyIn(driver)
                        copying = driver.copy_to_table(
                            table.name,
                            schema_name=table.schema,
                            columns=names,
                            source=copy.texts(lines),
                            format="csv",
                            timeout=_NO_LIMIT_S,
                        )
                        await copy.run(copying)
        except (IntegrityViolationError, ValueRefusedError):
            raise
        except BaseException:
            await self._session.invalidate()
            raise
        await self._set({"statement_timeout": limit.scalar_one()})

    async def _set(self, settings: Mapping[str, str]) -> None:
        """Change settings until the transaction ends, or its savepoint is gone back to."""
        calls = [func.set_config(key, value, True) for key, value in settings.items()]  # noqa: FBT003 - for the transaction
        await self._session.execute(select(*calls))

    async def _lines(
        self,
        stage: Stage,
        batches: AsyncIterator[Batch],
        thread: WorkThread,
        *,
        as_text: bool,
    ) -> AsyncGenerator[bytes, None]:
        binder = stage.binder(self._session.get_bind().dialect)
        async for batch in batches:
            yield await thread.run(binder.copy_lines, batch, as_text=as_text)
