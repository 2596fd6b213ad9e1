"""A child that was forked while its parent had a SQLite file open."""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from hqt_async_db import ConfigurationError, DatabaseManager

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")


def write(url: str, answers: Any) -> None:
    """Write one row, in a process of its own."""

    async def main() -> None:
        async with DatabaseManager(url) as db, db.session() as session:
            await session.execute(text("INSERT INTO t VALUES (1)"))

    try:
        asyncio.run(main())
    except ConfigurationError as error:
        answers.put(str(error))
    else:
        answers.put("written")


def in_a_child(url: str, method: str) -> str:
    context: Any = multiprocessing.get_context(method)
    answers = context.SimpleQueue()
    child = context.Process(target=write, args=(url, answers))
    child.start()
    answer: str = answers.get()
    child.join()
    return answer


@pytest.mark.timeout(60)
async def test_it_may_not_open_that_file(tmp_path: Path) -> None:
    def prepare(name: str) -> str:
        connection = sqlite3.connect(tmp_path / name)
        connection.execute("CREATE TABLE t (i)")
        connection.close()
        return f"sqlite:///{tmp_path / name}"

    def rows(name: str) -> int:
        connection = sqlite3.connect(tmp_path / name)
        (count,) = connection.execute("SELECT count(*) FROM t").fetchone()
        connection.close()
        return int(count)

    url = await asyncio.to_thread(prepare, "open.db")
    other = await asyncio.to_thread(prepare, "other.db")
    await asyncio.to_thread((tmp_path / "link.db").symlink_to, "open.db")
    async with DatabaseManager(url) as db:
        await db.ping()
        for one in (url, f"sqlite:///{tmp_path}/link.db"):
            assert "multiprocessing's spawn" in await asyncio.to_thread(in_a_child, one, "fork")
        assert await asyncio.to_thread(in_a_child, other, "fork") == "written"
        assert await asyncio.to_thread(in_a_child, url, "spawn") == "written"
    assert await asyncio.to_thread(in_a_child, url, "fork") == "written"
    assert await asyncio.to_thread(rows, "open.db") == 2
