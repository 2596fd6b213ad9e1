"""What can be seen of a result: types, values, and the state of instances."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, inspect

from hqt_async_db import HqtDbError
from hqt_async_db.models import Base
from tests.integration.test_one_shot.ways import shown_of

_A_WHILE = timedelta(minutes=1)


def seen(result: Any, *, masked: frozenset[str] = frozenset()) -> Any:
    """Return all that can be seen of a result, for comparison.

    Args:
        result: Anything that a repository returns, or an error.
        masked: Attributes whose values differ from call to call; of these
            the type is seen.
    """
    if isinstance(result, HqtDbError):
        return shown_of(result)
    if isinstance(result, Base):
        return seen_instance(result, masked)
    if isinstance(result, Row):
        fields = {name: seen(getattr(result, name)) for name in result._fields}
        return type(result), result._fields, [seen(value) for value in result], fields
    if isinstance(result, dict):
        return type(result), [(name, seen(value)) for name, value in result.items()]
    if isinstance(result, list | tuple):
        return type(result), [seen(value, masked=masked) for value in result]
    return _seen_plain(result)


def _seen_plain(value: Any) -> Any:
    if isinstance(value, float):
        return float, value.hex()
    if isinstance(value, datetime):
        return datetime, value.isoformat(), str(value.tzinfo)
    return type(value), repr(value)


def seen_instance(instance: Any, masked: frozenset[str]) -> Any:
    """Return values and state of an instance."""
    state = inspect(instance)
    # An attribute that was never set reads as None, with or without being loaded.
    names = {attribute.key for attribute in state.mapper.column_attrs}
    loaded = set(instance.__dict__) - {"_sa_instance_state"} - names
    identity = tuple(state.mapper.primary_key_from_instance(instance))
    return {
        "class": type(instance),
        "values": {name: _seen_value(name, getattr(instance, name), masked) for name in names},
        "key": state.key and (state.key[0], state.key[1] == identity, state.key[2]),
        "detached": state.detached,
        "modified": state.modified,
        "expired": (state.expired, set(state.expired_attributes)),
        "loaded": loaded,
        "changes": {a.key for a in state.attrs if a.key in names and a.history.has_changes()},
    }


def _seen_value(name: str, value: Any, masked: frozenset[str]) -> Any:
    if name not in masked:
        return seen(value)
    if isinstance(value, datetime):
        assert abs(datetime.now(UTC) - value) < _A_WHILE
        return datetime, str(value.tzinfo)
    return type(value)
