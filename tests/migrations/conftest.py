"""A second revision to migrate to, and processes to migrate with."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

from hqt_async_db.migrations import scripts

CHECKOUT = Path(__file__).resolve().parents[2]

_REVISION = '''
"""{message}"""
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{down_revision}"


def upgrade() -> None:
{upgrade}


def downgrade() -> None:
{downgrade}
'''


class AddRevision(Protocol):
    """Write a revision that follows the newest one."""

    async def __call__(self, upgrade: str, downgrade: str = "    pass") -> str:
        """Return the identifier of the new revision."""


class ForkUpgrades(Protocol):
    """Upgrade in processes that race, or are killed."""

    async def __call__(self, how: str) -> list[str]:
        """Return the lines that they printed."""


@pytest.fixture
def script_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of our scripts that the library uses instead of its own."""
    copy = tmp_path / "scripts"
    shutil.copytree(scripts.script_location(), copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(scripts, "_PLACES", (copy,))
    return copy


@pytest.fixture
def add_revision(script_directory: Path) -> AddRevision:
    """Add a revision to the copied scripts, given the bodies of its functions."""
    known = ["hqt_0001"]

    async def add(upgrade: str, downgrade: str = "    pass") -> str:
        revision = f"toy_{len(known):04}"
        source = _REVISION.format(
            message=f"Toy {len(known)}.",
            revision=revision,
            down_revision=known[-1],
            upgrade=upgrade,
            downgrade=downgrade,
        )
        script = script_directory / "versions" / f"{revision}.py"
        await asyncio.to_thread(script.write_text, source)
        known.append(revision)
        return revision

    return add


@pytest.fixture
def fork_upgrades(database_url: str) -> ForkUpgrades:
    """Upgrade the database in other processes; see ``forked_upgrades.py``."""

    def run(how: str) -> list[str]:
        place = scripts.script_location()
        done = subprocess.run(
            [sys.executable, "-m", "tests.migrations.forked_upgrades", how, str(place)],
            cwd=CHECKOUT,
            env=os.environ | {"HQT_DATABASE_URL": database_url},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    async def in_thread(how: str) -> list[str]:
        return await asyncio.to_thread(run, how)

    return in_thread
