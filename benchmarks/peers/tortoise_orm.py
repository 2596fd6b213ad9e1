"""Tortoise ORM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import make_url
from tortoise import Tortoise, fields
from tortoise.models import Model

from benchmarks.peers.peer import Peer
from benchmarks.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.databases import Database
    from benchmarks.table import Row


class Trade(Model):
    """The table."""

    id = fields.BigIntField(primary_key=True)
    account = fields.CharField(max_length=32)
    symbol = fields.CharField(max_length=16)
    direction = fields.CharField(max_length=8)
    volume = fields.FloatField()
    entry_price = fields.FloatField()
    exit_price = fields.FloatField(null=True)
    profit = fields.FloatField(null=True)
    is_open = fields.BooleanField()
    opened_at = fields.DatetimeField()
    updated_at = fields.DatetimeField()
    note = fields.CharField(max_length=200, null=True)

    class Meta:
        """Where it is."""

        table = TABLE


def _connection(database: Database) -> dict[str, Any]:
    if database.backend == "SQLite":
        credentials = {"file_path": database.path, "journal_mode": "WAL", "synchronous": "FULL"}
        return {"engine": "tortoise.backends.sqlite", "credentials": credentials}
    url = make_url(database.url)
    server = {
        "host": url.host,
        "port": url.port or 5432,
        "user": url.username,
        "password": url.password,
        "database": url.database,
        "minsize": database.pool_size,
        "maxsize": database.pool_size,
    }
    return {"engine": "tortoise.backends.asyncpg", "credentials": server}


class TortoiseOrm(Peer):
    """Its models find their connection themselves."""

    name: ClassVar[str] = "Tortoise"
    packages: ClassVar[tuple[str, ...]] = ("tortoise-orm", "pypika-tortoise")
    time_suffix: ClassVar[str] = "+00:00"
    how: ClassVar[str] = (
        "Model.get, create, filter().update, all().limit, values, bulk_create; on SQLite it "
        "has one connection; its iteration reads all rows before it yields the first"
    )

    async def open(self) -> None:
        # What Tortoise caches of statements goes by the connection's name.
        self._name = self.database.backend.lower()
        await Tortoise.init(
            config={
                "connections": {self._name: _connection(self.database)},
                "apps": {"bench": {"models": [__name__], "default_connection": self._name}},
                "use_tz": True,
                "timezone": "UTC",
            }
        )

    async def close(self) -> None:
        await Tortoise.close_connections()

    async def scalar(self, sql: str) -> object:
        from tortoise.connection import get_connection  # noqa: PLC0415 - it exists once initialised

        rows = await get_connection(self._name).execute_query_dict(sql)
        value: object = next(iter(rows[0].values()))
        return value

    async def get(self, key: int) -> Any:
        return await Trade.get(id=key)

    async def insert(self, row: Row) -> Any:
        return await Trade.create(**row)

    async def update(self, key: int, change: Row) -> None:
        await Trade.filter(id=key).update(**change)

    async def list(self, limit: int) -> Sequence[Any]:
        trades: Sequence[Any] = await Trade.all().order_by("id").limit(limit)
        return trades

    async def rows(self, limit: int) -> Sequence[Any]:
        found = Trade.all().order_by("id").limit(limit).values()
        rows: Sequence[Any] = await found
        return rows

    async def bulk_insert(self, rows: Sequence[Row]) -> None:
        await Trade.bulk_create([Trade(**row) for row in rows])

    async def stream(self) -> tuple[int, Any]:
        count, row = 0, None
        async for row in Trade.all().values():
            count += 1
        return count, row


PEERS = (TortoiseOrm,)
