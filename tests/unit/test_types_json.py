"""JSON objects are checked when set and tracked when changed."""

from __future__ import annotations

import copy
import json
import pickle
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, inspect
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import Session

from hqt_async_db.errors import InvalidInputError
from hqt_async_db.models import Base, Strategy, User
from hqt_async_db.models.types import JsonArray, JsonDict, JsonObject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Dialect

SQLITE: Dialect = sqlite.dialect()

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
objects = st.dictionaries(texts, values, max_size=4)


def nested(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(levels - 1):
        inner = {"inner": inner}
    return inner


@given(objects)
def test_any_object_is_read_back_as_it_was(value: dict[str, Any]) -> None:
    bind = JsonDict().bind_processor(SQLITE)
    read = JsonDict().result_processor(SQLITE, None)
    assert read is not None
    assert read(bind(value)) == value
    assert read(bind(JsonDict().checked(value))) == value
    assert list(read(bind(value))) == list(value)


@given(objects)
def test_its_json_text_means_the_same(value: dict[str, Any]) -> None:
    assert JsonDict().checked(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([], "must be a dict"),
        ("[1]", "must be a dict"),
        ("null", "must be a dict"),
        (5, "must be a dict"),
        ("{", "is not valid JSON text"),
        ('{"a": ' * 100_000, "is not valid JSON text"),
        ('{"a": 1, "a": 2}', "repeats a key"),
        ('{"a": NaN}', "NaN or infinity"),
        ({"a": float("nan")}, "NaN or infinity"),
        ({"a": [float("inf")]}, "NaN or infinity"),
        ({"a": 2**63}, "integer beyond 64 bits"),
        ({"a": -(2**63) - 1}, "integer beyond 64 bits"),
        ({"a": "\0"}, "NUL"),
        ({"a\0": 1}, "NUL"),
        ('{"a": "\\u0000"}', "NUL"),
        ({"a": "\ud800"}, "lone surrogate"),
        ('{"a": "\\ud800"}', "lone surrogate"),
        ({1: "a"}, "a value of type int as a key"),
        ({"a": {"b": {None: 1}}}, "a value of type NoneType as a key"),
        ({"a": Decimal("1.1")}, "a value of type Decimal"),
        ({"a": {1, 2}}, "a value of type set"),
        ({"a": b"x"}, "a value of type bytes"),
        ('{"a": ' + "9" * 5000 + "}", "integer beyond 64 bits"),
        (nested(31), "nested more than 30 levels"),
    ],
)
def test_a_refusal_names_the_column(value: object, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^strategies.parameters .*{reason}") as refusal:
        Strategy(parameters=value)
    assert refusal.value.field == "strategies.parameters"
    with pytest.raises(InvalidInputError, match=reason):
        JsonDict().bind_processor(SQLITE)(value)


def test_the_deepest_object_allowed_is_taken() -> None:
    assert JsonDict().checked(nested(30)) == nested(30)


def test_a_refused_text_is_not_quoted() -> None:
    with pytest.raises(InvalidInputError) as refusal:
        Strategy(parameters='{"api_key": "planted"')
    link: BaseException | None = refusal.value
    while link is not None:
        assert "planted" not in repr((link, link.args, vars(link)))
        link = link.__context__


def test_tuples_and_numpy_scalars_become_json() -> None:
    assert JsonDict().checked({"a": (1, (2, 3))}) == {"a": [1, [2, 3]]}
    numpy = pytest.importorskip("numpy")
    taken = JsonDict().checked({"fast": numpy.int64(5), "risk": numpy.float64(0.5)})
    assert {type(value) for value in taken.values()} == {int, float}


def test_what_is_assigned_is_copied() -> None:
    mine = {"fast": [10]}
    strategy = Strategy(parameters=mine)
    mine["fast"].append(20)
    assert strategy.parameters == {"fast": [10]}


def test_rows_share_no_object() -> None:
    first = Strategy(parameters={"fast": [10]})
    second = Strategy(parameters=first.parameters)
    third = Strategy(parameters={"inner": first.parameters["fast"]})
    first.parameters["fast"].append(20)
    assert second.parameters == {"fast": [10]}
    assert third.parameters == {"inner": [10]}


def test_what_was_checked_once_is_not_copied_again() -> None:
    checked = JsonDict().checked({"fast": [10]})
    first, second = Strategy(parameters=checked), Strategy(parameters=checked)
    assert first.parameters is checked
    assert second.parameters is not checked


@pytest.fixture
def saved() -> Iterator[tuple[Session, Strategy]]:
    """Return a strategy that is saved and unchanged, and its session."""
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        owner = User(username="u", email="e", password_hash="h")
        parameters = {"risk": {"stops": [{"at": 1}]}, "fast": 10}
        strategy = Strategy(user=owner, name="s", parameters=parameters)
        session.add(strategy)
        session.commit()
        yield session, strategy
    engine.dispose()


CHANGES: dict[str, Callable[[Any], object]] = {
    "set": lambda p: p.__setitem__("new", 1),
    "set deep": lambda p: p["risk"]["stops"][0].__setitem__("at", 2),
    "delete": lambda p: p.__delitem__("fast"),
    "update": lambda p: p.update({"a": 1}, b=2),
    "or": lambda p: p.__ior__({"a": {"b": 1}}),
    "pop": lambda p: p.pop("fast"),
    "popitem": lambda p: p.popitem(),
    "setdefault": lambda p: p.setdefault("slow", {}).update(period=50),
    "clear": lambda p: p["risk"].clear(),
    "append": lambda p: p["risk"]["stops"].append({"at": 3}),
    "extend": lambda p: p["risk"]["stops"].extend([1, [2]]),
    "insert": lambda p: p["risk"]["stops"].insert(0, 5),
    "item": lambda p: p["risk"]["stops"].__setitem__(0, {"at": 9}),
    "slice": lambda p: p["risk"]["stops"].__setitem__(slice(0, 1), [7, {"at": 8}]),
    "iadd": lambda p: p["risk"]["stops"].__iadd__([{"x": 1}]),
    "remove": lambda p: p["risk"]["stops"].pop(),
    "sort": lambda p: p["risk"]["stops"].sort(key=str),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("reloaded", [False, True], ids=["assigned", "loaded"])
def test_a_change_in_place_is_saved(
    saved: tuple[Session, Strategy], change: Callable[[Any], object], *, reloaded: bool
) -> None:
    session, strategy = saved
    if reloaded:
        session.refresh(strategy)
    change(strategy.parameters)
    assert strategy in session.dirty
    wanted = json.loads(json.dumps(strategy.parameters))
    session.commit()
    session.expire_all()
    assert strategy.parameters == wanted


def test_what_was_put_in_later_is_tracked_too(saved: tuple[Session, Strategy]) -> None:
    session, strategy = saved
    strategy.parameters["risk"]["stops"].append({"at": 3})
    session.commit()
    strategy.parameters["risk"]["stops"][-1]["at"] = 4
    session.commit()
    session.expire_all()
    assert strategy.parameters["risk"]["stops"] == [{"at": 1}, {"at": 4}]


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.__setitem__("a", float("nan")),
        lambda p: p.update(fine=1, wrong={1: 2}),
        lambda p: p["risk"]["stops"].append(object()),
        lambda p: p["risk"]["stops"].extend([1, "\0"]),
        lambda p: p["risk"]["stops"][0].__setitem__("deep", nested(28)),
    ],
)
def test_a_change_that_does_not_fit_is_refused_as_a_whole(
    saved: tuple[Session, Strategy], change: Callable[[Any], object]
) -> None:
    session, strategy = saved
    before = copy.deepcopy(strategy.parameters)
    with pytest.raises(InvalidInputError) as refusal:
        change(strategy.parameters)
    assert refusal.value.field == "strategies.parameters"
    assert strategy.parameters == before
    assert strategy not in session.dirty


def test_copies_and_pickles_are_of_their_own(saved: tuple[Session, Strategy]) -> None:
    session, strategy = saved
    pickled = pickle.dumps(strategy.parameters)
    for twin in (copy.deepcopy(strategy.parameters), pickle.loads(pickled)):  # noqa: S301 - ours
        assert twin == strategy.parameters
        assert isinstance(twin, JsonObject)
        twin["risk"]["stops"].append(5)
    assert strategy not in session.dirty
    assert type(copy.deepcopy(strategy.parameters["risk"]["stops"])) is list


def test_a_pickled_row_still_tracks_its_object(saved: tuple[Session, Strategy]) -> None:
    session, strategy = saved
    session.refresh(strategy)
    twin: Strategy = pickle.loads(pickle.dumps(strategy))  # noqa: S301 - ours
    twin.parameters["risk"]["stops"].append(5)
    assert inspect(twin).modified


def test_it_prints_and_compares_as_what_it_is() -> None:
    tracked = JsonDict().checked({"a": [1, {"b": 2}]})
    assert repr(tracked) == "{'a': [1, {'b': 2}]}"
    assert isinstance(tracked["a"], JsonArray)
    assert tracked == {"a": [1, {"b": 2}]}
    assert json.dumps(tracked) == '{"a": [1, {"b": 2}]}'
