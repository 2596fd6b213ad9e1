"""The command line, ``hqt-db``; the extra ``cli`` brings what it needs."""

from __future__ import annotations

import importlib.util
import io
import sys

_NEEDED = ("typer", "rich")


def main() -> None:
    """Run ``hqt-db``, or say what has to be installed for it."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        names = " and ".join(missing)
        sys.stderr.write(f"hqt-db needs {names}; run: pip install 'hqt-async-db[cli]'\n")
        sys.exit(2)
    try:
        from hqt_async_db.cli.app import app  # noqa: PLC0415 - needs the extra
    except KeyboardInterrupt:  # nothing has begun
        sys.exit(130)
    _print_anything()
    app()


def _print_anything() -> None:
    """Escape what stdout has no bytes for, as stderr does, instead of failing."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
