"""Processes in which nothing has used memory before."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    Lend: TypeAlias = "Callable[[], AbstractContextManager[ProcessPoolExecutor]]"


@contextmanager
def processes(*, is_shared: bool) -> Iterator[Lend]:
    """Lend what lends a process.

    Args:
        is_shared: Lend the same one each time, which is quicker, and makes
            figures of memory meaningless.
    """
    if not is_shared:
        yield _new
        return
    with _new() as process:
        yield lambda: nullcontext(process)


def _new() -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(max_workers=1, mp_context=context)
