"""Programs of our own in the place of PostgreSQL's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def programs(directory: Path, script: str) -> None:
    """Put programs in the place of PostgreSQL's."""
    for name in ("pg_dump", "pg_restore"):
        program = directory / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
