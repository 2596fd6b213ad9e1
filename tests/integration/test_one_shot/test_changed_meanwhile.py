"""What is changed while an update is under way was not sent: it stays pending."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import inspect

from hqt_async_db import BaseRepository
from hqt_async_db.models import Strategy

if TYPE_CHECKING:
    from tests.fixtures.managers import RecordStatements
    from tests.integration.test_one_shot.ways import Ways

Change = dict[str, Any]
COLUMNS: Final = ("name", "description", "parameters")
# What is assigned before the update, what is given to it, and what is assigned meanwhile.
CASES: Final[dict[str, tuple[Change, Change, Change]]] = {
    "another value": ({"name": "one"}, {}, {"name": "two"}),
    "back to the old value": ({"name": "one"}, {}, {"name": "zero"}),
    "another attribute": ({"name": "one"}, {}, {"description": "new"}),
    "instead of the given value": ({}, {"name": "one"}, {"name": "two"}),
    "the old value once more": ({}, {"name": "one"}, {"name": "zero"}),
    "equal before": ({"name": "zero"}, {"description": "d"}, {"name": "two"}),
    "in place": ({"inside": {"a": 1}}, {}, {"inside": {"b": 2}}),
    "in place again": ({"inside": {"a": 1}}, {}, {"inside": {"a": 2}}),
    "another object": ({"inside": {"a": 1}}, {}, {"parameters": {"c": 3}}),
    "in place beside": ({"name": "one"}, {}, {"inside": {"b": 2}}),
    "in place instead": ({}, {"parameters": {"a": 1}}, {"inside": {"b": 2}}),
}


def apply(strategy: Strategy, change: Change) -> None:
    """Assign the values; ``inside`` is put deep into ``parameters``, in place."""
    for name, value in change.items():
        if name == "inside":
            strategy.parameters.setdefault("deep", {}).update(value)
        else:
            setattr(strategy, name, value)


def shown(strategy: Strategy) -> list[str]:
    """Return what the cases change."""
    return [repr(getattr(strategy, name)) for name in COLUMNS]


async def test_what_is_changed_meanwhile_is_stored_by_the_next_update(ways: Ways) -> None:
    for case, (before, given, meanwhile) in CASES.items():
        for db in (ways.short, ways.plain):
            strategies = BaseRepository(db, Strategy)
            strategy = await strategies.create(user_id=1, name="zero", parameters={"deep": {}})
            apply(strategy, before)
            update = asyncio.create_task(strategies.update(strategy, **given))
            await asyncio.sleep(0)
            assert not update.done(), case
            apply(strategy, meanwhile)
            wanted = dict(zip(COLUMNS, shown(strategy), strict=True))
            wanted |= {n: repr(v) for n, v in given.items() if n not in meanwhile}
            if "inside" in meanwhile:
                wanted["parameters"] = repr(strategy.parameters)
            await update
            assert shown(strategy) == list(wanted.values()), case
            await strategies.update(strategy)
            assert not inspect(strategy).modified, case
            assert shown(await strategies.get_one(id=strategy.id)) == list(wanted.values()), case


async def test_what_was_sent_is_not_sent_again(ways: Ways, statements: RecordStatements) -> None:
    for db in (ways.short, ways.plain):
        strategies = BaseRepository(db, Strategy)
        strategy = await strategies.create(user_id=1, name="zero")
        strategy.parameters["a"] = strategy.name = "one"
        await strategies.update(strategy, description="d")
        assert not inspect(strategy).modified
        with statements(db) as sent:
            await strategies.update(strategy)
        assert sent == []
