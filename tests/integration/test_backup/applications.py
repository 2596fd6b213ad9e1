"""Applications with models of their own, each a process: models cannot be taken back."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from textwrap import dedent, indent

_PROGRAM = """
import asyncio, json, sys
from hqt_async_db import *
from hqt_async_db.backup import DatabaseBackup
from sqlalchemy import *
from sqlalchemy.orm import Mapped, mapped_column

{models}

async def main(url, *arguments):
    async with DatabaseManager(url) as db:
        await db.create_all()
        backup = DatabaseBackup(db)
{work}

asyncio.run(main(*sys.argv[1:]))
"""


async def run_application(models: str, work: str, url: str, *arguments: str) -> str:
    """Run what is done with ``db``, ``backup`` and ``arguments``; return what it printed."""
    program = _PROGRAM.format(models=dedent(models), work=indent(dedent(work), " " * 8))
    command = [sys.executable, "-W", "error", "-c", program, url, *arguments]
    ended = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
