"""What a user does first with an installed wheel, without the checkout around."""

from __future__ import annotations

import asyncio
import importlib.metadata
import sys
import tempfile
from pathlib import Path

import hqt_async_db
from hqt_async_db import DatabaseManager, UserRepository, migrations

# Extras, and drivers of servers that nobody asked for.
OPTIONAL = ("aiomysql", "asyncmy", "asyncpg", "matplotlib", "psycopg", "pyarrow", "rich", "typer")


async def use(directory: Path) -> None:
    """Create, migrate, write and read a database."""
    async with DatabaseManager(f"sqlite:///{directory / 'hqt.db'}") as db:
        assert [step.revision for step in await migrations.upgrade(db)]
        await migrations.check(db)
        await db.create_all()
        users = UserRepository(db)
        await users.create(username="trader1", email="t@example.com", password_hash="x")
        found = await users.get_by_username("trader1")
        assert found is not None
        assert found.email == "t@example.com"
        await migrations.downgrade(db, "base")


def main() -> None:
    """Check the installation from the outside in."""
    package = Path(hqt_async_db.__file__).parent
    assert "site-packages" in package.parts, package
    imported = [name for name in OPTIONAL if name in sys.modules]
    assert not imported, f"importing the package imports {imported}"
    assert importlib.metadata.version("hqt-async-db")
    assert (package / "py.typed").is_file()
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(use(Path(directory)))
    sys.stdout.write(f"the wheel works on Python {sys.version.split()[0]}\n")


if __name__ == "__main__":
    main()
