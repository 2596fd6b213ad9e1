"""Columns instead of instances, and rows one by one."""

from __future__ import annotations

import asyncio
import contextlib
import tracemalloc
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, insert, inspect, select, text
from sqlalchemy.orm import Mapped, mapped_column

from hqt_async_db import (
    AccountSnapshot,
    AccountSnapshotRepository,
    BaseRepository,
    InvalidInputError,
    Strategy,
    StrategyRepository,
    User,
    UserRepository,
)
from tests.integration.test_repository.samples import (
    OTHER_CONNECTIONS,
    OwnBase,
    add_strategy,
    add_user,
    at,
    user_row,
    user_rows,
)

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager, Session
    from tests.fixtures.managers import RecordStatements
    from tests.integration.test_repository.samples import Bind

MANY = 100_000


class Tick(OwnBase):
    """A narrow table with many rows."""

    __tablename__ = "ticks"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    price: Mapped[float]


class TickRepository(BaseRepository[Tick]):
    """Ticks."""


def checked_out(db: DatabaseManager) -> int:
    return sum(int(pool["in_use"]) for pool in db.pool_status().values())


async def until_nothing_is_checked_out(db: DatabaseManager) -> None:
    for _ in range(5000):
        if not checked_out(db):
            return
        await asyncio.sleep(0.001)
    pytest.fail(f"still checked out: {db.pool_status()}")


# -- rows ----------------------------------------------------------------------


async def test_rows_are_named_and_typed(bind: Bind) -> None:
    snapshots = AccountSnapshotRepository(bind)
    await snapshots.create(account_id="a", balance="1.5", equity=2, timestamp=at(1))
    row = (await snapshots.rows("account_id", AccountSnapshot.equity, "timestamp", "profit"))[0]
    assert row._fields == ("account_id", "equity", "timestamp", "profit")
    assert (row.account_id, row.equity, row.timestamp, row.profit) == ("a", Decimal(2), at(1), None)
    assert type(row.equity) is Decimal
    account, *_ = row
    assert account == "a"


async def test_rows_as_dictionaries_and_of_all_columns(bind: Bind) -> None:
    strategy = await add_strategy(bind, await add_user(bind), parameters={"fast": 10})
    repository = StrategyRepository(bind)
    [row] = await repository.rows(as_dicts=True)
    assert row["parameters"] == {"fast": 10}
    assert list(row) == [column.key for column in Strategy.__mapper__.column_attrs]
    assert await repository.rows("id", "name", as_dicts=True) == [{"id": strategy.id, "name": "MA"}]
    assert len((await repository.rows())[0]) == len(row)


async def test_rows_take_filters_criteria_order_and_slices(bind: Bind) -> None:
    users = UserRepository(bind)
    await users.create_many(user_rows(6))
    rows = await users.rows(
        "username", criteria=[User.username > "u00000"], is_active=True,
        order_by="-username", limit=2, offset=1,
    )  # fmt: skip
    assert [row.username for row in rows] == ["u00004", "u00003"]


async def test_aggregates_are_possible(bind: Bind) -> None:
    users = UserRepository(bind)
    await users.create_many([user_row(i, full_name="ab"[i % 2]) for i in range(5)])
    [row] = await users.rows(func.count().label("users"), func.max(User.username).label("last"))
    assert (row.users, row.last) == (5, "4")
    [row] = await users.rows(User.id.label("key"), User.username, order_by="-username", limit=1)
    assert row.username == "4"
    async with users.stream(columns=[func.count()]) as counts:
        assert [row[0] async for row in counts] == [5]


# -- streams -------------------------------------------------------------------


async def test_a_stream_yields_every_row_in_order(bind: Bind) -> None:
    users = UserRepository(bind)
    await users.create_many(user_rows(1001))
    expected = [user["username"] for user in user_rows(1001)]
    async with users.stream(order_by="username") as rows:
        assert [row.username async for row in rows] == expected
    async with users.stream(User.username > "u00500", columns=["username"], is_active=True) as rows:
        found = [row async for row in rows]
    assert [tuple(row) for row in found] == [(name,) for name in expected[501:]]
    names = [user.username async for user in users.stream(entities=True, order_by="-username")]
    assert names == expected[::-1]
    assert [row async for row in users.stream(username="nobody")] == []


async def test_instances_of_a_stream_are_whole(db: DatabaseManager) -> None:
    await UserRepository(db).create_many(user_rows(3))
    users = [user async for user in UserRepository(db).stream(entities=True)]
    assert [type(user) for user in users] == [User] * 3
    assert (await UserRepository(db).update(users[0], full_name="A")).full_name == "A"


async def _leave(stream: Any, how: str) -> None:
    async for row in stream:
        if row.username == "u00300":
            if how == "break":
                break
            if how == "return":
                return
            raise LookupError(how)


@pytest.mark.parametrize("how", ["break", "return", "error"])
@pytest.mark.parametrize("entities", [False, True])
async def test_a_stream_may_be_left_early(db: DatabaseManager, how: str, entities: bool) -> None:  # noqa: FBT001 - a parameter
    users = UserRepository(db)
    await users.create_many(user_rows(1000))
    async with users.stream(order_by="username", entities=entities) as rows:
        with contextlib.suppress(LookupError):
            await _leave(rows, how)
        assert checked_out(db) == 1
    assert checked_out(db) == 0
    with contextlib.suppress(LookupError):
        await _leave(users.stream(order_by="username", entities=entities), how)
    await until_nothing_is_checked_out(db)
    await users.create(**user_row("after"))


async def test_an_error_inside_the_block_passes_unchanged(db: DatabaseManager) -> None:
    users = UserRepository(db)
    await users.create_many(user_rows(500))

    async def fail() -> None:
        async with users.stream() as rows:
            await _leave(rows, "error")

    with pytest.raises(LookupError, match="error"):
        await fail()
    assert checked_out(db) == 0


async def test_a_cancelled_stream_gives_its_connection_back(db: DatabaseManager) -> None:
    users = UserRepository(db)
    await users.create_many(user_rows(500))
    reading = asyncio.Event()

    async def read(*, in_block: bool) -> None:
        stream = users.stream(order_by="username")
        async with stream if in_block else contextlib.nullcontext():
            async for row in stream:
                if row.username == "u00250":
                    reading.set()
                    await asyncio.sleep(60)

    for in_block in (True, False):
        reading.clear()
        task = asyncio.create_task(read(in_block=in_block))
        await reading.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until_nothing_is_checked_out(db)


async def test_a_session_goes_on_after_its_stream_was_left(db: DatabaseManager) -> None:
    async with db.session() as session:
        users = UserRepository(session)
        await users.create_many(user_rows(500))
        async with users.stream(order_by="username") as rows:
            async for row in rows:
                if row.username == "u00010":
                    break
        await users.create(**user_row("after"))
        assert await users.count() == 501
    assert await UserRepository(db).count() == 501


async def test_a_session_streams_what_it_has_not_committed(db: DatabaseManager) -> None:
    async with db.session() as session:
        session.add(User(**user_row("pending")))
        names = [row.username async for row in UserRepository(session).stream()]
    assert names == ["pending"]


@pytest.mark.parametrize("mode", ["read_only", "snapshot", "write"])
async def test_sessions_of_every_mode_stream(db: DatabaseManager, mode: str) -> None:
    await UserRepository(db).create_many(user_rows(500))
    async with db.session(**{mode: True}) as session:
        for entities in (False, True):
            async with UserRepository(session).stream(entities=entities) as rows:
                assert len([row async for row in rows]) == 500
            assert await UserRepository(session).count() == 500


@OTHER_CONNECTIONS
async def test_a_stream_sees_one_state(db: DatabaseManager) -> None:
    users = UserRepository(db)
    await users.create_many(user_rows(1000))
    async with users.stream(order_by="username") as rows:
        names = [(await anext(aiter(rows))).username]
        await users.delete_many(User.username >= "u00500")
        names += [row.username async for row in rows]
    assert await users.count() == 500
    assert names[-1] == "u00999"


@pytest.mark.backends("sqlite-memory")
async def test_a_stream_is_used_once(db: DatabaseManager) -> None:
    stream = UserRepository(db).stream()
    async with stream:
        pass
    with pytest.raises(InvalidInputError, match="opened before"):
        _ = [row async for row in stream]
    with pytest.raises(InvalidInputError, match="opened before"):
        await stream.__aenter__()


async def test_one_select_however_many_rows(
    db: DatabaseManager, statements: RecordStatements
) -> None:
    users = UserRepository(db)
    await users.create_many(user_rows(1000))
    with statements(db) as sent:
        async with users.stream() as rows:
            assert len([row async for row in rows]) == 1000
    assert len([statement for statement in sent if "SELECT" in statement]) == 1


async def _fill(session: Session) -> None:
    """Have the database double the rows until there are many."""
    await session.execute(insert(Tick), [{"id": number, "price": 1.5} for number in range(100)])
    count = 100
    while count < MANY:
        more = min(count, MANY - count)
        rows = select(Tick.id + count, Tick.price).where(Tick.id < more)
        await session.execute(insert(Tick).from_select(["id", "price"], rows))
        count += more


@OTHER_CONNECTIONS
@pytest.mark.parametrize("entities", [False, True])
async def test_a_hundred_thousand_rows_take_no_more_memory_than_a_few(
    db: DatabaseManager,
    entities: bool,  # noqa: FBT001 - a parameter
) -> None:
    await db.create_all(OwnBase)
    async with db.session() as session:
        await _fill(session)
    ticks = TickRepository(db)
    total = await _sum(ticks, Tick.id < 1000, entities=entities)  # pays for what is paid once
    tracemalloc.start(1)
    try:
        total = await _sum(ticks, text("1 = 1"), entities=entities)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == MANY * (MANY - 1) // 2
    assert peak < 3_000_000  # all rows at once take more than 20 MB


async def _sum(ticks: TickRepository, criterion: Any, *, entities: bool) -> int:
    async with ticks.stream(criterion, entities=entities) as rows:
        total = 0
        async for row in rows:
            total += row.id
        return total


async def test_instances_of_a_stream_can_be_updated_meanwhile(db: DatabaseManager) -> None:
    users = UserRepository(db)
    await users.create_many(user_rows(50))
    async with users.stream(entities=True) as rows:
        first = await anext(aiter(rows))
        assert inspect(first).detached
    await users.update(first, full_name="x")
    assert await users.count(full_name="x") == 1
