"""New rows in a session: without a flush all is as after one, up to the end of the session."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import strategies as st
from sqlalchemy import event, inspect, text
from sqlalchemy.exc import PendingRollbackError

from hqt_async_db import DuplicateKeyError, HqtDbError
from hqt_async_db.models import LiveTrade, Strategy, User
from hqt_async_db.repositories import BaseRepository
from tests.integration.test_one_shot.rows import MODELS, PARENTS, Model, complete, rows_of
from tests.integration.test_one_shot.rows import unique_columns as unique
from tests.integration.test_one_shot.seen import seen
from tests.integration.test_one_shot.ways import for_all

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager, Session

pytestmark = [pytest.mark.timeout(60), pytest.mark.backends("sqlite-file", "sqlite-memory")]
MASKED: Final = frozenset({"id", "created_at", "updated_at", "timestamp"})
NEW: Final = {"username": "new", "email": "new@x", "password_hash": "h"}


@pytest.fixture(autouse=True)
async def _parents(db: DatabaseManager) -> None:
    async with db.session() as session:
        for model, row in PARENTS:
            session.add(model(**row))
            await session.flush()
    # In memory the first one-shot call, and no session, lets the short way begin.
    assert await BaseRepository(db, User).count() > 1


def open_session(db: DatabaseManager, *, flushes: bool) -> Session:
    """Return a session; one that somebody listens to flushes."""
    session = db.session()
    if flushes:
        event.listen(session.sync_session, "after_flush", lambda *_: None)
    return session


def look(session: Session, instance: Any) -> dict[str, Any]:
    """Return what can be seen of an instance and its place in the session."""
    state = inspect(instance)
    sync = session.sync_session
    return {
        **seen(instance, masked=MASKED | unique(type(instance))),
        "states": (state.transient, state.pending, state.persistent, state.deleted),
        "held": (instance in session, instance in sync.new, instance in sync.dirty),
        "identity": sync.identity_map.get(state.key) is instance if state.key else None,
        "written": sorted(sync.written_tables),
        "active": (sync.is_active, session.in_transaction(), sync.has_written),
    }


async def live(db: DatabaseManager, model: Model, row: dict[str, Any], *, flushes: bool) -> Any:
    """Create in a transaction, in savepoints, undo, change and delete; return what was seen."""
    found: list[Any] = []
    async with open_session(db, flushes=flushes) as session:
        repository: BaseRepository[Any] = BaseRepository(session, model)
        undone = await repository.create(**complete(model, row))
        found.append(look(session, undone))
        await session.rollback()
        found.append(look(session, undone))
        session.add(undone)
        await session.flush()
        await session.refresh(undone)
        found.append(look(session, undone))
        await session.rollback()
        async with session.begin_nested() as savepoint:
            inner = await repository.create(**complete(model, row))
            found.append(look(session, inner))
            await savepoint.rollback()
        found.append(look(session, inner))
        async with session.begin_nested():
            kept: Any = await repository.create(**complete(model, row))
        found.append(look(session, kept))
        again: Any = await session.get(model, kept.id)
        assert again is kept
        again = await repository.get_one(id=kept.id)
        assert again is kept
        fixed = unique(model)
        changed = {n: v for n, v in row.items() if n not in fixed and v is not None}
        await repository.update(kept, **changed)
        found.append(look(session, kept))
        await session.commit()
        found += [look(session, kept), session.outcome, session.receipt]
        await repository.delete(kept)
        found += [look(session, kept), await repository.count(id=kept.id)]
    return found


async def test_an_instance_is_as_after_a_flush(db: DatabaseManager) -> None:
    async def check(drawn: tuple[Model, dict[str, Any]]) -> None:
        short, plain = [await live(db, *drawn, flushes=flushes) for flushes in (False, True)]
        assert short == plain

    rows = st.sampled_from(MODELS).flatmap(lambda model: st.tuples(st.just(model), rows_of(model)))
    await for_all(rows, check, examples=30)


async def flushes_of(session: Session, monkeypatch: pytest.MonkeyPatch, **values: Any) -> int:
    """Return how often the creation of a user flushes."""
    sync, count = session.sync_session, 0
    flush = sync.flush

    def counting(*arguments: Any) -> None:
        nonlocal count
        count += 1
        flush(*arguments)

    monkeypatch.setattr(sync, "flush", counting)
    await BaseRepository(session, User).create(**{**NEW, **values})
    monkeypatch.undo()
    return count


async def test_it_flushes_only_where_that_matters(
    db: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without this the property could compare flushes with themselves."""
    async with db.session() as session:
        assert not await flushes_of(session, monkeypatch)
        other = User(username="other", email="o@x", password_hash="h")
        session.add(other)
        assert await flushes_of(session, monkeypatch, username="a", email="a")
        assert inspect(other).persistent
        other.full_name = "changed"
        assert await flushes_of(session, monkeypatch, username="b", email="b")
        assert await flushes_of(session, monkeypatch, username="c", email="c", id=10**6)
        assert not await flushes_of(session, monkeypatch, username="d", email="d")
        event.listen(session.sync_session, "before_attach", lambda *_: None)
        assert await flushes_of(session, monkeypatch, username="e", email="e")


async def test_who_listens_to_statements_sees_it(db: DatabaseManager) -> None:
    texts: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        texts.append(statement)

    async with db.session() as session:
        event.listen(db.engine.sync_engine, "before_cursor_execute", note)
        await BaseRepository(session, User).create(**NEW)
    event.remove(db.engine.sync_engine, "before_cursor_execute", note)
    assert [one.split()[0] for one in texts] == ["INSERT"]


async def test_relatives_are_taken_in_once(db: DatabaseManager) -> None:
    async with db.session() as session:
        user = await BaseRepository(session, User).create(**NEW)
        made = await BaseRepository(session, Strategy).create(user=user, name="s")
        assert made.user_id == user.id
        assert await BaseRepository(session, Strategy).count(user_id=user.id) == 1


async def refused(db: DatabaseManager, values: dict[str, Any], *, flushes: bool) -> Any:
    """Meet an error outside and inside of a savepoint; return what was seen."""
    found: list[Any] = []
    async with open_session(db, flushes=flushes) as session:
        users = BaseRepository(session, User)
        first = await users.create(**NEW)
        with pytest.raises(HqtDbError) as error:
            async with session.begin_nested():
                await users.create(**values)
        found += [seen(error.value), look(session, first)]
        with pytest.raises(HqtDbError) as error:
            await users.create(**values)
        found += [seen(error.value), look(session, first)]
        with pytest.raises(PendingRollbackError) as pending:
            await users.count()
        found.append(type(pending.value))
        await session.rollback()
        found += [look(session, first), await users.count(username="new")]
    return found


async def test_an_error_ends_the_transaction_as_a_flush_does(db: DatabaseManager) -> None:
    short, plain = [await refused(db, NEW, flushes=flushes) for flushes in (False, True)]
    assert short == plain
    assert short[0]["class"] is DuplicateKeyError


@pytest.mark.backends("sqlite-file")
async def test_one_that_is_cancelled_gives_the_turn_back(db: DatabaseManager) -> None:
    await BaseRepository(db, LiveTrade).count()
    async with db.engine.begin() as connection:
        await connection.execute(text(
            "CREATE TRIGGER slow BEFORE INSERT ON users BEGIN SELECT count(*) FROM "
            "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1e9) "
            "SELECT i FROM n); END"
        ))  # fmt: skip
    session = db.session()
    task = asyncio.create_task(BaseRepository(session, User).create(**NEW))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5), db.session() as other:
        await other.execute(text("DROP TRIGGER slow"))  # at once: the turn to write is free
    await session.close()
    assert await BaseRepository(db, User).count(username="new") == 0
