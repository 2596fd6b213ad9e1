"""Violated constraints: one class, table, columns and key on every driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import pytest
from sqlalchemy import (
    Column,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    delete,
    insert,
    text,
    update,
)
from sqlalchemy import exc as sa_exc
from sqlalchemy.schema import CreateTable

from hqt_async_db.errors import (
    CheckViolationError,
    DuplicateKeyError,
    ForeignKeyViolationError,
    IntegrityViolationError,
    NotNullViolationError,
    StatementFailedError,
    ValueRefusedError,
)
from hqt_async_db.models import Base, LiveTrade, Strategy, User, UserSetting

if TYPE_CHECKING:
    from sqlalchemy import Executable

    from hqt_async_db.connection.manager import DatabaseManager

ANN = {"username": "ann", "email": "other@example.com", "password_hash": "x"}
BOB = {"username": "bob", "email": "bob@example.com", "password_hash": "x"}
ORDER = {
    "account_id": "A",
    "client_order_id": "1",
    "symbol": "EURUSD",
    "direction": "long",
    "volume": "1",
}


Facts: TypeAlias = tuple[type[IntegrityViolationError], str | None, tuple[str, ...], str | None]


class Violation(NamedTuple):
    """Statements, of which the last one fails, and what the error must say."""

    statements: list[Executable]
    error: type[IntegrityViolationError]
    table: str
    columns: tuple[str, ...]
    key: str | None


VIOLATIONS = {
    "unique": Violation(
        [insert(User).values(ANN)], DuplicateKeyError, "users", ("username",), "uq_users_username"
    ),
    "unique in textual SQL": Violation(
        [
            insert(User).values(BOB),
            text("UPDATE users SET email = 'ann@example.com' WHERE username = 'bob'"),
        ],
        DuplicateKeyError,
        "users",
        ("email",),
        "uq_users_email",
    ),
    "unique together": Violation(
        [insert(LiveTrade).values(ORDER), insert(LiveTrade).values(ORDER)],
        DuplicateKeyError,
        "live_trades",
        ("account_id", "client_order_id"),
        "uq_live_trades_account_id_client_order_id",
    ),
    "primary key": Violation(
        [insert(User).values(BOB | {"id": 1})], DuplicateKeyError, "users", ("id",), "pk_users"
    ),
    "missing parent": Violation(
        [insert(Strategy).values(user_id=99, name="lost")],
        ForeignKeyViolationError,
        "strategies",
        ("user_id",),
        "fk_strategies_user_id",
    ),
    "missing parent of two": Violation(
        [insert(LiveTrade).values(ORDER | {"strategy_id": 99})],
        ForeignKeyViolationError,
        "live_trades",
        ("strategy_id",),
        "fk_live_trades_strategy_id",
    ),
    "parent changed": Violation(
        [update(Strategy).values(user_id=99)],
        ForeignKeyViolationError,
        "strategies",
        ("user_id",),
        "fk_strategies_user_id",
    ),
    "not null": Violation(
        [insert(User).values(BOB | {"email": None})],
        NotNullViolationError,
        "users",
        ("email",),
        None,
    ),
    "not null, no default": Violation(
        [insert(UserSetting).values(theme="dark")],
        NotNullViolationError,
        "user_settings",
        ("user_id",),
        None,
    ),
    "check": Violation(
        [
            insert(LiveTrade).values(ORDER),
            text("UPDATE live_trades SET direction = 'sideways'"),
        ],
        CheckViolationError,
        "live_trades",
        ("direction",),
        "ck_live_trades_direction",
    ),
}


async def test_a_session_names_the_violated_constraint(db: DatabaseManager) -> None:
    assert {
        case: await _caught_in_a_session(db, violation) for case, violation in VIOLATIONS.items()
    } == _expected()


async def test_a_plain_connection_of_the_engine_names_it_too(db: DatabaseManager) -> None:
    assert {
        case: await _caught_in_a_connection(db, violation) for case, violation in VIOLATIONS.items()
    } == _expected()


async def _caught_in_a_session(db: DatabaseManager, violation: Violation) -> Facts:
    with pytest.raises(IntegrityViolationError) as caught:
        await _run(db, violation.statements)
    return _facts(caught.value)


async def _run(db: DatabaseManager, statements: list[Executable]) -> None:
    async with db.session() as session:
        for statement in statements:
            await session.execute(statement)


async def _caught_in_a_connection(db: DatabaseManager, violation: Violation) -> Facts:
    async with db.engine.connect() as connection:
        for statement in violation.statements[:-1]:
            await connection.execute(statement)
        with pytest.raises(IntegrityViolationError) as caught:
            await connection.execute(violation.statements[-1])
    return _facts(caught.value)


def _expected() -> dict[str, Facts]:
    return {case: violation[1:] for case, violation in VIOLATIONS.items()}


def _facts(error: IntegrityViolationError) -> Facts:
    assert isinstance(error, sa_exc.IntegrityError)
    assert str(error).startswith(f"{error.table}")
    assert not error.retryable
    assert error.orig is not None
    assert not isinstance(error.orig, sa_exc.SQLAlchemyError)
    return type(error), error.table, error.columns, error.key


async def test_a_parent_that_must_stay_names_the_child(db: DatabaseManager) -> None:
    async with db.session() as session:
        await session.execute(insert(LiveTrade).values(ORDER | {"strategy_id": 1}))
    with pytest.raises(ForeignKeyViolationError, match="still referred to") as caught:
        async with db.session() as session:
            await session.execute(delete(Strategy))
    # Two tables refuse to lose their strategy, and SQLite does not say which did.
    known = db.engine.dialect.name != "sqlite"
    expected = ("live_trades", ("strategy_id",), "fk_live_trades_strategy_id")
    assert (caught.value.table, caught.value.columns, caught.value.key) == (
        expected if known else (None, (), None)
    )


async def test_a_flush_and_a_deferred_flush_at_commit_say_the_same(db: DatabaseManager) -> None:
    async with db.session() as session:
        session.add(User(**ANN))
        with pytest.raises(DuplicateKeyError) as at_flush:
            await session.flush()
        await session.rollback()
    with pytest.raises(DuplicateKeyError) as at_commit:
        async with db.session() as session:
            session.add(User(**ANN))
    assert str(at_flush.value) == str(at_commit.value)


async def test_many_rows_at_once_name_the_constraint(db: DatabaseManager) -> None:
    rows = [
        {"username": f"user{number % 40}", "email": f"{number}@example.com", "password_hash": "x"}
        for number in range(50)
    ]
    with pytest.raises(DuplicateKeyError) as caught:
        async with db.session() as session:
            await session.execute(insert(User), rows)
    assert (caught.value.table, caught.value.columns) == ("users", ("username",))


async def test_a_schema_that_is_not_ours_is_named_too(db: DatabaseManager) -> None:
    metadata = MetaData()
    colours = Table("colours", metadata, Column("name", String(20), primary_key=True))
    shades = Table(
        "shades",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("colour", ForeignKey("colours.name"), nullable=False),
        Column("name", String(20)),
        UniqueConstraint("colour", "name", name="one_shade"),
    )
    async with db.engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        await connection.execute(insert(colours).values(name="red"))
        await connection.execute(insert(shades).values(colour="red", name="dark"))

    async def refused(statement: Executable) -> IntegrityViolationError:
        with pytest.raises(IntegrityViolationError) as caught:
            async with db.session() as session:
                await session.execute(statement)
        return caught.value

    duplicate = await refused(insert(colours).values(name="red"))
    assert (duplicate.table, duplicate.columns) == ("colours", ("name",))
    duplicate = await refused(insert(shades).values(colour="red", name="dark"))
    assert (duplicate.table, duplicate.columns) == ("shades", ("colour", "name"))
    assert duplicate.key == "one_shade"
    orphan = await refused(insert(shades).values(colour="blue", name="dark"))
    assert (orphan.table, orphan.columns) == ("shades", ("colour",))
    child = await refused(delete(colours))
    assert (child.table, child.columns) == ("shades", ("colour",))
    nameless = await refused(insert(shades).values(name="dark"))
    assert (nameless.table, nameless.columns) == ("shades", ("colour",))


@pytest.mark.drivers("asyncpg", "psycopg", "asyncmy", "aiomysql")
@pytest.mark.parametrize(
    ("column", "value"),
    [("symbol", "'" + "E" * 100 + "'"), ("volume", "1e30"), ("entry_time", "'yesterday at nine'")],
    ids=["too long", "out of range", "no time"],
)
async def test_a_server_refuses_a_value(db: DatabaseManager, column: str, value: str) -> None:
    async with db.session() as session:
        await session.execute(insert(LiveTrade).values(ORDER))
    with pytest.raises(ValueRefusedError) as caught:
        async with db.session() as session:
            await session.execute(text(f"UPDATE live_trades SET {column} = {value}"))  # noqa: S608 - constants above
    assert isinstance(caught.value, sa_exc.DataError)
    assert not caught.value.retryable
    if db.engine.dialect.name == "mysql":
        assert caught.value.columns == (column,)


@pytest.mark.parametrize(
    ("column", "value"), [("id", 2**70), ("email", "\ud800")], ids=["integer", "surrogate"]
)
async def test_a_value_that_no_driver_can_send(
    db: DatabaseManager, column: str, value: Any
) -> None:
    with pytest.raises(ValueRefusedError) as caught:
        async with db.session() as session:
            await session.execute(text(f"UPDATE users SET {column} = :given"), {"given": value})  # noqa: S608 - constants above
    assert isinstance(caught.value, sa_exc.DataError)
    assert caught.value.orig is not None


async def test_a_missing_parameter_is_said_so(db: DatabaseManager) -> None:
    with pytest.raises(StatementFailedError, match="parameter") as caught:
        async with db.session() as session:
            await session.execute(text("SELECT :given"))
    assert isinstance(caught.value, sa_exc.StatementError)


async def test_a_missing_table_asks_for_the_schema(db: DatabaseManager) -> None:
    with pytest.raises(StatementFailedError, match=r"nowhere.*create_all") as caught:
        async with db.session() as session:
            await session.execute(text("SELECT * FROM nowhere"))
    on_sqlite = db.engine.dialect.name == "sqlite"
    family = sa_exc.OperationalError if on_sqlite else sa_exc.ProgrammingError
    assert isinstance(caught.value, family)
    with pytest.raises(StatementFailedError):
        async with db.session() as session:
            await session.execute(text("SELECT no_column FROM users"))


async def test_a_schema_change_that_fails_is_a_failed_statement(db: DatabaseManager) -> None:
    async with db.engine.connect() as connection:
        with pytest.raises(StatementFailedError) as caught:
            await connection.execute(CreateTable(Base.metadata.tables["users"]))
    assert isinstance(caught.value, sa_exc.OperationalError | sa_exc.ProgrammingError)
