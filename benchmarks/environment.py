"""Where a run took place: machine, system, versions."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable

_PACKAGES: Final = (
    "hqt-async-db",
    "SQLAlchemy",
    "greenlet",
    "aiosqlite",
    "asyncpg",
    "psycopg",
    "asyncmy",
    "aiomysql",
    "advanced-alchemy",
    "sqlmodel",
    "pydantic",
    "tortoise-orm",
    "piccolo",
    "sqlspec",
)


def machine() -> dict[str, Any]:
    """Describe the computer, without its name."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 1024**3, 1),
        "os": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def _cpu() -> str:
    """Return the processor's name: Python's own answer is empty on Linux."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of Python, SQLite and the packages that are installed."""
    found = {
        "Python": f"{platform.python_implementation()} {sys.version.split()[0]}",
        "SQLite": sqlite3.sqlite_version,
    }
    return found | {name: version for name in _PACKAGES if (version := _version(name))}


def version_of(packages: Iterable[str]) -> str:
    """Return names and versions of packages in words."""
    return ", ".join(f"{name} {_version(name) or 'absent'}" for name in packages)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
