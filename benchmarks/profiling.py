"""Where the time of our own calls goes."""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from benchmarks.errors import BenchmarkError

if TYPE_CHECKING:
    from types import TracebackType

_INTERVAL_S: Final = 0.0005
_WAITING: Final = "waiting for the database"
_SMALLEST_SHARE: Final = 0.02


class Profile:
    """Profiles a block with pyinstrument.

    Attributes:
        text: The call tree, once the block has ended.
        shares: What took the time, in a line of words.

    Raises:
        BenchmarkError: pyinstrument is not installed.
    """

    text: str = ""
    shares: str = ""

    def __init__(self) -> None:
        if not is_possible():
            msg = "--profile needs pyinstrument; make bench installs it"
            raise BenchmarkError(msg)
        from pyinstrument import Profiler  # noqa: PLC0415 - only where it is asked for

        self._profiler: Any = Profiler(interval=_INTERVAL_S, async_mode="enabled")

    def __enter__(self) -> Self:
        self._profiler.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        session = self._profiler.stop()
        self.text = self._profiler.output_text(unicode=True, color=False)
        self.shares = _in_words(_seconds_by_owner(session.root_frame()))


def is_possible() -> bool:
    """Tell whether pyinstrument is installed."""
    return find_spec("pyinstrument") is not None


def _seconds_by_owner(root: Any) -> Counter[str]:
    """Return the seconds spent in each library itself, without what it called."""
    seconds: Counter[str] = Counter()
    pending = [] if root is None else [root]
    while pending:
        frame = pending.pop()
        below = [child for child in frame.children if not child.is_synthetic_leaf]
        pending += below
        own = frame.time - sum(child.time for child in frame.children)
        seconds[_owner(frame)] += own
        for leaf in frame.children:
            if leaf.is_synthetic_leaf:
                seconds[_WAITING if leaf.function == "[await]" else _owner(frame)] += leaf.time
    return seconds


def _owner(frame: Any) -> str:
    """Return the package that a frame is of."""
    parts = Path(frame.file_path or "").parts
    if "site-packages" in parts:
        return Path(parts[parts.index("site-packages") + 1]).stem
    return next((part for part in parts if part in ("hqt_async_db", "asyncio")), "other")


def _in_words(seconds: Counter[str]) -> str:
    total = sum(seconds.values())
    shares = [(name, spent / total) for name, spent in seconds.most_common() if total]
    return ", ".join(f"{s:.0%} {name}" for name, s in shares if s >= _SMALLEST_SHARE)
