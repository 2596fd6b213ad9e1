"""The scripts are found in a wheel, an editable install and a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import alembic
import pytest

from hqt_async_db.errors import ConfigurationError
from hqt_async_db.migrations import script_location, scripts
from tests.migrations.conftest import CHECKOUT

_USE = """
import asyncio, site, sys
sys.path.insert(0, sys.argv[1])  # before an editable install of this checkout
site.addsitedir(sys.argv[1])
import hqt_async_db
from hqt_async_db import DatabaseManager, migrations

async def main():
    async with DatabaseManager(f"sqlite:///{sys.argv[1]}/new.db") as db:
        applied = await migrations.upgrade(db)
        await migrations.check(db)
        print(applied[-1].revision)

print(hqt_async_db.__file__)
print(migrations.script_location())
asyncio.run(main())
"""


def python(*arguments: str, cwd: Path) -> list[str]:
    """Run this Python, without the checkout on its path; return what it printed."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def unpack_wheel(site: Path) -> list[str]:
    """Build a wheel, unpack it as an installation would, and return its files."""
    pytest.importorskip("hatchling", reason="the build backend is not installed")
    built = site.parent / "built"
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    python("-c", build, str(built), cwd=CHECKOUT)
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        return archive.namelist()


@pytest.mark.timeout(60)
def test_a_wheel_carries_the_scripts(tmp_path: Path) -> None:
    site = tmp_path / "site"
    names = unpack_wheel(site)
    assert "hqt_async_db/_alembic/versions/hqt_0001_whole_schema.py" in names
    assert not [name for name in names if name.startswith(("alembic/", "tests/"))]
    assert not [name for name in names if "__pycache__" in name]
    package, place, revision = python("-c", _USE, str(site), cwd=tmp_path)
    assert package == str(site / "hqt_async_db/__init__.py")
    assert place == str(site / "hqt_async_db/_alembic")
    assert revision == "hqt_0001"


@pytest.mark.timeout(60)
def test_an_editable_install_uses_the_checkout(tmp_path: Path) -> None:
    site = tmp_path / "site"
    # As hatchling leaves it: a path file, and the forced files as they were then.
    (site / "hqt_async_db/_alembic/versions").mkdir(parents=True)
    (site / "hqt_async_db/_alembic/env.py").touch()
    (site / "_hqt_async_db.pth").write_text(str(CHECKOUT))
    package, place, revision = python("-c", _USE, str(site), cwd=tmp_path)
    assert package == str(CHECKOUT / "hqt_async_db/__init__.py")
    assert Path(place) == CHECKOUT / "alembic"
    assert revision == "hqt_0001"


def test_a_checkout_uses_its_own() -> None:
    assert script_location() == CHECKOUT / "alembic"


def test_the_library_of_that_name_is_not_taken_for_the_scripts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Beside an installed package lies ``alembic``, which is SQLAlchemy's tool."""
    library = Path(str(alembic.__file__)).parent
    monkeypatch.setattr(scripts, "_PLACES", (tmp_path / "_alembic", library))
    with pytest.raises(ConfigurationError, match="reinstall it"):
        script_location()
