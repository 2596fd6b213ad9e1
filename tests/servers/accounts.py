"""Which account a server runs under, and what that account can reach.

PostgreSQL and MariaDB refuse to run as root. Started by root, as in many
containers, they run as ``nobody``: it exists everywhere and owns nothing.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

_ACCOUNT = "nobody"
# Creating a database writes hundreds of files; in memory that takes a tenth of the time.
_MEMORY = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a directory that is ours alone
_ENOUGH_BYTES = 2 * 1024**3


def identity() -> dict[str, Any]:
    """Return the arguments of Popen that make a process run unprivileged."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam(_ACCOUNT)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def make_directory(name: str) -> Path:
    """Create an empty temporary directory that belongs to the server's account."""
    directory = Path(tempfile.mkdtemp(prefix=f"hqt-{name}-", dir=_fast_place()))
    give(directory)
    return directory


def _fast_place() -> Path | None:
    """Return a file system in memory with enough room, None if there is none."""
    if not os.access(_MEMORY, os.W_OK):
        return None
    figures = os.statvfs(_MEMORY)
    has_room = figures.f_bavail * figures.f_frsize >= _ENOUGH_BYTES
    runs_programs = not figures.f_flag & getattr(os, "ST_NOEXEC", 0)  # PostgreSQL's may be copied
    return _MEMORY if has_room and runs_programs else None


def give(path: Path) -> None:
    """Make the server's account the owner of one file or directory."""
    if os.geteuid() == 0:
        account = pwd.getpwnam(_ACCOUNT)
        os.chown(path, account.pw_uid, account.pw_gid)


def run(command: list[str], *, directory: Path, environment: dict[str, str]) -> None:
    """Run a command as the server's account.

    Raises:
        RuntimeError: It failed; the message ends with what it printed.
    """
    finished = subprocess.run(
        command,
        check=False,
        cwd=directory,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **identity(),
    )
    if finished.returncode != 0:
        msg = f"{Path(command[0]).name} ended with status {finished.returncode}: {finished.stdout}"
        raise RuntimeError(msg)


def can_execute(program: Path) -> bool:
    """Tell whether the server's account reaches and may run ``program``."""
    try:
        finished = subprocess.run(
            [program, "--version"], check=False, cwd="/", capture_output=True, **identity()
        )
    except OSError:
        return False
    return finished.returncode == 0


def copy_readable(source: Path, target: Path) -> None:
    """Copy a directory so that every account may read it."""
    shutil.copytree(source, target, symlinks=True)
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if mode & 0o100 else 0o444))
