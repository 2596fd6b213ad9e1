"""Plans of statements: shared by those that are alike, forgotten with the last of them."""

from __future__ import annotations

import gc
import weakref

import pytest
from sqlalchemy import bindparam, literal_column, select
from sqlalchemy.dialects import sqlite

from hqt_async_db.connection.backends.direct import NoWayError
from hqt_async_db.connection.executors.plans import Plans
from hqt_async_db.models import User


@pytest.fixture
def plans() -> Plans:
    """Return an empty collection of plans."""
    return Plans(sqlite.dialect())


def test_statements_that_differ_in_values_share_a_plan_and_keep_their_values(plans: Plans) -> None:
    first, values = plans.of(select(User.id).where(User.id == 1), "rows")
    second, others = plans.of(select(User.id).where(User.id == 2), "rows")
    assert first is second is not None
    assert (list(values.values()), list(others.values())) == ([1], [2])


def test_a_template_that_is_gone_takes_its_plan_with_it(plans: Plans) -> None:
    template = select(User.id).where(User.id == bindparam("key"))
    plan = plans.of_template(template, "rows")
    assert plan is not None
    assert plan is plans.of_template(template, "rows")
    gone = weakref.ref(plan)
    del template, plan
    gc.collect()
    assert gone() is None


def test_of_many_shapes_of_statements_some_are_kept(plans: Plans) -> None:
    made = []
    for number in range(900):
        plan, _ = plans.of(select(literal_column(f"{number}", User.id.type)), "rows")
        assert plan is not None
        made.append(weakref.ref(plan))
        del plan
    gc.collect()
    assert sum(plan() is not None for plan in made) < len(made)


def test_lists_of_any_length_are_one_compiled_statement(plans: Plans) -> None:
    for ids in ([1], [2, 3], []):
        plan, values = plans.of(select(User.id).where(User.id.in_(ids)), "rows")
        assert plan is not None
        assert plan.bound(plan.values(values)) == tuple(ids)
    gone = weakref.ref(plan)
    del plan
    gc.collect()
    assert gone() is None  # only what is made of a list of one length is forgotten
    assert len(plans._compiled) == 1  # noqa: SLF001 - what must not grow


def test_a_template_with_a_list_takes_the_plain_way(plans: Plans) -> None:
    template = select(User.id).where(User.id.in_(bindparam("ids", expanding=True)))
    assert plans.of_template(template, "rows") is None


def test_a_parameter_without_a_value_is_no_null(plans: Plans) -> None:
    """SQLAlchemy says which one it is."""
    statement = select(User.id).where(User.id == bindparam("given"), User.username == "a")
    with pytest.raises(NoWayError):
        plans.of(statement, "rows")
