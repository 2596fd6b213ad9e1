"""The values of a row are checked before any SQL runs."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Computed, ForeignKey, Identity, String, func, select, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column, relationship

from hqt_async_db.errors import InvalidInputError
from hqt_async_db.models import LiveTrade, Money, Strategy, User, validate_values

COMPLETE = {"username": "u", "email": "e", "password_hash": "h"}


class Foreign(DeclarativeBase):
    """A base that knows nothing of ours."""


class Owner(Foreign):
    __tablename__ = "owners"
    id: Mapped[int] = mapped_column(primary_key=True)


class Thing(Foreign):
    __tablename__ = "things"
    id: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column("label_column", String(5))
    price: Mapped[Decimal] = mapped_column(Money())
    owner_id: Mapped[int] = mapped_column(ForeignKey("owners.id"))
    state: Mapped[str] = mapped_column(server_default=text("'new'"))
    double_price: Mapped[int] = mapped_column(Computed("price * 2"))
    number: Mapped[int] = mapped_column(Identity())
    note: Mapped[str | None]
    shout: Mapped[str] = column_property(func.upper(label))
    owner: Mapped[Owner] = relationship()


class Part(Thing):
    """A joined table, whose key comes from its parent's."""

    __tablename__ = "parts"
    id: Mapped[int] = mapped_column(ForeignKey("things.id"), primary_key=True)
    weight: Mapped[float]


def refusal(model: type[DeclarativeBase], values: dict[str, Any], **options: Any) -> str:
    with pytest.raises(InvalidInputError) as raised:
        validate_values(model, values, **{"partial": False} | options)
    return f"{raised.value.field}: {raised.value}"


def test_values_come_back_as_their_columns_hold_them() -> None:
    values = {"volume": 1.1, "entry_time": None, "direction": "long"}
    checked = validate_values(LiveTrade, values, partial=True)
    assert str(checked["volume"]) == "1.10000000"
    assert checked["entry_time"] is None
    assert list(checked) == list(values)
    assert values["volume"] == 1.1


def test_refusals_name_the_field() -> None:
    assert refusal(User, COMPLETE | {"username": 5}).startswith(
        "users.username: users.username must"
    )
    assert refusal(User, COMPLETE | {"zork": 5}) == "zork: User has no field 'zork'"
    assert refusal(User, {"username": "u", "email": "e"}) == (
        "users.password_hash: users.password_hash is required"
    )
    assert refusal(User, COMPLETE | {"email": None}) == "users.email: users.email is required"
    assert "relationship" in refusal(User, COMPLETE | {"strategies": []})


def test_names_that_are_no_text_are_unknown() -> None:
    numbered: Any = {5: 1}
    assert refusal(User, numbered) == "5: User has no field '5'"
    assert len(refusal(User, {"x" * 10_000: 1})) < 300


def test_a_partial_row_may_leave_out_but_not_empty() -> None:
    assert validate_values(User, {}, partial=True) == {}
    assert refusal(User, {"is_active": None}, partial=True).endswith("is required")
    assert validate_values(User, {"full_name": None}, partial=True) == {"full_name": None}


def test_none_lets_a_default_apply() -> None:
    given = COMPLETE | {"is_active": None, "id": None}
    assert validate_values(User, given, partial=False) == COMPLETE


def test_sql_expressions_pass() -> None:
    values = {
        "volume": LiveTrade.volume * 2,
        "swap": func.abs(LiveTrade.swap),
        "profit": select(func.max(LiveTrade.profit)).scalar_subquery(),
        "symbol": text("'EURUSD'"),
    }
    assert validate_values(LiveTrade, values, partial=True) == values


def test_a_related_instance_stands_for_its_foreign_key() -> None:
    user = User()
    values = {"user": user, "name": "n"}
    assert validate_values(Strategy, values, partial=False, relationships=True) == values
    without = {"user": None, "name": "n"}
    assert refusal(Strategy, without, relationships=True).startswith("strategies.user_id:")


def test_the_backends_own_limits_are_checked_where_it_is_known() -> None:
    wide = {"volume": "12345678.12345678"}
    assert validate_values(LiveTrade, wide, partial=True)
    assert "15 significant" in refusal(LiveTrade, wide, partial=True, dialect=sqlite.dialect())


def test_any_declarative_model_will_do() -> None:
    given = {"label": "much too long", "price": 1.5, "owner_id": "text"}
    checked = validate_values(Thing, given, partial=False)
    assert checked == {"label": "much too long", "price": Decimal("1.5"), "owner_id": "text"}
    assert refusal(Thing, given | {"shout": "x"}) == "shout: Thing has no field 'shout'"
    assert refusal(Thing, {"price": 1, "owner_id": 1}) == (
        "things.label_column: things.label_column is required"
    )
    related = {"label": "a", "price": 1, "owner": Owner()}
    assert validate_values(Thing, related, partial=False, relationships=True)


def test_a_joined_table_takes_its_parents_columns() -> None:
    given = {"label": "a", "price": 1, "owner_id": 1}
    assert validate_values(Part, given | {"weight": 2.0}, partial=False)
    assert refusal(Part, given) == "parts.weight: parts.weight is required"
