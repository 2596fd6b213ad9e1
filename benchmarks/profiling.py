"""Where the time of our own calls goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from benchmarks.errors import BenchmarkError

if TYPE_CHECKING:
    from types import TracebackType

_INTERVAL_S = 0.0005


class Profile:
    """Profiles a block with pyinstrument.

    Attributes:
        text: The call tree, once the block has ended.

    Raises:
        BenchmarkError: pyinstrument is not installed.
    """

    text: str = ""

    def __init__(self) -> None:
        try:
            from pyinstrument import Profiler  # noqa: PLC0415 - only where it is asked for
        except ImportError as error:
            msg = "--profile needs pyinstrument; make bench installs it"
            raise BenchmarkError(msg) from error
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
        self._profiler.stop()
        self.text = self._profiler.output_text(unicode=True, color=False)
