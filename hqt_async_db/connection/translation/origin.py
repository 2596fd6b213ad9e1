"""Whose code an error comes from."""

from __future__ import annotations

import sys
from typing import Final

# Those who raise errors of the network and of files on the database's behalf.
_OURS: Final = frozenset(
    [
        "aiomysql",
        "aiosqlite",
        "asyncmy",
        "asyncpg",
        "hqt_async_db",
        "psycopg",
        "psycopg_binary",
        "psycopg_c",
        "pymysql",
        "sqlalchemy",
    ]
)


def is_of_the_user(error: BaseException) -> bool:
    """Tell whether code that is neither ours nor a driver's raised ``error``, as in a listener.

    What the standard library raises is of those who called it.
    """
    modules: list[str] = []
    traceback = error.__traceback__
    while traceback is not None:
        modules.append(str(traceback.tb_frame.f_globals.get("__name__", "")).partition(".")[0])
        traceback = traceback.tb_next
    callers = [name for name in reversed(modules) if not _is_standard(name)]
    return bool(callers) and callers[0] not in _OURS


def _is_standard(name: str) -> bool:
    # A script is __main__, which is no module of the library by that name.
    return name in sys.stdlib_module_names and name != "__main__"
