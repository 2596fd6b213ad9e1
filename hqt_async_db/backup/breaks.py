"""Pauses in which a thread that computes lets the event loop go on."""

from __future__ import annotations

import time
from typing import Final

# A thread that is asked for the GIL keeps it for 5 ms more; one that sleeps gives it away.
_WORK_S: Final = 0.0008
_PAUSE_S: Final = 0.00005


class Breaks:
    """Short sleeps between pieces of work, each 0.8 ms after the last."""

    def __init__(self) -> None:
        self._next = 0.0

    def take(self) -> None:
        """Sleep for a moment if it is time to; for a thread, never on the loop."""
        if time.perf_counter() >= self._next:
            time.sleep(_PAUSE_S)
            self._next = time.perf_counter() + _WORK_S
