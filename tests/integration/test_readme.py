"""The README's examples run as they are printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hqt_async_db.cli.app import app

README = Path(__file__).parents[2] / "README.md"
TEXT = README.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)

PRINTED = [
    "John Trader 0\ntaken: users ('username',)\n",
    "True False 1.10010000\nbot-0001 closed\n1 None\n",
    "2\n['XETR']\n",
    "incremental 0\n",
    None,  # the revision's name, which changes with the schema
    ".db 1\n1\n1 1\n",
]


def test_every_example_has_its_expected_output() -> None:
    assert len(EXAMPLES) == len(PRINTED)


@pytest.mark.parametrize("number", range(len(PRINTED)))
def test_an_example_prints_what_it_should(number: int, tmp_path: Path) -> None:
    for _ in range(2):  # as a user would
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", EXAMPLES[number]],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=15,
            check=False,
            env={"PYTHONPATH": str(README.parent), "PATH": ""},
        )
        assert done.stderr == ""
        assert done.returncode == 0
        expected = PRINTED[number]
        assert done.stdout == expected if expected else re.fullmatch(r"\w+\n", done.stdout)


@pytest.mark.timeout(60)
def test_the_commands_work_one_after_the_other(tmp_path: Path) -> None:
    (script,) = (
        block
        for block in re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
        if "hqt-db init" in block
    )
    assert {command.name for command in app.registered_commands} <= set(re.findall(r"\w+", script))
    program = tmp_path / "hqt-db"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hqt_async_db.cli "$@"\n')
    program.chmod(0o700)
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(README.parent), "PATH": f"{tmp_path}:/bin:/usr/bin"},
    )
    assert done.stderr == ""
    assert done.returncode == 0
    assert "The schema is the one of the models." in done.stdout
    assert "0 rows restored from backups/hqt_backup_" in done.stdout
    assert "0 rows imported from exports" in done.stdout
    assert '"total_rows": 0' in done.stdout
