"""What SQLAlchemy keeps of an instance, made when somebody first asks for it."""

from __future__ import annotations

import threading
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import inspect
from sqlalchemy.orm.instrumentation import ClassManager

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import InstanceState, Mapper

STATE: Final = ClassManager.STATE_ATTR
# Two threads that ask at once must not make two.
_making: Final = threading.Lock()


class StateOnDemand:
    """The attribute in which SQLAlchemy keeps the state of each instance, or None for later.

    To make a state takes longer than to make the instance of a row, and who
    only reads values has no use for it. So a one-shot read leaves None in its
    place; whoever looks for it gets that of a stored, detached instance.
    """

    def __get__(self, instance: Any, owner: type[Any]) -> InstanceState[Any]:
        """Return the state.

        Raises:
            AttributeError: There is none: the instance is about to be made.
        """
        try:
            state: InstanceState[Any] | None = instance.__dict__[STATE]
        except (AttributeError, KeyError):  # as of the class itself
            raise AttributeError(STATE) from None
        return _made(instance, owner) if state is None else state

    def __set__(self, instance: Any, state: InstanceState[Any]) -> None:
        """Give an instance its state."""
        instance.__dict__[STATE] = state

    def __delete__(self, instance: Any) -> None:
        """Take it away."""
        del instance.__dict__[STATE]


def _made(instance: Any, owner: type[Any]) -> InstanceState[Any]:
    with _making:
        state: InstanceState[Any] | None = instance.__dict__[STATE]
        return adder_of_states(inspect(owner))(instance) if state is None else state


@lru_cache(maxsize=256)
def adder_of_states(mapper: Mapper[Any]) -> Callable[[Any], InstanceState[Any]]:
    """Return what makes an instance with the values of its row a stored one of no session."""
    manager: Any = mapper.class_manager
    names = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    kind, _, token = mapper.identity_key_from_primary_key((0,) * len(names))
    pick = itemgetter(*names)
    is_one = len(names) == 1

    def add(instance: Any) -> InstanceState[Any]:
        values = instance.__dict__
        key = pick(values)
        make_state = manager._state_constructor  # noqa: SLF001 - what its new_instance calls
        state: InstanceState[Any] = values.get(STATE) or make_state(instance, manager)
        state.key = (kind, (key,) if is_one else key, token)
        values[STATE] = state
        return state

    return add
