"""What the base gives to every model, ours and the user's own."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal  # noqa: TC003 - SQLAlchemy reads the annotations
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import ForeignKey, MetaData, create_engine, event, func, insert, inspect, select
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column

from hqt_async_db import models
from hqt_async_db.errors import InvalidInputError
from hqt_async_db.models import (
    Backtest,
    Base,
    Direction,
    LiveTrade,
    Money,
    Strategy,
    TimestampMixin,
    User,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class Private(Base):
    """A base of one's own, so that these tables stay out of Base.metadata."""

    __abstract__ = True
    metadata = MetaData()


class Instrument(TimestampMixin, Private):
    __tablename__ = "instruments"
    __mapper_args__: Any = {"polymorphic_on": "kind", "polymorphic_identity": "plain"}  # noqa: RUF012 - read once
    __repr_fields__ = ("symbol",)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    symbol: Mapped[str]
    tick: Mapped[Decimal | None]
    first_bar: Mapped[datetime | None]
    extra: Mapped[dict[str, Any] | None]

    @hybrid_property
    def ticker(self) -> str:
        return self.symbol

    @ticker.inplace.setter
    def _set_ticker(self, value: str) -> None:
        self.symbol = value.upper()

    @property
    def shout(self) -> str:
        return self.symbol + "!"

    @shout.setter
    def shout(self, value: str) -> None:
        self.symbol = value.rstrip("!")


class Future(Instrument):
    """One table with its parent."""

    __mapper_args__: Any = {"polymorphic_identity": "future"}  # noqa: RUF012 - read once

    multiplier: Mapped[Decimal | None]


class Option(Instrument):
    """A table of its own, joined to its parent's."""

    __tablename__ = "options"
    __mapper_args__: Any = {"polymorphic_identity": "option"}  # noqa: RUF012 - read once

    id: Mapped[int] = mapped_column(ForeignKey("instruments.id"), primary_key=True)
    strike: Mapped[Decimal]


@pytest.fixture
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    event.listen(engine, "connect", lambda dbapi, _: dbapi.execute("PRAGMA foreign_keys=ON"))
    Base.metadata.create_all(engine)
    Private.metadata.create_all(engine)
    with Session(engine, expire_on_commit=False) as session:
        yield session
    engine.dispose()


def test_values_are_coerced_when_they_are_set() -> None:
    trade = LiveTrade(volume=1.1, direction=Direction.LONG)
    assert str(trade.volume) == "1.10000000"
    assert type(trade.direction) is str
    trade.entry_time = datetime(2023, 6, 1, 10)  # noqa: DTZ001 - naive on purpose
    assert trade.entry_time == datetime(2023, 6, 1, 10, tzinfo=UTC)
    nothing: Any = None  # the database refuses it, not the attribute
    trade.volume = nothing
    assert trade.volume is None


def test_setting_refuses_what_binding_refuses() -> None:
    trade = LiveTrade()
    not_a_number: Any = float("nan")
    with pytest.raises(InvalidInputError, match=r"^live_trades\.volume must be") as refusal:
        trade.volume = not_a_number
    assert refusal.value.field == "live_trades.volume"


def test_an_sql_expression_may_be_assigned(session: Session) -> None:
    user = User(username="u", email="e", password_hash="h")
    session.add(user)
    session.flush()
    user.full_name = func.upper(User.username)
    session.flush()
    session.refresh(user)
    assert user.full_name == "U"


@pytest.mark.parametrize("name", ["passwrod", "metadata", "registry", "__table__", "x" * 10_000])
def test_an_unknown_keyword_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="User has no field") as refusal:
        User(**{name: "planted"})
    assert refusal.value.field == name[:80]
    assert "planted" not in str(refusal.value)
    assert len(str(refusal.value)) < 200


def test_relationships_hybrids_and_properties_are_keywords() -> None:
    assert Strategy(user=User(username="u")).user.username == "u"
    assert Instrument(ticker="eurusd").symbol == "EURUSD"
    assert Instrument(shout="gold!!").symbol == "gold"


def test_repr_identifies_the_row_and_hides_the_hash(session: Session) -> None:
    user = User(username="trader1", email="t@example.com", password_hash="planted")
    assert repr(user) == "<User username='trader1'>"
    session.add(user)
    session.flush()
    assert repr(user) == f"<User id={user.id} username='trader1'>"
    assert "planted" not in repr(user)


def test_repr_loads_nothing(session: Session) -> None:
    user = User(username="trader1", email="t@example.com", password_hash="h")
    session.add(user)
    session.commit()
    session.expire(user)
    statements: list[str] = []
    event.listen(session.get_bind(), "before_cursor_execute", lambda *a: statements.append(a[2]))
    assert repr(user) == "<User>"
    assert statements == []
    session.expunge(user)
    assert repr(user) == "<User>"


def test_rows_are_stamped_in_utc_and_again_when_they_change(session: Session) -> None:
    before = datetime.now(UTC)
    user = User(username="u", email="e", password_hash="h")
    session.add(user)
    session.commit()
    written = user.updated_at
    assert before <= user.created_at <= written <= datetime.now(UTC)
    user.full_name = "New Name"
    session.commit()
    assert user.updated_at > written
    assert user.updated_at.tzinfo is UTC


def test_python_side_defaults_serve_core_inserts(session: Session) -> None:
    rows = [{"username": name, "email": name, "password_hash": "h"} for name in "ab"]
    session.connection().execute(insert(Base.metadata.tables["users"]), rows)
    users = session.scalars(select(User)).all()
    assert {(user.is_active, user.is_superuser) for user in users} == {(True, False)}
    assert all(user.created_at.tzinfo is UTC for user in users)


def test_defaults_have_the_form_that_is_read_back(session: Session) -> None:
    trade = LiveTrade(account_id="a", client_order_id="1", symbol="S", direction="long", volume=1)
    session.add(trade)
    session.commit()
    fresh = {key: getattr(trade, key) for key in inspect(LiveTrade).column_attrs.keys()}  # noqa: SIM118 - no dict
    session.refresh(trade)
    for key, value in fresh.items():
        assert (type(value), str(value)) == (type(getattr(trade, key)), str(getattr(trade, key)))


@pytest.mark.parametrize("model", [Future, Option])
def test_models_that_inherit_are_served_too(model: type[Instrument], session: Session) -> None:
    given: dict[str, Any] = {"multiplier": 50} if model is Future else {"strike": "1.5"}
    row = model(symbol="ES", tick=0.25, extra={"a": [1]}, **given)
    assert str(row.tick) == "0.25000000"
    session.add(row)
    session.commit()
    assert row.extra is not None
    row.extra["a"].append(2)
    session.commit()
    session.expire_all()
    assert row.extra == {"a": [1, 2]}
    no_number: Any = "no number"
    with pytest.raises(InvalidInputError, match=r"instruments\.tick"):
        row.tick = no_number


def test_each_column_names_itself() -> None:
    fields = {
        str(column): getattr(column.type, "field", None)
        for table in Base.metadata.tables.values()
        for column in table.columns
    }
    assert fields == {name: name for name in fields}


def test_a_column_keeps_its_name_in_other_selects() -> None:
    twin = aliased(User)
    select(twin.username).subquery()
    User.__table__.alias("other").c.username  # noqa: B018 - making the column is the point
    with pytest.raises(InvalidInputError, match=r"^users\.username"):
        User(username=5)


def test_a_copied_table_names_its_own_columns() -> None:
    copied = Private.metadata.tables["instruments"].to_metadata(MetaData(), name="x")
    copied_type: Any = copied.c.tick.type
    assert copied_type.field == "x.tick"


def test_a_money_column_of_a_plain_table_has_no_name_yet() -> None:
    with pytest.raises(InvalidInputError, match=r"^value must be a number") as refusal:
        Money().coerce([])
    assert refusal.value.field is None


def test_integer_keys_number_themselves_on_sqlite(session: Session) -> None:
    first, second = Future(symbol="A"), Future(symbol="B")
    session.add_all([first, second])
    session.flush()
    assert [first.id, second.id] == [1, 2]


OURS = [model for model in vars(models).values() if hasattr(model, "__tablename__")]


@pytest.mark.parametrize("model", OURS)
def test_every_model_says_what_a_row_is(model: type[Base]) -> None:
    assert re.match(r"[A-Z][^\n]+[.,]\n", f"{model.__doc__}\n")
    assert repr(model()) == f"<{model.__name__}>"


def test_a_repr_shows_what_is_set() -> None:
    assert repr(Backtest(name="n", status="failed")) == "<Backtest name='n' status='failed'>"
