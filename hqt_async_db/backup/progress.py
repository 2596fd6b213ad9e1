"""How far a long piece of work has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """What a progress callback is told, a few times a second at most.

    Attributes:
        table: The table at hand.
        rows: Rows of it that are done.
        total: Rows of it in all, None where that is not known.
    """

    table: str
    rows: int
    total: int | None


# Called on the event loop, so it must be quick; what it raises ends the work.
ProgressCallback = Callable[[Progress], object]
