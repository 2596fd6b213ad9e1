"""Whoever listens to a model, an engine or a session misses no one-shot call."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, event, func, select, text
from sqlalchemy.orm import Session

from hqt_async_db.models import User
from hqt_async_db.repositories import BaseRepository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hqt_async_db import DatabaseManager
    from tests.fixtures.managers import MakeDb

USER = {"username": "u", "email": "u@x", "password_hash": "h"}
OTHER = {"username": "v", "email": "v@x", "password_hash": "h"}


@contextmanager
def listening(target: Any, name: str, **options: Any) -> Iterator[list[Any]]:
    """Listen for the length of a block; return what was heard."""
    heard: list[Any] = []

    def listener(*arguments: Any, **_: Any) -> Any:
        heard.append(arguments)
        return arguments[1] if name == "set" else None

    event.listen(target, name, listener, **options)
    try:
        yield heard
    finally:
        event.remove(target, name, listener)


@pytest.mark.parametrize("name", ["before_insert", "after_insert", "before_update", "load"])
async def test_events_of_a_model_that_has_been_used_before(db: DatabaseManager, name: str) -> None:
    users = BaseRepository(db, User)
    user = await users.create(**USER)
    await users.update(user, full_name="a")
    await users.get_by_id(user.id)
    with listening(User, name) as heard:
        await users.create(**OTHER)
        await users.update(user, full_name="b")
        assert await users.get_by_id(user.id)
    assert heard
    assert all(argument is not None for argument in heard[0])


@pytest.mark.parametrize("name", ["before_delete", "after_delete"])
async def test_deletes_of_a_model_that_has_been_used_before(db: DatabaseManager, name: str) -> None:
    users = BaseRepository(db, User)
    await users.delete(await users.create(**USER))
    user = await users.create(**OTHER)
    with listening(User, name) as heard:
        await users.delete(user)
    assert len(heard) == 1
    assert await users.count() == 0


async def test_loads_by_a_stream_that_has_been_used_before(db: DatabaseManager) -> None:
    users = BaseRepository(db, User)
    await users.create(**USER)

    async def read() -> list[User]:
        async with users.stream(entities=True) as rows:
            return [user async for user in rows]

    assert len(await read()) == 1
    with listening(User, "load") as heard:
        assert len(await read()) == 1
    assert len(heard) == 1


async def test_assignments_that_somebody_changes(db: DatabaseManager) -> None:
    users = BaseRepository(db, User)
    user = await users.create(**USER)
    await users.update(user, full_name="a")

    def shout(_user: User, value: str, *_: object) -> str:
        return value.upper()

    event.listen(User.full_name, "set", shout, retval=True)
    try:
        await users.update(user, full_name="b")
    finally:
        event.remove(User.full_name, "set", shout)
    assert (user.full_name, (await users.get_one()).full_name) == ("B", "B")


def _class_of_engines(_db: DatabaseManager) -> Any:
    return Engine


def _class_of_sessions(_db: DatabaseManager) -> Any:
    return Session


def _engine(db: DatabaseManager) -> Any:
    return db.engine.sync_engine


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (_class_of_engines, "before_cursor_execute"),
        (_engine, "after_execute"),
        (_engine, "engine_connect"),
        (_engine, "checkout"),
        (_engine, "do_execute"),
        (_class_of_sessions, "after_begin"),
        (_class_of_sessions, "before_flush"),
    ],
)
async def test_who_begins_to_listen_hears_of_writes(
    db: DatabaseManager, target: Callable[[DatabaseManager], Any], name: str
) -> None:
    await BaseRepository(db, User).create(**USER)
    with listening(target(db), name) as heard:
        await BaseRepository(db, User).create(**OTHER)
    assert heard


async def _read_at_once(db: DatabaseManager) -> None:
    await BaseRepository(db, User).get_all()


async def _read_by_key(db: DatabaseManager) -> None:
    async with db.session() as session:
        await session.get(User, 1)


async def _read_in_a_session(db: DatabaseManager, **mode: bool) -> None:
    async with db.session(**mode) as session:
        await BaseRepository(session, User).get_all()


async def _read_a_stream(db: DatabaseManager) -> None:
    async with BaseRepository(db, User).stream() as rows:
        assert [row async for row in rows]


READS = (
    _read_at_once,
    _read_by_key,
    _read_in_a_session,
    partial(_read_in_a_session, read_only=True),
    partial(_read_in_a_session, snapshot=True),
    _read_a_stream,
)


def _selects_in(heard: list[Any]) -> int:
    return sum(any("FROM users" in str(part) for part in arguments) for arguments in heard)


@pytest.mark.parametrize(
    "name", ["before_execute", "before_cursor_execute", "after_cursor_execute", "checkout"]
)
async def test_who_begins_to_listen_hears_of_reads_until_he_ends(
    db: DatabaseManager, name: str
) -> None:
    await BaseRepository(db, User).create(**USER)
    for _ in range(2):
        for read in READS:
            with listening(_engine(db), name) as heard:
                await read(db)
            before = len(heard)
            assert (before if name == "checkout" else _selects_in(heard)) == 1, read
            await read(db)
            assert len(heard) == before, read


@pytest.mark.parametrize(
    ("target", "name"), [(Engine, "before_cursor_execute"), (Session, "after_begin")]
)
async def test_who_listened_before_there_was_a_manager_hears_of_writes(
    make_db: MakeDb, target: Any, name: str
) -> None:
    with listening(target, name) as heard:
        db = make_db()
        await db.create_all()
        before = len(heard)
        await BaseRepository(db, User).create(**USER)
    assert len(heard) > before


@pytest.mark.backends("sqlite-file")
async def test_functions_that_a_listener_gives_to_new_connections(db: DatabaseManager) -> None:
    @event.listens_for(db.engine.sync_engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        connection.create_function("twice", 1, lambda number: 2 * number)

    await BaseRepository(db, User).create(**USER)
    changed = {"full_name": "a"}
    assert await BaseRepository(db, User).update_many(func.twice(User.id) == 2, values=changed) == 1
    assert await BaseRepository(db, User).count(func.twice(User.id) == 2) == 1
    for mode in ({}, {"read_only": True}, {"snapshot": True}):
        async with db.session(**mode) as session:
            assert await BaseRepository(session, User).count(func.twice(User.id) == 2) == 1
            assert await session.scalar(select(func.twice(User.id))) == 2


@pytest.mark.backends("postgresql")
async def test_a_schema_that_a_listener_chooses_for_new_connections(make_db: MakeDb) -> None:
    """SQLAlchemy's recipe: docs.sqlalchemy.org, "Setting Alternate Search Paths on Connect"."""
    async with make_db().engine.begin() as connection:
        await connection.execute(text("CREATE SCHEMA tenant"))
        await connection.run_sync(User.metadata.tables["users"].create)
        await connection.execute(text("CREATE TABLE tenant.users (LIKE users INCLUDING ALL)"))
    db = make_db()

    @event.listens_for(db.engine.sync_engine, "connect", insert=True)
    def _connect(connection: Any, _record: object) -> None:
        before, connection.autocommit = connection.autocommit, True
        cursor = connection.cursor()
        cursor.execute("SET SESSION search_path = 'tenant', 'public'")
        cursor.close()
        connection.autocommit = before

    await BaseRepository(db, User).create(**USER)
    assert await BaseRepository(db, User).count() == 1
    for mode in ({}, {"read_only": True}, {"snapshot": True}):
        async with db.session(**mode) as session:
            assert await BaseRepository(session, User).count() == 1, mode


@pytest.mark.backends("postgresql")
async def test_schemas_that_are_renamed(db: DatabaseManager, make_db: MakeDb) -> None:
    async with db.engine.begin() as connection:
        await connection.execute(text("CREATE SCHEMA tenant"))
        await connection.execute(text("CREATE TABLE tenant.users (LIKE users INCLUDING ALL)"))
    tenant = make_db(execution_options={"schema_translate_map": {None: "tenant"}})
    await BaseRepository(db, User).create(**USER)
    assert await BaseRepository(tenant, User).count() == 0
    await BaseRepository(tenant, User).create(**OTHER)
    assert [user.username for user in await BaseRepository(db, User).get_all()] == ["u"]
    async with db.session() as session:
        options = {"schema_translate_map": {None: "tenant"}}
        await session.connection(execution_options=options)
        found = [user.username for user in await BaseRepository(session, User).get_all()]
        assert found == ["v"]
        await BaseRepository(session, User).create(username="w", email="w@x", password_hash="h")
    assert await BaseRepository(tenant, User).count() == 2
