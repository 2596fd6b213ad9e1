"""Which database a SQLite URL names: a file, or one in memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from sqlalchemy.util import asbool

from hqt_async_db.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import URL

# What SQLAlchemy keeps for sqlite3 itself; all else in the query belongs to the URI.
_OF_SQLITE3: Final = frozenset(
    {
        "uri",
        "timeout",
        "isolation_level",
        "detect_types",
        "check_same_thread",
        "cached_statements",
    }
)


def path_of(name: str) -> str | None:
    """Return the absolute path of a file, None for a database in memory.

    Args:
        name: As SQLite gets it: a path or a ``file:`` URI.
    """
    if name.startswith("file:"):
        parts = urlsplit(name)
        if dict(parse_qsl(parts.query)).get("mode") == "memory":
            return None
        name = unquote(parts.path)
    return None if name in ("", ":memory:") else os.path.abspath(name)  # noqa: PTH100 - resolves no links, touches no file


def is_in_memory(url: URL) -> bool:
    """Tell whether a SQLite URL names no file."""
    name = url.database or ""
    if name.startswith("file:") and url.query.get("mode") == "memory":
        return True
    return path_of(name) is None


def refuse_ambiguous(url: URL) -> None:
    """Refuse a URL that SQLite would read in one way here and in another there.

    Raises:
        ConfigurationError: It is half a URI, has parameters that nobody would
            look at, or each connection would have a database of its own; says
            what to write.
    """
    name = url.database or ""
    try:
        is_uri = bool(asbool(url.query.get("uri", False)))
    except ValueError:
        msg = "uri in the URL must be true or false"
        raise ConfigurationError(msg) from None
    if name.startswith("file:") and not is_uri:
        msg = (
            f"{name!r} may be a URI or the name of a file; add uri=true to the query "
            f"(sqlite:///{name}?uri=true) for a URI, or write ./{name} for a file of that name"
        )
    elif is_uri and not name.startswith("file:") and set(url.query) - _OF_SQLITE3:
        msg = (
            f"{name!r} is no URI, which the parameters in the query are for; write "
            f"sqlite:///file:{name}?… for a URI, or leave uri=true and the parameters out"
        )
    elif not is_uri and (ignored := set(url.query) - _OF_SQLITE3):
        msg = (
            f"SQLite does not know these parameters of the URL: {', '.join(sorted(ignored))}; "
            f"those of SQLite itself belong to a URI, as in sqlite:///file:{name}?mode=ro&uri=true"
        )
    elif is_uri and "?" in name:
        msg = f"{name!r}: put the parameters of the URI into the query of the SQLAlchemy URL"
    elif url.query.get("vfs") == "memdb" and not name.startswith("file:/"):
        msg = "with vfs=memdb each connection has a database of its own; write mode=memory"
    else:
        return
    raise ConfigurationError(msg)
