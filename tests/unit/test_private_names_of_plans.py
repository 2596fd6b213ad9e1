"""The private parts of SQLAlchemy and asyncpg that one-shot calls stand on.

They use what SQLAlchemy has compiled without having it executed. If one of
these fails after an upgrade, what uses it must be looked at before the bounds
are moved.
"""

# ruff: noqa: SLF001 - the private names are the subject

from __future__ import annotations

import asyncio
import inspect as python_inspect
import time
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from sqlalchemy import (
    JSON,
    Engine,
    Integer,
    Row,
    bindparam,
    create_engine,
    event,
    insert,
    inspect,
    make_url,
    select,
    update,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.orm import Session, configure_mappers
from sqlalchemy.pool import Pool, QueuePool
from sqlalchemy.util import LRUCache

from hqt_async_db.models import LiveTrade, Strategy, User

if TYPE_CHECKING:
    from sqlalchemy.orm import InstanceState

DIALECT = sqlite.dialect()


def compiled(statement: Any, dialect: Any = DIALECT) -> Any:
    """Return what SQLAlchemy makes of a statement."""
    return statement.compile(dialect=dialect)


class TestCompiled:
    """Used by the plans."""

    @pytest.mark.parametrize(
        "dialect", [DIALECT, make_url("postgresql+asyncpg://").get_dialect()()]
    )
    def test_parameters_have_an_order_and_processors(self, dialect: Any) -> None:
        made = compiled(
            insert(LiveTrade).values(volume=bindparam("v"), symbol=bindparam("s")), dialect
        )
        assert made.positional
        assert {"v", "s"} <= set(made.positiontup)
        assert str(made._bind_processors["v"](1)).startswith("1")
        assert {bind.key for bind in made.bind_names} >= {"v", "s"}
        assert made.bind_names[next(b for b in made.bind_names if b.key == "v")] == "v"

    def test_defaults_are_named(self) -> None:
        made = compiled(insert(User).values(username=bindparam("n")))
        names = {made._within_exec_param_key_getter(column) for column in made.insert_prefetch}
        assert {"is_active", "created_at"} <= names <= set(made.positiontup)
        made = compiled(update(User).values(username=bindparam("n")))
        assert list(map(made._within_exec_param_key_getter, made.update_prefetch)) == ["updated_at"]

    def test_a_value_that_is_in_the_statement_is_not_required(self) -> None:
        made = compiled(select(User.id).where(User.id == 5, User.username == bindparam("n")))
        values = {n: b.effective_value for b, n in made.bind_names.items() if not b.required}
        assert values == {"id_1": 5}

    def test_what_is_more_than_text_and_parameters(self) -> None:
        assert compiled(select(User).where(User.id.in_([1, 2]))).post_compile_params
        assert not compiled(select(User).where(User.id == 1)).post_compile_params
        literal: Any = bindparam("n", 1, literal_execute=True)
        assert compiled(select(User).where(User.id == literal)).literal_execute_params
        assert select(User)._with_options == ()
        assert compiled(insert(User).returning(User.id)).effective_returning
        assert not compiled(insert(User)).effective_returning

    @pytest.mark.parametrize(
        "dialect", [DIALECT, make_url("postgresql+asyncpg://").get_dialect()()]
    )
    def test_lists_are_written_out(self, dialect: Any) -> None:
        made = compiled(
            select(User.id).where(User.id.in_([1, 2]), User.username == "a", User.email == "b"),
            dialect,
        )
        values = made.construct_params(escape_names=False)
        state = made._process_parameters_for_postcompile(values)
        assert "POSTCOMPILE" not in state.statement
        assert len(state.positiontup) == 4
        assert sorted(str(values[name]) for name in state.positiontup) == ["1", "2", "a", "b"]
        assert len(state.processors) == 2
        assert set(state.processors) < set(state.positiontup)
        again = made._process_parameters_for_postcompile({**values, "id_1": [7]})
        assert len(again.positiontup) == 3

    def test_the_columns_of_a_result(self) -> None:
        [one, other] = compiled(select(User.username, User.id))._result_columns
        assert User.__table__.c.username in one.objects
        assert other.type is User.__table__.c.id.type

    def test_the_cache_of_compiled_statements(self) -> None:
        cache: Any = LRUCache(10)

        def compile_(value: int) -> tuple[Any, Any]:
            statement: Any = select(User.id).where(User.id == value)
            made, extracted, *_ = statement._compile_w_cache(
                DIALECT, compiled_cache=cache, column_keys=[]
            )
            return made, made.construct_params(extracted_parameters=extracted, escape_names=False)

        (first, values), (second, others) = compile_(1), compile_(2)
        assert first is second
        assert (values, others) == ({"id_1": 1}, {"id_1": 2})

    def test_types_that_store_none(self) -> None:
        assert JSON().should_evaluate_none
        assert not Integer().should_evaluate_none


class TestResults:
    """Used by the readers."""

    def test_a_row_is_made_of_a_tuple(self) -> None:
        parent = SimpleResultMetaData(["a", "b"], [(User.id,), ()])
        processors: Any = (None, str)
        row: Any = Row(parent, processors, parent._key_to_index, (1, 2))
        assert (row, row._fields, row.b, row._mapping[User.id]) == ((1, "2"), ("a", "b"), "2", 1)
        record: Any = iter((1, 2))  # such as asyncpg's, which is no tuple
        bare: Any = Row(parent, None, parent._key_to_index, record)
        assert tuple(bare) == (1, 2)

    def test_an_instance_becomes_a_stored_one(self) -> None:
        configure_mappers()
        manager: Any = inspect(User).class_manager
        user = User.__new__(User)
        assert not hasattr(user, manager.STATE_ATTR)
        user.__dict__ = {manager.STATE_ATTR: manager._state_constructor(user, manager)}
        assert inspect(user).obj() is user
        user = manager.new_instance()
        state: InstanceState[Any] = user._sa_instance_state
        assert state is inspect(user)
        user.full_name = "changed"
        user.__dict__["id"] = 7
        state.key = inspect(User).identity_key_from_primary_key((7,))
        assert state.modified
        state._commit_all(user.__dict__)
        assert not state.modified
        assert (state.identity, state.detached) == ((7,), True)
        assert not state.attrs.full_name.history.has_changes()

    def test_the_attribute_of_a_column(self) -> None:
        mapper = inspect(User)
        assert mapper._columntoproperty.get(User.__table__.c.username) is mapper.attrs.username
        assert mapper._columntoproperty.get(Strategy.__table__.c.name) is None

    def test_those_who_listen_to_json_are_known(self) -> None:
        configure_mappers()
        dispatch: Any = inspect(Strategy).class_manager.dispatch
        for name in ("load", "refresh_flush"):
            listeners = list(getattr(dispatch, name))
            assert [listener.__module__ for listener in listeners] == ["sqlalchemy.ext.mutable"]
        [ours, theirs] = Strategy.parameters.dispatch.set
        assert ours.__module__ == "hqt_async_db.models.base"
        wrapped = python_inspect.getclosurevars(theirs).nonlocals["fn"]
        assert wrapped.__module__ == "sqlalchemy.ext.mutable"


class TestEvents:
    """Used to see whether somebody listens."""

    @pytest.mark.parametrize("target", [Engine, None])
    def test_listeners_are_counted(self, target: Any) -> None:
        engine = create_engine("sqlite://")

        def counted() -> int:
            found = engine.dispatch.before_execute
            return len(found.parent_listeners) + len(getattr(found, "listeners", ()))

        def listener(*_: object) -> None:
            """Do nothing."""

        assert counted() == 0
        event.listen(target or engine, "before_execute", listener)
        assert counted() == 1
        event.remove(target or engine, "before_execute", listener)
        assert counted() == 0

    def test_those_of_all_sessions_are_counted(self) -> None:
        listeners = Session().dispatch.after_begin.parent_listeners

        def listener(*_: object) -> None:
            """Do nothing."""

        event.listen(Session, "after_begin", listener)
        assert len(listeners) == 1
        event.remove(Session, "after_begin", listener)
        assert len(listeners) == 0

    @pytest.mark.parametrize("name", ["do_execute", "do_execute_no_params", "handle_error"])
    def test_those_of_a_dialect(self, name: str) -> None:
        assert len(getattr(create_engine("sqlite://").dialect.dispatch, name)) == 0

    @pytest.mark.parametrize("name", ["checkout", "checkin", "reset"])
    def test_those_of_a_pool(self, name: str) -> None:
        assert len(getattr(create_engine("sqlite://").pool.dispatch, name)) == 0


def test_a_pool_makes_its_older_connections_new() -> None:
    assert list(python_inspect.signature(Pool._invalidate).parameters)[:3] == [
        "self", "connection", "exception",
    ]  # fmt: skip
    made: list[Any] = []

    def connect() -> Any:
        made.append(DIALECT.import_dbapi().connect(":memory:", check_same_thread=False))
        return made[-1]

    pool = QueuePool(connect, pool_size=2)
    one, other = pool.connect(), pool.connect()
    other.close()
    time.sleep(0.01)  # connections are told apart by their age
    pool._invalidate(one)
    again = pool.connect()
    assert len(made) == 3
    again.invalidate()


@pytest.mark.backends("postgresql")
async def test_asyncpg_cancels_what_runs_and_tells_of_it(database_url: str) -> None:
    url = make_url(database_url).set(drivername="postgresql")
    connection = await asyncpg.connect(url.render_as_string(hide_password=False))
    try:
        sleeping = asyncio.create_task(connection.execute("SELECT pg_sleep(30)"))
        await asyncio.sleep(0.05)
        waiter = asyncio.get_running_loop().create_future()
        connection._cancel_current_command(waiter)
        await waiter
        with pytest.raises(asyncpg.QueryCanceledError):
            await sleeping
        assert await connection.execute("CREATE TABLE t (n int)") == "CREATE TABLE"
        assert await connection.execute("INSERT INTO t VALUES (1), (2)") == "INSERT 0 2"
        assert await connection.execute("UPDATE t SET n = 3 WHERE n > $1", 1) == "UPDATE 1"
        assert not connection.is_closed()
    finally:
        await connection.close()
    assert connection.is_closed()


class TestSessions:
    """Used by reads of a session, and by the plain way of adopting values."""

    def test_a_session_knows_whether_anything_is_pending(self) -> None:
        session: Any = Session()
        assert session._is_clean()
        session.add(User())
        assert not session._is_clean()

    def test_an_instance_is_put_into_a_session(self) -> None:
        configure_mappers()
        session, user = Session(), User.__mapper__.class_manager.new_instance()
        state = inspect(user)
        user.__dict__["id"] = 1
        state.key = User.__mapper__.identity_key_from_primary_key((1,))
        session.identity_map.add(state)
        state.session_id = session.hash_key
        assert state.persistent
        assert user in session
        user.full_name = "changed"
        assert user in session.dirty
        session.close()
        assert state.detached

    def test_what_was_assigned_is_known_and_forgotten(self) -> None:
        user = User(full_name="a")
        state: Any = inspect(user)
        assert list(state.committed_state) == ["full_name"]
        state._commit_all(user.__dict__)
        assert not state.modified
        assert not state.committed_state

    def test_a_value_that_changes_tells_every_instance_it_knows_of(self) -> None:
        strategy = Strategy(parameters={"deep": {}})
        second = Strategy.__mapper__.class_manager.new_instance()
        state: Any = inspect(second)
        document: Any = strategy.parameters
        second.__dict__["parameters"] = document
        document._parents[state] = "parameters"
        assert not state.committed_state
        document["deep"]["a"] = 1
        assert list(state.committed_state) == ["parameters"]
