"""What SQLAlchemy keeps of an instance, made when somebody first asks for it."""

from __future__ import annotations

from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import inspect
from sqlalchemy.orm.instrumentation import ClassManager

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import InstanceState, Mapper

STATE: Final = ClassManager.STATE_ATTR


class StateOnDemand:
    """Stands for the state of instances that were read and asked for nothing but values.

    SQLAlchemy keeps a state beside each instance, in an attribute of it. To
    make that takes longer than to make the instance of a row, and who only
    reads values has no use for it. So a one-shot read makes an instance of its
    values alone: whoever looks for a state that is not there comes here, and
    gets that of a stored, detached instance, which the instance then keeps.
    """

    def __get__(self, instance: Any, owner: type[Any]) -> InstanceState[Any]:
        """Return the state of an instance that has none.

        Raises:
            AttributeError: It has no key yet: it is about to be made, and
                SQLAlchemy gives it the state of a new one.
        """
        if instance is not None and instance.__dict__:
            try:
                return adder_of_states(inspect(owner))(instance)
            except KeyError:
                pass
        raise AttributeError(STATE)


@lru_cache(maxsize=256)
def adder_of_states(mapper: Mapper[Any]) -> Callable[[Any], InstanceState[Any]]:
    """Return what makes an instance a stored one of no session, if it has the values of its key.

    Without them it raises KeyError.
    """
    manager: Any = mapper.class_manager
    names = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    kind, _, token = mapper.identity_key_from_primary_key((0,) * len(names))
    pick = itemgetter(*names)
    is_one = len(names) == 1
    new_state = manager._state_constructor  # noqa: SLF001 - what its new_instance calls

    def add(instance: Any) -> InstanceState[Any]:
        values = instance.__dict__
        key = pick(values)
        state: Any = values.get(STATE) or new_state(instance, manager)
        state.key = (kind, (key,) if is_one else key, token)
        # Another thread may have come first.
        return values.setdefault(STATE, state)  # type: ignore[no-any-return]

    return add
