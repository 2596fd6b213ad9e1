"""Say in words how a schema differs from the models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_VERBS: Final = {
    "add": "is missing in the database",
    "remove": "is in the database, but not in the models",
}


def describe_all(differences: Iterable[Any]) -> Iterator[str]:
    """Return a line for each difference that alembic found.

    Args:
        differences: What ``alembic.autogenerate.compare_metadata`` returned:
            tuples, and lists of tuples for the changes of one column.
    """
    for difference in differences:
        if isinstance(difference, list):
            yield from describe_all(difference)
        else:
            yield _describe(difference)


def _describe(difference: tuple[Any, ...]) -> str:
    verb, _, kind = str(difference[0]).partition("_")
    if verb == "modify":
        _, _, table, column, _, present, wanted = difference
        return (
            f"column {table}.{column}: {kind.replace('_', ' ')} is {present!r} in the database "
            f"and {wanted!r} in the models"
        )
    return f"{kind} {_name(difference)} {_VERBS[verb]}"


def _name(difference: tuple[Any, ...]) -> str:
    item = next(part for part in reversed(difference) if hasattr(part, "name"))
    table = difference[2] if "column" in difference[0] else getattr(item, "table", None)
    owner = getattr(table, "name", table)
    return str(item.name) if owner is None or owner == item.name else f"{owner}.{item.name}"
